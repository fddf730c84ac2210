"""Version 3 to 4: new kinds of studies and structures, cores of attempts, pulse energies in pJ; no document changes."""

from __future__ import annotations

from typing import Any

COLLECTIONS: frozenset[str] = frozenset()
"""Collections whose documents change; of all others only the version does."""


def upgrade(collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is."""
    return document
