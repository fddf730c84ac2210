"""Trace what a document cost, with everything that it rests on; each job counts once and whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymongo.database import Database

from gst_jobflow.base.batches import batches
from gst_jobflow.documents import Dataset
from gst_jobflow.launch.spent import Spent, spent_by_job
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import locate
from gst_jobflow.store.relations import MADE_BY_JOBS, ids_at, relations_of

_BATCH = 5000
# parts of many documents are one line
_TOGETHER = ("labels", "structures", "trajectories")
# a run is part of its cycle and makes its last structure: it rests on neither
_NO_ORIGINS = {("trajectories", "cycle_id"), ("trajectories", "final_structure_id")}
_OUTPUTS = {
    "trajectory_id": "trajectories",
    "cycle_id": "cycles",
    "cycle_ids": "cycles",
    "dataset_id": "datasets",
    "study_id": "studies",
    "potential_id": "potentials",
}
"""Keys of a job's output that name the document it worked on, and its collection."""
_HOSTS = "spec._tasks.job.hosts"


@dataclass
class CostNode:
    """A document, or a group of one collection, with what its own jobs cost and the parts that it rests on.

    A job counts where the tree first needs it. `without_attempt` counts documents of a kind that jobs make, of whose
    making this database has no attempt (imported ones).
    """

    what: str
    collection: str
    ids: list[str]
    jobs: list[str] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)
    without_attempt: int = 0
    parts: list[CostNode] = field(default_factory=list)

    @property
    def total(self) -> Spent:
        """Cost of the own jobs and of all parts."""
        return sum((part.total for part in self.parts), self.spent)

    @property
    def n_jobs(self) -> int:
        """Number of jobs, with those of all parts."""
        return len(self.jobs) + sum(part.n_jobs for part in self.parts)

    def walk(self, depth: int = 0) -> Iterator[tuple[int, CostNode]]:
        """Yield this node and all parts below it, each with its depth."""
        yield depth, self
        for part in self.parts:
            yield from part.walk(depth + 1)


def cost_of(results: Results, text: str, collection: str | None = None) -> CostNode:
    """Return the tree of what a document cost; `text` and errors are as in :func:`gst_jobflow.store.lookup.locate`.

    An attempt stands for its job alone. A document's parts are what it was made from: the runs of a cycle and its
    potential; the dataset of a potential; the labels of a dataset; the runs from which labelled structures came.
    """
    name, id = locate(results.database, text, *([collection] if collection else []))
    if name == "attempts":
        job = results.database["attempts"].find_one({"_id": id})
        assert job is not None  # located above
        tree = CostNode(f"job {job['job_name']}", name, [id], [job["job_uuid"]])
    else:
        tree = _Tracer(results).node(name, [id])
    spent = spent_by_job(results.database, [job for _, node in tree.walk() for job in node.jobs])
    for _, node in tree.walk():
        node.spent = sum((spent.get(job, Spent()) for job in node.jobs), Spent())
    return tree


class _Tracer:
    """Builds the tree; no document and no job is taken twice."""

    def __init__(self, results: Results) -> None:
        self.results, self.database = results, results.database
        self.seen: dict[str, set[str]] = {}
        self.claimed: set[str] = set()
        self.named = _jobs_by_output(results.database)
        self.parents: dict[int, set[int]] = {}

    def node(self, collection: str, ids: Sequence[str]) -> CostNode:
        """Return the node of documents that were not seen before."""
        self.seen.setdefault(collection, set()).update(ids)
        node = CostNode(self._words(collection, ids), collection, list(ids[:5]))
        node.jobs, node.without_attempt = self._own_jobs(collection, ids)
        for target, wanted in self._origins(collection, ids):
            fresh = sorted(set(wanted) - self.seen.get(target, set()))
            for group in [fresh] if target in _TOGETHER else [[id] for id in fresh]:
                if group and (part := self.node(target, group)) and (part.jobs or part.parts or part.without_attempt):
                    node.parts.append(part)
        # what its workflows did before, and no part needed: making structures, selecting, preparing
        node.jobs += self._claim(self._before(node.jobs))
        if collection in ("cycles", "studies"):
            node.jobs += self._claim(self._of_workflow(collection, ids[0], node.jobs))
        return node

    def _words(self, collection: str, ids: Sequence[str]) -> str:
        singular = {"studies": "study", "trajectories": "run"}.get(collection, collection.removesuffix("s"))
        if collection in _TOGETHER and len(ids) > 1:
            return f"{len(ids):,} {'runs' if collection == 'trajectories' else collection}"
        named = self.database[collection].find_one({"_id": ids[0]}, {"name": 1}) or {}
        return f"{singular} {named.get('name') or ids[0][:12]}"

    def _own_jobs(self, collection: str, ids: Sequence[str]) -> tuple[list[str], int]:
        """Return the jobs that made or worked on documents, and how many documents have no attempt."""
        jobs = {job for id in ids for job in self.named.get((collection, id), ())}
        without = 0
        if collection in MADE_BY_JOBS:
            made = self._grouped(collection, ids)
            known = self._with_attempts(made)
            jobs |= known
            without = sum(number for job, number in made.items() if job not in known)
        return self._claim(jobs), without

    def _grouped(self, collection: str, ids: Sequence[str]) -> dict[str, int]:
        """Count documents by the job that made them; an empty name for none."""
        counts: dict[str, int] = {}
        for batch in batches(ids, _BATCH):
            pipeline: list[dict[str, Any]] = [
                {"$match": {"_id": {"$in": batch}}},
                {"$group": {"_id": "$job_uuid", "number": {"$sum": 1}}},
            ]
            for found in self.database[collection].aggregate(pipeline):
                counts[found["_id"] or ""] = counts.get(found["_id"] or "", 0) + found["number"]
        return counts

    def _with_attempts(self, jobs: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for batch in batches(sorted(jobs), _BATCH):
            found.update(self.database["attempts"].distinct("job_uuid", {"job_uuid": {"$in": batch}}))
        return found

    def _claim(self, jobs: Iterable[str]) -> list[str]:
        fresh = sorted(set(jobs) - self.claimed)
        self.claimed.update(fresh)
        return fresh

    def _origins(self, collection: str, ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield collection and ids of what documents rest on."""
        if collection == "structures":
            yield "trajectories", self._ids("trajectories", "_id", "final_structure_id", ids)
            yield "trajectories", self._ids(collection, "source.trajectory_id", "_id", ids)
        if collection == "datasets":
            # numpy would slow the cost of all else
            from gst_jobflow.datasets.members import read_members

            for id in ids:
                dataset = self.results.get(Dataset, id)
                yield "labels", [member["label_id"] for member in read_members(self.results.artifacts, dataset)]
        if collection == "studies":
            yield from self._members(ids)
        for relation in relations_of(collection):
            if (collection, relation.field) not in _NO_ORIGINS:
                yield relation.target, self._ids(collection, relation.field, "_id", ids)
        if collection == "cycles":
            # last, so that the potential is a part of the cycle and not of its runs
            yield "trajectories", self._ids("trajectories", "_id", "cycle_id", ids)

    def _ids(self, collection: str, path: str, field: str, values: Sequence[str]) -> list[str]:
        """Return the ids at a path of the documents whose `field` has one of the values."""
        found = self.database[collection]
        return [
            id
            for batch in batches(values, _BATCH)
            for document in found.find({field: {"$in": batch}}, {path: 1})
            for id in ids_at(document, path.split("."))
        ]

    def _members(self, ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        for study in self.database["studies"].find({"_id": {"$in": list(ids)}}, {"members": 1}):
            members = [member for member in study.get("members") or [] if member["collection"] != "attempts"]
            for name in dict.fromkeys(member["collection"] for member in members):
                yield name, [member["id"] for member in members if member["collection"] == name]

    def _of_workflow(self, collection: str, id: str, jobs: Sequence[str]) -> set[str]:
        """Return further jobs: those that a study lists, or operations of a cycle that failed without a run."""
        attempts, fireworks = self.database["attempts"], self.database["fireworks"]
        document = self.database[collection].find_one({"_id": id}, {"workflow_ids": 1, "replica": 1}) or {}
        if collection == "studies":
            return set(attempts.distinct("job_uuid", {"fw_id": {"$in": document.get("workflow_ids") or []}}))
        mine = {"fw_id": {"$in": attempts.distinct("fw_id", {"job_uuid": {"$in": list(jobs)}})}}
        # the first host of a job is the flow that it stands in
        flows = {hosts[0] for each in fireworks.find(mine, {_HOSTS: 1}) if (hosts := _hosts(each))}
        replica = document.get("replica")
        named = {} if replica is None else {"name": {"$regex": f" of replica {replica + 1}$"}}
        where = {_HOSTS: {"$in": sorted(flows)}, "state": {"$ne": "COMPLETED"}, **named}
        failed = [each["fw_id"] for each in fireworks.find(where, {"fw_id": 1})]
        return set(attempts.distinct("job_uuid", {"fw_id": {"$in": failed}}))

    def _before(self, jobs: Iterable[str]) -> set[str]:
        """Return the jobs that came before these in their workflows."""
        attempts = self.database["attempts"]
        start = {id for id in attempts.distinct("fw_id", {"job_uuid": {"$in": list(jobs)}}) if id is not None}
        self._read_links(start)
        waiting, before = set(start), set[int]()
        while waiting:
            waiting = {parent for id in waiting for parent in self.parents.get(id, ())} - before
            before |= waiting
        return set(attempts.distinct("job_uuid", {"fw_id": {"$in": sorted(before)}})) if before else set()

    def _read_links(self, fw_ids: Iterable[int]) -> None:
        missing = [id for id in fw_ids if id not in self.parents]
        for workflow in self.database["workflows"].find({"nodes": {"$in": missing}}, {"nodes": 1, "links": 1}):
            for id in workflow["nodes"]:
                self.parents.setdefault(id, set())
            for parent, children in workflow["links"].items():
                for child in children:
                    self.parents.setdefault(child, set()).add(int(parent))


def _hosts(firework: dict[str, Any]) -> list[str]:
    """Return the uuids of the flows that a firework's job stands in, innermost first."""
    return next((task["job"].get("hosts") or [] for task in firework["spec"]["_tasks"] if "job" in task), [])


def _jobs_by_output(database: Database) -> dict[tuple[str, str], set[str]]:
    """Return the jobs whose output names a document, by its collection and id."""
    found: dict[tuple[str, str], set[str]] = {}
    shown = {"uuid": 1, **{f"output.{key}": 1 for key in _OUTPUTS}}
    for document in database["outputs"].find({}, shown):
        output = document.get("output")
        for key, value in output.items() if isinstance(output, dict) else ():
            for id in value if isinstance(value, list) else [value]:
                if isinstance(id, str):
                    found.setdefault((_OUTPUTS[key], id), set()).add(document["uuid"])
    return found
