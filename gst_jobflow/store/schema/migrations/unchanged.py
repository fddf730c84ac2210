"""Steps that change no document that is there: only optional fields, kinds and names are new.

Version 3 added the active set of a potential; 4 kinds of studies and structures, cores of attempts, pulse energies in
pJ; 5 potentials of kinds that plugins add, with files of their own.
"""

from __future__ import annotations

from typing import Any

COLLECTIONS: frozenset[str] = frozenset()
"""Collections whose documents change; of all others only the version does."""


def upgrade(collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is."""
    return document
