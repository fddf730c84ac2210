"""Find the document that a user means: by its id, its name, or the beginning of its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.store.results import collection_of

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.store.results import DocumentT, Results

SHORTEST_PREFIX = 6
_NAMED = ("datasets", "potentials", "studies")
"""Collections that are searched for a name when none is given: they have an index on it."""
_CANDIDATES = 5
_NAMES_LISTED = 12


def locate(database: Database, text: str, collection: str | None = None) -> tuple[str, str]:
    """Return the collection and id of the one document that has an id, a name, or an id that begins with `text`.

    Parameters
    ----------
    text
        A whole id, the name of a dataset, potential or study (with `collection`, of any document), or at least
        `SHORTEST_PREFIX` characters of an id.
    collection
        Search in this one only.

    Raises
    ------
    InputError
        No document fits, or several do, which the message lists; or the text is too short.
    """
    names = [collection_of(collection).collection] if collection else list(DOCUMENTS)
    whole = [(name, text) for name in names if database[name].find_one({"_id": text}, {"_id": 1})]
    found = whole or [(name, id) for name in _named(names) for id in _ids(database, name, {"name": text})]
    if not found and len(text) >= SHORTEST_PREFIX:
        found = [(name, id) for name in names for id in _ids(database, name, id_begins(text))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _nothing(database, text, names)
    kind = "" if collection else " ({})"
    shown = ", ".join(id + kind.format(name) for name, id in found[:_CANDIDATES])
    more = " …" if len(found) > _CANDIDATES else ""
    what = collection or "documents"
    fix = "add --collection NAME" if whole else "give the id, or more of it"
    raise InputError(f"'{text}' fits several {what}: {shown}{more}", fix)


def get_located(results: Results, model: type[DocumentT], text: str) -> DocumentT:
    """Read the one document of a model that `text` means; see `locate`."""
    return results.get(model, locate(results.database, text, model.collection)[1])


def id_begins(text: str) -> dict[str, Any]:
    """Return the filter of ids that begin with `text`, as a range of the index."""
    # no character sorts after this one, so whatever follows in an id sorts before it
    return {"_id": {"$gte": text, "$lt": text + "\U0010ffff"}}


def _named(collections: Sequence[str]) -> list[str]:
    if len(collections) == 1:
        return [name for name in collections if "name" in DOCUMENTS[name].model_fields]
    return [name for name in collections if name in _NAMED]


def _ids(database: Database, collection: str, where: dict[str, Any]) -> list[str]:
    found = database[collection].find(where, {"_id": 1}).sort("_id", 1).limit(_CANDIDATES + 1)
    return [document["_id"] for document in found]


def _nothing(database: Database, text: str, collections: Sequence[str]) -> InputError:
    """Return the error of an unknown id or name; it suggests the nearest name."""
    known = {name for collection in _named(collections) for name in database[collection].distinct("name")}
    hint = nearest(text, known) if known else ""
    if not hint or (hint.startswith("known") and len(known) > _NAMES_LISTED):
        hint = f"gst query {collections[0] if len(collections) == 1 else 'COLLECTION'} lists ids"
    where = f" in {collections[0]}" if len(collections) == 1 else ""
    short = f" by name, and an id needs at least {SHORTEST_PREFIX} characters" if len(text) < SHORTEST_PREFIX else ""
    return InputError(f"no document '{text}'{where}{short}", hint)
