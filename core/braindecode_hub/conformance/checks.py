"""What a check is: a name, what it is about, and a function that raises if the promise is not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from braindecode_hub.errors import HubError

PAGE = "docs/testing-your-plugin.md"


class Unconforming(AssertionError):  # noqa: N818 (it is raised of a component)
    """A promise that is not kept: what is wrong and where (`cause`), and what to do about it (`remedy`)."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(f"{cause}\n{remedy}")
        self.cause = cause
        self.remedy = remedy


class NothingToTest(Exception):  # noqa: N818 (it is no error)
    """A check that does not apply here, and why: it counts as skipped, never as passed."""


@dataclass(frozen=True)
class Check:
    """One promise of one thing: `name` says which, `about` of which plugin, component or pipeline."""

    name: str
    about: str
    function: Callable[[], None]

    @property
    def id(self) -> str:
        """How a test of it is called: `constructor-my_plugin/part`."""
        return f"{self.name}-{self.about}"

    def __call__(self) -> None:
        """Run the check.

        Raises Unconforming, naming the check, what is wrong and what to do, whatever the component itself raises;
        NothingToTest where it does not apply.
        """
        try:
            self.function()
        except NothingToTest:
            raise
        except (Unconforming, HubError) as error:
            raise self._failed(error.cause, error.remedy) from error
        except Exception as error:  # a stranger's component may raise anything
            told = f"{type(error).__name__}: {error}".rstrip(": ")
            raise self._failed(told, "see the traceback above; an expected mistake is a HubError") from error

    def _failed(self, cause: str, remedy: str) -> Unconforming:
        return Unconforming(
            f"{self.about} does not pass `{self.name}`: {cause}", f"what to do: {remedy} ({PAGE}#{self.name})"
        )


def none_of(problems: Iterable[str], remedy: str) -> None:
    """Raise Unconforming with all `problems` as its cause, if there are any."""
    found = list(problems)
    if found:
        raise Unconforming("; ".join(found), remedy)
