"""The house rules, as the tools state them: style, types, layers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKS = {
    "style": [sys.executable, "-m", "ruff", "check", "--quiet", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "."],
    "types": [sys.executable, "-m", "mypy"],
    "layers": [str(Path(sys.executable).with_name("lint-imports"))],
}


@pytest.mark.slow
@pytest.mark.parametrize("check", CHECKS)
def test_the_tool_has_nothing_to_say(check: str) -> None:
    done = subprocess.run(CHECKS[check], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
