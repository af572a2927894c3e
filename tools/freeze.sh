#!/usr/bin/env bash
# Writes constraints.txt: the versions that a fresh install of everything gives today.
set -euo pipefail
cd "$(dirname "$0")/.."
environment="$(mktemp -d)"
trap 'rm -rf "$environment"' EXIT
python3 -m venv "$environment"
"$environment/bin/python" -m pip install -q -e ".[all,test]"
{
  echo "# The exact versions that CI ran: install with -c constraints.txt. Made by tools/freeze.sh."
  "$environment/bin/python" -m pip freeze --exclude-editable
} > constraints.txt
