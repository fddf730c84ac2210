"""Errors that users see: one line on what was wrong, one on the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GstError(Exception):
    """An error with a way out.

    Parameters
    ----------
    message
        What was wrong and where, in one line.
    fix
        What the user does about it: a command, or what to change. Empty only where nothing can be done.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message, fix)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} ({self.fix})" if self.fix else self.message


class InputError(GstError):
    """The user asked for something that cannot be (composition, density, unknown key, ...)."""


class MissingProgramError(GstError):
    """A program or package that this step needs is not there."""


class DatabaseError(GstError):
    """The database cannot be reached, refuses the credentials, or refuses the document."""


class DataError(GstError):
    """Stored or computed data is missing, contradictory or out of bounds; nothing was written."""


class NoDocumentError(DataError):
    """A document that is to be changed is not there, or not yet."""


class RunError(GstError):
    """A program that we ran failed. `failure_class` names how (see docs/errors.md)."""

    def __init__(self, message: str, fix: str = "", failure_class: str = "unknown") -> None:
        super().__init__(message, fix)
        self.failure_class = failure_class


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a "did you mean" hint for `word`, or the known words when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.55)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names)}"
