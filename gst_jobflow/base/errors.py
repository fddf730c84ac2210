"""Errors that users see: what is wrong, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable


class GstError(Exception):
    """An error: `message` says in one line what is wrong and where, `fix` what the user can do about it.

    A remedy is a command, or what to change; it is empty only where nothing helps.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} ({self.fix})" if self.fix else self.message


class InputError(GstError):
    """Invalid user input, such as an unknown key or an impossible composition."""


class MissingProgramError(GstError):
    """A program or package that this step needs is missing."""


class DatabaseError(GstError):
    """The database cannot be reached, refuses the credentials, or refuses the document."""


class DataError(GstError):
    """Stored or computed data is missing, contradictory or out of bounds. Nothing was written."""


class NoDocumentError(DataError):
    """A document to change does not exist, or not yet."""


class RunError(GstError):
    """A program failed; `failure_class` names how (see docs/errors.md)."""

    def __init__(self, message: str, fix: str = "", failure_class: str = "unknown") -> None:
        super().__init__(message, fix)
        self.failure_class = failure_class


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean …" with the word nearest to `word`, or all known words if none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.55)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"


def check_known(
    what: str, name: str | None, known: Collection[str], error: Callable[[str, str], Exception] = InputError
) -> None:
    """Refuse a name that is not among the known ones, as "`what` 'name'" with the nearest; None names nothing."""
    if name is not None and name not in known:
        raise error(f"{what} '{name}'", nearest(name, known))
