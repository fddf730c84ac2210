"""What a document is, where it came from and what was made from it; every step back or forth uses an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import DataError, InputError, nearest
from gst_jobflow.documents import DOCUMENTS, ArtifactRef
from gst_jobflow.store.query import COLUMNS, pick
from gst_jobflow.store.results import collection_of, public

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.store.files.artifacts import ArtifactStore
    from gst_jobflow.store.results import Results

SHORTEST_PREFIX = 6
NAMED = ("datasets", "potentials", "studies")
"""Collections whose documents people know by a name, which has an index there."""

FIRST_FEW = 5
_NAMES_LISTED = 12

ORIGINS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "structures": (("made from", "structures", "parents"), ("moved by", "potentials", "source.potential_id")),
    "labels": (("label of", "structures", "structure_id"),),
    "datasets": (("changed from", "datasets", "parent_id"),),
    "potentials": (("fitted to", "datasets", "dataset_id"), ("fitted on from", "potentials", "parent_id")),
    "trajectories": (
        ("moved by", "potentials", "potential_id"),
        ("started from", "structures", "start_structure_id"),
        ("part of", "cycles", "cycle_id"),
    ),
    "cycles": (
        ("moved by", "potentials", "potential_id"),
        ("cell", "structures", "structure_id"),
        ("barrier", "structures", "barrier_structure_id"),
        ("goes on from", "trajectories", "parent_trajectory_id"),
    ),
    "studies": (),
    "attempts": (),
}
"""By collection: (relation, collection of the origin, own field with its id or ids)."""

REVERSE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "structures": (
        ("labels", "labels", "structure_id"),
        ("structures made from it", "structures", "parents"),
        ("trajectories that start from it", "trajectories", "start_structure_id"),
        ("cycles of this cell", "cycles", "structure_id"),
        ("cycles with this barrier", "cycles", "barrier_structure_id"),
        ("studies", "studies", "members.id"),
    ),
    "labels": (("studies", "studies", "members.id"),),
    "datasets": (
        ("potentials", "potentials", "dataset_id"),
        ("datasets changed from it", "datasets", "parent_id"),
        ("studies", "studies", "members.id"),
    ),
    "potentials": (
        ("trajectories", "trajectories", "potential_id"),
        ("cycles", "cycles", "potential_id"),
        ("potentials fitted on from it", "potentials", "parent_id"),
        ("studies", "studies", "members.id"),
    ),
    "trajectories": (
        ("cycles that go on from it", "cycles", "parent_trajectory_id"),
        ("studies", "studies", "members.id"),
    ),
    "cycles": (("trajectories", "trajectories", "cycle_id"), ("studies", "studies", "members.id")),
    "studies": (("studies", "studies", "members.id"),),
    "attempts": (),
}
"""By collection: (relation, collection of what was made, its field that holds this id). Each field has an index."""

ENDED_IN = ("end of", "trajectories", "final_structure_id")
"""A structure's origin that is written down on the other side."""

OF_JOB = ("labels", "potentials", "trajectories")
"""Collections whose documents name the job that made them, in `job_uuid`."""


@dataclass(frozen=True)
class Link:
    """Documents that stand in one relation: how many, the first few ids, and those that are not in the database."""

    relation: str
    collection: str
    count: int
    ids: list[str]
    missing: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """A document with its origins and what was made from it; all values are JSON-able but times."""

    collection: str
    id: str
    summary: dict[str, Any]
    origins: list[Link]
    made: list[Link]
    attempts: list[dict[str, Any]]
    files: list[dict[str, Any]]
    cost: dict[str, float]


def locate(database: Database, text: str, collection: str | None = None) -> tuple[str, str]:
    """Find the one document of an id, a name, or a prefix of an id.

    Parameters
    ----------
    text
        A whole id, the name of one of the `NAMED`, or at least `SHORTEST_PREFIX` characters that no other id begins
        with.
    collection
        Look in this one only.

    Returns
    -------
    tuple
        Collection and id.

    Raises
    ------
    InputError
        The text is too short or fits several documents, or there is none.
    """
    names = [collection_of(collection).collection] if collection else list(DOCUMENTS)
    whole = [(name, text) for name in names if database[name].find_one({"_id": text}, {"_id": 1})]
    found = whole or [(name, id) for name in names if name in NAMED for id in _ids(database, name, {"name": text})]
    if not found and len(text) >= SHORTEST_PREFIX:
        found = [(name, id) for name in names for id in _ids(database, name, beginning(text))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise _nothing(database, text, names)
    shown = ", ".join(f"{id} ({name})" for name, id in found[:FIRST_FEW]) + (" …" if len(found) > FIRST_FEW else "")
    way_out = "--collection NAME" if whole else "give the id, or more of it"
    raise InputError(f"'{text}' fits several documents: {shown}", way_out)


def _nothing(database: Database, text: str, collections: Sequence[str]) -> InputError:
    """Return the error of an unknown id or name; it suggests the nearest name."""
    known = {
        name for collection in collections if collection in NAMED for name in database[collection].distinct("name")
    }
    hint = nearest(text, known) if known else ""
    if not hint or (hint.startswith("known") and len(known) > _NAMES_LISTED):
        hint = f"gst query {collections[0] if len(collections) == 1 else 'COLLECTION'} lists ids"
    short = (
        f" by name, and it is too short for an id ({SHORTEST_PREFIX} characters)" if len(text) < SHORTEST_PREFIX else ""
    )
    return InputError(f"no document '{text}'{' in ' + collections[0] if len(collections) == 1 else ''}{short}", hint)


def beginning(text: str) -> dict[str, Any]:
    """Return the filter of ids that begin with `text`, as a range of the index."""
    # the last of all characters sorts behind whatever an id goes on with
    return {"_id": {"$gte": text, "$lt": text + "\U0010ffff"}}


def _ids(database: Database, collection: str, where: dict[str, Any]) -> list[str]:
    found = database[collection].find(where, {"_id": 1}).sort("_id", 1).limit(FIRST_FEW + 1)
    return [document["_id"] for document in found]


def lineage(results: Results, text: str, collection: str | None = None) -> Lineage:
    """Trace where a document came from and what was made from it; see `locate` for `text`.

    Raises
    ------
    InputError
        There is no such document, or several.
    DataError
        It went away meanwhile.
    """
    database = results.database
    name, id = locate(database, text, collection)
    document = database[name].find_one({"_id": id}, _without_series(name))
    if document is None:
        raise DataError(f"document '{id}' of {name} is gone", "run this again")
    summary = {column: value for column in COLUMNS[name] if (value := pick(public(document), column)) is not None}
    for extra in ("source", "iteration", "tags", "created_at", "failure_class", "selection", "split", "active_set"):
        if document.get(extra):
            summary[extra] = document[extra]
    return Lineage(
        collection=name,
        id=id,
        summary=summary,
        origins=list(_origins(database, name, document)),
        made=list(_made(database, name, document)),
        attempts=_attempts(database, name, document),
        files=[_file_state(results.artifacts, ref) for ref in _file_references(document)],
        cost=_cost(database, name, document),
    )


def _without_series(name: str) -> dict[str, int] | None:
    # thinned series and packed arrays can be megabytes, and nothing here shows them
    left_out = {"structures": ("numbers", "positions"), "labels": ("forces",), "trajectories": ("thermo", "analysis")}
    return {field: 0 for field in left_out[name]} if name in left_out else None


def _origins(database: Database, name: str, document: dict[str, Any]) -> Iterator[Link]:
    for relation, collection, path in ORIGINS[name]:
        value = pick(document, path)
        ids = value if isinstance(value, list) else [value] if value else []
        if ids:
            yield _link(database, relation, collection, ids)
    if name == "structures":
        link = _reverse(database, *ENDED_IN, document["_id"])
        if link.count:
            yield link
    if name == "datasets":
        counts = document["counts_by_config_type"]
        yield Link("made of", "labels", document["n_members"], [], detail=counts)
    if name == "studies":
        members = document["members"]
        for collection in dict.fromkeys(member["collection"] for member in members):
            ids = [member["id"] for member in members if member["collection"] == collection]
            yield _link(database, "member", collection, ids)


def _link(database: Database, relation: str, collection: str, ids: list[str]) -> Link:
    there = {found["_id"] for found in database[collection].find({"_id": {"$in": ids}}, {"_id": 1})}
    missing = [id for id in ids if id not in there]
    return Link(relation, collection, len(ids), ids[:FIRST_FEW], missing[:FIRST_FEW])


def _made(database: Database, name: str, document: dict[str, Any]) -> Iterator[Link]:
    if document.get("final_structure_id"):
        yield _link(database, "ended in", "structures", [document["final_structure_id"]])
    links = [_reverse(database, *relation, document["_id"]) for relation in REVERSE[name]]
    if name == "attempts":
        links = [_reverse(database, "made by this job", other, "job_uuid", document["job_uuid"]) for other in OF_JOB]
    yield from (link for link in links if link.count)


def _reverse(database: Database, relation: str, collection: str, path: str, id: str) -> Link:
    where = {path: id}
    ids = [found["_id"] for found in database[collection].find(where, {"_id": 1}).limit(FIRST_FEW)]
    return Link(relation, collection, database[collection].count_documents(where) if ids else 0, ids)


def _attempts(database: Database, name: str, document: dict[str, Any]) -> list[dict[str, Any]]:
    job = document.get("job_uuid")
    if name == "attempts" or not job:
        return []
    shown = ("id", "number", "state", "host", "directory", "started_at", "ended_at", "reason")
    found = database["attempts"].find({"job_uuid": job}).sort("started_at", 1)
    return [{key: value for key in shown if (value := public(attempt).get(key))} for attempt in found]


def _file_references(value: Any) -> Iterator[ArtifactRef]:
    """Yield all files that a document names."""
    if isinstance(value, dict):
        if set(value) == set(ArtifactRef.model_fields):
            yield ArtifactRef.model_validate(value)
        else:
            for item in value.values():
                yield from _file_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _file_references(item)


def _file_state(artifacts: ArtifactStore, ref: ArtifactRef) -> dict[str, Any]:
    size_bytes = artifacts.size_of(ref.sha256)
    state = "missing"
    if size_bytes is not None:
        state = "there" if size_bytes == ref.size_bytes else "wrong size"
    path = str(artifacts.path_of(ref.sha256))
    return {"name": ref.name, "size_bytes": ref.size_bytes, "state": state, "path": path}


def _cost(database: Database, name: str, document: dict[str, Any]) -> dict[str, float]:
    """Return the cost of the computation; for a cycle, of all its trajectories together."""
    if name == "labels":
        return {"wall_s": document["wall_s"]}
    if name == "cycles":
        sums = {key: {"$sum": f"$cost.{key}"} for key in ("wall_s", "core_hours")}
        pipeline = [{"$match": {"cycle_id": document["_id"]}}, {"$group": {"_id": None, **sums}}]
        total: dict[str, float] = next(iter(database["trajectories"].aggregate(pipeline)), {})
        return {key: total[key] for key in sums if total}
    return dict(document.get("cost") or {})
