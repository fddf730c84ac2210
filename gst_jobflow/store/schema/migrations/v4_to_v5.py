"""Version 4 to 5: potentials of kinds that plugins add, with files of their own; no document that is there changes."""

from __future__ import annotations

from typing import Any

COLLECTIONS: frozenset[str] = frozenset()
"""Collections whose documents change; of all others only the version does."""


def upgrade(collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is."""
    return document
