"""Trace what a document came from and what was made from it; every lookup uses an index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

from gst_jobflow.base.energy import PulseEnergy
from gst_jobflow.base.errors import DataError
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.files.references import references_to_files
from gst_jobflow.store.lookup import locate
from gst_jobflow.store.query import COLUMNS, value_at
from gst_jobflow.store.relations import MADE_BY_JOBS, relations_of, relations_to
from gst_jobflow.store.results import Results, public

FIRST_FEW = 5
"""Ids that a link lists of many."""


@dataclass(frozen=True)
class Link:
    """The documents of one relation: how many, the first few ids, and the first few that the database lacks."""

    relation: str
    collection: str
    count: int
    ids: list[str]
    missing: list[str] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Lineage:
    """A document with its origins and what was made from it; all values but times are JSON."""

    collection: str
    id: str
    summary: dict[str, Any]
    origins: list[Link]
    made: list[Link]
    attempts: list[dict[str, Any]]
    files: list[dict[str, Any]]
    cost: dict[str, float]


def lineage(results: Results, text: str, collection: str | None = None) -> Lineage:
    """Trace where a document came from and what was made from it.

    `text` and errors are as in `locate`; a document that went away meanwhile is a DataError.
    """
    database = results.database
    name, id = locate(database, text, *([collection] if collection else []))
    document = database[name].find_one({"_id": id}, _without_series(name))
    if document is None:
        raise DataError(f"document '{id}' of {name} is gone", "run this again")
    summary = {column: value for column in COLUMNS[name] if (value := value_at(public(document), column)) is not None}
    for extra in ("source", "iteration", "tags", "created_at", "failure_class", "selection", "split", "active_set"):
        if document.get(extra):
            summary[extra] = document[extra]
    if name == "cycles" and (pulses := _pulses(document)):
        summary["pulses"] = pulses
    return Lineage(
        collection=name,
        id=id,
        summary=summary,
        origins=list(_origins(database, name, document)),
        made=list(_made(database, name, document)),
        attempts=_attempts(database, name, document),
        files=[_file_state(results.artifacts, ref) for ref in references_to_files(document)],
        cost=_cost(database, name, document),
    )


def _pulses(cycle: dict[str, Any]) -> dict[str, str]:
    """Return the energies of the pulses of a cycle, as logged or, before they ran, as asked."""
    found = {}
    for number, operation in enumerate(cycle["operations"], 1):
        if asked := operation.get("asked_energy_eV"):
            added = operation.get("added_energy_eV")
            energy = PulseEnergy(asked if added is None else added, operation.get("heated_atoms"))
            found[f"{number} {operation['kind']}"] = f"{energy} {'asked' if added is None else 'logged'}"
    return found


def _without_series(name: str) -> dict[str, int] | None:
    # thinned series and packed arrays can be megabytes, and nothing here shows them
    left_out = {"structures": ("numbers", "positions"), "labels": ("forces",), "trajectories": ("thermo", "analysis")}
    return {field: 0 for field in left_out[name]} if name in left_out else None


def _origins(database: Database, name: str, document: dict[str, Any]) -> Iterator[Link]:
    for relation in relations_of(name):
        value = value_at(document, relation.field)
        ids = value if isinstance(value, list) else [value] if value else []
        if ids and relation.origin:
            yield _link(database, relation.origin, relation.target, ids)
    if name == "structures":
        ended = _reverse(database, "end of", "trajectories", "final_structure_id", document["_id"])
        if ended.count:
            yield ended
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
    for relation, collection, path in made_from(name):
        id = document["job_uuid"] if name == "attempts" else document["_id"]
        link = _reverse(database, relation, collection, path, id)
        if link.count:
            yield link


def made_from(name: str) -> Iterator[tuple[str, str, str]]:
    """Yield (relation, collection, indexed field) of what is made from documents of a collection."""
    if name == "attempts":
        yield from (("made by this job", collection, "job_uuid") for collection in MADE_BY_JOBS)
        return
    yield from ((found.made, found.collection, found.field) for found in relations_to(name) if found.made)
    yield "studies", "studies", "members.id"


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


def _file_state(artifacts: ArtifactStore, ref: dict[str, Any]) -> dict[str, Any]:
    size_bytes = artifacts.size_of(ref["sha256"])
    state = "missing"
    if size_bytes is not None:
        state = "there" if size_bytes == ref["size_bytes"] else "wrong size"
    path = str(artifacts.path_of(ref["sha256"]))
    return {"name": ref["name"], "size_bytes": ref["size_bytes"], "state": state, "path": path}


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
