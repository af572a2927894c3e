"""Questions to a fresh process: a function called by name, plain data in, plain data out."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any

from braindecode_hub.conformance.checks import Unconforming

MARK = "\x1eanswer: "
CODE = "from braindecode_hub.conformance.fresh import answer; answer()"


def ask(function: str, **arguments: Any) -> Any:
    """Call "module:name" with JSON-able keywords in a process of its own, and return what it returned.

    It has this process's path for imports and another hash seed. Raises Unconforming with the last line that it
    printed if it fails.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": "1234"}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        input=json.dumps([function, arguments]),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    _, mark, told = done.stdout.rpartition(MARK)
    if done.returncode or not mark:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unconforming(f"in a process of its own it fails: {last}", "make it work when nothing was imported before")
    return json.loads(told)


def answer() -> None:
    """Do what `ask` asks: read the call from standard input, print what it returns as the last thing."""
    function, arguments = json.loads(sys.stdin.read())
    module, name = function.split(":")
    value = getattr(importlib.import_module(module), name)(**arguments)
    print(MARK + json.dumps(value))
