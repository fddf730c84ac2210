"""Find the document that a user means: by its id, its name, or the beginning of its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymongo.database import Database

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.documents import DOCUMENTS, Cycle, Trajectory
from gst_jobflow.store.results import DocumentT, Results, model_of

SHORTEST_PREFIX = 6
NAMED = ("datasets", "potentials", "studies")
"""Collections with an index on their names."""
_RUNS = ("trajectories", "cycles")
_CANDIDATES = 5
_NAMES_LISTED = 12


def locate(database: Database, text: str, *collections: str) -> tuple[str, str]:
    """Return the collection and id of the one document that has an id, a name, or an id that begins with `text`.

    `text` has at least `SHORTEST_PREFIX` characters, unless it is a whole id or name. Only `collections` are searched;
    where none is given, names are those of datasets, potentials and studies.

    Raises
    ------
    InputError
        No document fits, or several do, which the message lists; or the text is too short.
    """
    found = matches(database, text, collections)
    if len(found) == 1:
        return found[0]
    if not found:
        raise _nothing(database, text, collections)
    one_kind = len({name for name, _ in found}) == 1
    shown = ", ".join(id if one_kind else f"{id} ({name})" for name, id in found[:_CANDIDATES])
    more = " …" if len(found) > _CANDIDATES else ""
    fix = "add --collection NAME" if len({id for _, id in found}) == 1 else "give the id, or more of it"
    raise InputError(f"'{text}' fits several {found[0][0] if one_kind else 'documents'}: {shown}{more}", fix)


def get_located(results: Results, model: type[DocumentT], text: str) -> DocumentT:
    """Read the one document of a model that `text` means; see `locate`."""
    return results.get(model, locate(results.database, text, model.collection)[1])


def located_runs(results: Results, text: str) -> list[Trajectory]:
    """Read the trajectory that `text` means, or those of a device cycle: of all operations that have run, in order, or
    of one of them, ``CYCLE:N``, counted from 1; raises as `locate`, and for operations that have not run.
    """
    cycle_text, colon, number = text.rpartition(":")
    if colon and not matches(results.database, text, _RUNS):
        cycle = get_located(results, Cycle, cycle_text)
        last = len(cycle.operations)
        if not number.isdecimal() or not 0 < int(number) <= last:
            raise InputError(f"cycle {cycle.id} has no operation '{number}'", f"they count from 1 to {last}")
        wanted = cycle.operations[int(number) - 1]
        if wanted.trajectory_id is None:
            raise InputError(f"operation {number} ({wanted.kind}) of cycle {cycle.id} has not run", "gst status")
        return [results.get(Trajectory, wanted.trajectory_id)]
    collection, id = locate(results.database, text, *_RUNS)
    if collection == "trajectories":
        return [results.get(Trajectory, id)]
    operations = results.get(Cycle, id).operations
    runs = [results.get(Trajectory, each.trajectory_id) for each in operations if each.trajectory_id]
    if not runs:
        raise InputError(f"no operation of cycle {text} has run", "wait for one: gst status")
    return runs


def id_begins(text: str) -> dict[str, Any]:
    """Return the filter of ids that begin with `text`, as a range of the index."""
    # no character sorts after this one, so whatever follows in an id sorts before it
    return {"_id": {"$gte": text, "$lt": text + "\U0010ffff"}}


def matches(database: Database, text: str, collections: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return documents as collection and id, a few of each collection.

    They are those whose id is `text`; without one, those of this name; without one, those whose id begins so.
    """
    names = [model_of(name).collection for name in collections] or list(DOCUMENTS)
    found = [(name, id) for name in names for id in _ids(database, name, {"_id": text})]
    found = found or [(name, id) for name in _named(collections) for id in _ids(database, name, {"name": text})]
    if not found and len(text) >= SHORTEST_PREFIX:
        found = ids_beginning(database, text, names)
    return found


def ids_beginning(database: Database, text: str, names: Sequence[str] = tuple(DOCUMENTS)) -> list[tuple[str, str]]:
    """Return documents whose id begins with `text` as collection and id, a few of each collection."""
    return [(name, id) for name in names for id in _ids(database, name, id_begins(text))]


def _named(collections: Sequence[str]) -> list[str]:
    return [name for name in collections or NAMED if "name" in DOCUMENTS[name].model_fields]


def _ids(database: Database, collection: str, where: dict[str, Any]) -> list[str]:
    found = database[collection].find(where, {"_id": 1}).sort("_id", 1).limit(_CANDIDATES + 1)
    return [document["_id"] for document in found]


def _nothing(database: Database, text: str, collections: Sequence[str]) -> InputError:
    """Return the error of an unknown id or name; it suggests the nearest name."""
    known = {name for collection in _named(collections) for name in database[collection].distinct("name")}
    hint = nearest(text, known) if known else ""
    if not hint or (hint.startswith("known") and len(known) > _NAMES_LISTED):
        hint = "; ".join(f"gst query {name}" for name in collections or ["COLLECTION"]) + " lists ids"
    kinds = " or ".join(model_of(name).__name__.lower() for name in collections) or "document"
    short = f" by name, and an id needs at least {SHORTEST_PREFIX} characters" if len(text) < SHORTEST_PREFIX else ""
    return InputError(f"no {kinds} '{text}'{short}", hint)
