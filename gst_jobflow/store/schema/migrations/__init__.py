"""Upgrade documents of older versions, forward only, with a module for each step.

A step has `COLLECTIONS` (whose documents change) and `upgrade(collection, document)`, which returns the document as the
next version has it and uses neither database nor files. It upgrades documents of databases, bundles and manifests,
where packed arrays are base64 text, so it leaves arrays alone. `schema_version` is set here, not in a step.
"""

from __future__ import annotations

from typing import Any

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import SCHEMA_VERSION
from gst_jobflow.store.schema.migrations import unchanged, v1_to_v2

STEPS: dict[int, Any] = {1: v1_to_v2, 2: unchanged, 3: unchanged, 4: unchanged}
"""The step that leads from a version to the next."""

OLDEST = min(STEPS)
"""The oldest version that can still be read."""


def upgrade_document(collection: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return a document, from the database or from JSON, as this version has it; the argument stays as it is.

    One that is of a newer or unknown version, or does not fit its version, is a DataError.
    """
    version = document.get("schema_version")
    name = f"document '{document.get('_id', '?')}' of {collection}"
    if not isinstance(version, int) or version < OLDEST:
        raise DataError(f"{name} has no schema version that this program knows: {version!r}")
    if version > SCHEMA_VERSION:
        raise DataError(
            f"{name} has schema version {version}, this program knows {SCHEMA_VERSION}", "upgrade gst_jobflow"
        )
    upgraded = dict(document)
    for step in range(version, SCHEMA_VERSION):
        try:
            upgraded = STEPS[step].upgrade(collection, upgraded)
        except (KeyError, TypeError, IndexError) as err:
            what = f"{name} cannot be upgraded from version {step} to {step + 1}: {type(err).__name__} {err}"
            raise DataError(what, "correct or remove the document by hand, then run this again") from err
    return {**upgraded, "schema_version": SCHEMA_VERSION}


def has_changes(collection: str, from_version: int) -> bool:
    """Whether documents of a collection changed in more than their version since `from_version`."""
    return any(collection in STEPS[step].COLLECTIONS for step in range(from_version, SCHEMA_VERSION))
