"""The conformance suite for your own tests: three lines, one test for each promise of each part.

```python
from braindecode_hub.testing import conformance

@conformance("my_plugin")
def test_conforms(check): check()
```

The only module of core that imports pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from braindecode_hub.conformance.checks import Check, NothingToTest, Unconforming
from braindecode_hub.conformance.suite import checks_of
from braindecode_hub.errors import HubError


def conformance(
    plugin: str, *, settings: Mapping[str, Mapping[str, Any]] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that runs a test with each `check` of an installed plugin (or "core").

    `settings`: constructor arguments by component name, {"my_plugin/files": {"path": …}}, for components that need
    some, or whose defaults take too long. The test calls `check()`: it fails with the check, what is wrong and what
    to do, and is skipped, with the reason, where there is nothing to test.
    """
    found = [pytest.param(_Pytest(check), id=check.id) for check in checks_of(plugin, settings)]
    return pytest.mark.parametrize("check", found)


class _Pytest:
    """A check as pytest wants it: failures without our own traceback, nothing to test as skipped."""

    def __init__(self, check: Check) -> None:
        self.check = check

    def __call__(self) -> None:
        __tracebackhide__ = True
        told = ""
        try:
            self.check()
        except NothingToTest as nothing:
            pytest.skip(f"{self.check.id}: {nothing}")
        except Unconforming as error:
            if not isinstance(error.__cause__, Unconforming | HubError):
                raise  # with the traceback of what the component raised
            told = str(error)
        if told:
            pytest.fail(told, pytrace=False)
