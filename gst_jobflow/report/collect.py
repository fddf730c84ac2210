"""Read the data of a report from the database.

Structures and labels are read as a few numbers each (projections, in chunks), without arrays, so a study of 10^5
structures takes seconds. Missing data become a remark, not an error.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError, GstError
from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import Cycle, Dataset, Document, Potential, Study, Trajectory
from gst_jobflow.evaluation.parity import Parity, parity_file, read_parity
from gst_jobflow.hyperopt.rows import best_row, trial_uuid
from gst_jobflow.store import Results

_CHUNK = 2000
_ATTEMPTS_SHOWN = 300


@dataclass
class StructureRows:
    """A few numbers of every structure, as columns; `min_distance_A` is NaN without contacts."""

    formula: list[str] = field(default_factory=list)
    config_type: list[str] = field(default_factory=list)
    n_atoms: list[int] = field(default_factory=list)
    min_distance_A: list[float] = field(default_factory=list)
    density_g_cm3: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.formula)

    def without(self, config_type: str) -> StructureRows:
        """Return the rows of all other config types."""
        kept = [index for index, name in enumerate(self.config_type) if name != config_type]
        return StructureRows(*([getattr(self, column)[i] for i in kept] for column in self.__dataclass_fields__))


@dataclass
class LabelRows:
    """A few numbers of every label, as columns; NaN where a failed label has none."""

    state: list[str] = field(default_factory=list)
    formula: list[str] = field(default_factory=list)
    config_type: list[str] = field(default_factory=list)
    energy_per_atom_eV: list[float] = field(default_factory=list)
    max_force_eV_A: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.state)


@dataclass
class CycleData:
    """A cycle and the trajectory of each of its operations; None if it has not run yet."""

    cycle: Cycle
    trajectories: list[Trajectory | None]

    @property
    def steps(self) -> list[tuple[str, Trajectory]]:
        """Return name ("RESET 1") and trajectory of each operation that ran."""
        return [(name, run) for name, run in zip(self.names, self.trajectories, strict=True) if run is not None]

    @property
    def names(self) -> list[str]:
        """Return the names of the operations, numbered if a kind occurs more than once."""
        kinds = [operation.kind for operation in self.cycle.operations]
        numbered = (f"{kind} {kinds[:place].count(kind)}" for place, kind in enumerate(kinds, 1))
        return [name if kinds.count(kind) > 1 else kind for name, kind in zip(numbered, kinds, strict=True)]


@dataclass
class Attempts:
    """Executions of the jobs of a study."""

    states: Counter[str] = field(default_factory=Counter)
    by_job: dict[str, dict[str, float]] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    total: int = 0


@dataclass
class StudyData:
    """Data of a page; `kind` (study, cycle, potential) determines its sections.

    `to_come` are the names of the jobs of an unfinished study that have not ended.
    """

    kind: str
    id: str
    name: str
    study: Study | None = None
    structures: StructureRows = field(default_factory=StructureRows)
    labels: LabelRows = field(default_factory=LabelRows)
    dataset: Dataset | None = None
    potentials: list[Potential] = field(default_factory=list)
    parity: dict[str, Parity] = field(default_factory=dict)
    cycles: list[CycleData] = field(default_factory=list)
    runs: list[Trajectory] = field(default_factory=list)
    attempts: Attempts = field(default_factory=Attempts)
    remarks: list[str] = field(default_factory=list)
    to_come: list[str] = field(default_factory=list)

    @property
    def training(self) -> StructureRows:
        """Return the training data: all structures except device cells."""
        return self.structures.without("device")

    @property
    def potential(self) -> Potential | None:
        """Return the last potential, which the figures show."""
        return self.potentials[-1] if self.potentials else None


def study_tag(study_id: str) -> str:
    """Return the tag of a study's structures."""
    return f"study:{study_id}"


def collect_study(results: Results, study_id: str) -> StudyData:
    """Read a study and its members; raises DataError if the study does not exist."""
    study = results.get(Study, study_id)
    data = StudyData("study", study.id, study.name, study)
    ids = _members(study)
    tagged = {each["_id"] for each in results.database["structures"].find({"tags": study_tag(study_id)}, {"_id": 1})}
    if study.state != "finished":
        _discover(results, study, ids)
        waiting = {"fw_id": {"$in": study.workflow_ids}, "state": {"$nin": ["COMPLETED", "DEFUSED"]}}
        # jobflow numbers backwards: the last job first
        found = results.database["fireworks"].find(waiting, {"name": 1}).sort("fw_id", -1)
        data.to_come = [firework["name"] for firework in found]
    data.potentials = sorted(_read(results, Potential, ids["potentials"], data), key=lambda each: each.created_at)
    if study.kind == "hyperopt":
        # the last potential is shown
        best = (best_row(study.table) or {}).get("potential_id")
        data.potentials.sort(key=lambda each: each.id == best)
    dataset_ids = [*ids["datasets"]] or [each.dataset_id for each in data.potentials if each.dataset_id]
    datasets = _read(results, Dataset, dataset_ids, data)
    # show the dataset of the potential in the parity figures
    wanted = data.potential.dataset_id if data.potential else None
    data.dataset = next((each for each in datasets if each.id == wanted), datasets[-1] if datasets else None)
    _fill_structures(results, data, {*ids["structures"], *tagged}, ids["labels"])
    data.parity = _parity(results, data)
    for cycle in _read(results, Cycle, ids["cycles"], data):
        data.cycles.append(_cycle_data(results, cycle, data))
    in_cycles = {run.id for each in data.cycles for run in each.trajectories if run is not None}
    data.runs = [run for run in _read(results, Trajectory, ids["trajectories"], data) if run.id not in in_cycles]
    data.attempts = _attempts_of_study(results, study)
    return data


def _attempts_of_study(results: Results, study: Study) -> Attempts:
    if study.kind == "hyperopt":
        # its jobs are added while it runs; their uuids follow from the study
        uuids = [trial_uuid(study.id, row["trial"]) for row in study.table]
        return _attempts(results, {"job_uuid": {"$in": uuids}})
    return _attempts(results, {"fw_id": {"$in": study.workflow_ids}})


def _discover(results: Results, study: Study, ids: dict[str, list[str]]) -> None:
    """Add the results of an unfinished study, whose members are recorded at its end."""
    database = results.database
    ids["potentials"] += [row["potential_id"] for row in study.table if row.get("potential_id")]
    where = {"tags": study_tag(study.id), "config_type": "device"}
    cells = [found["_id"] for found in database["structures"].find(where, {"_id": 1})]
    jobs = database["attempts"].distinct("job_uuid", {"fw_id": {"$in": study.workflow_ids}})
    for name, condition in (
        ("cycles", {"structure_id": {"$in": cells}}),
        ("potentials", {"job_uuid": {"$in": jobs}}),
        ("trajectories", {"job_uuid": {"$in": jobs}}),
    ):
        found = [each["_id"] for each in database[name].find(condition, {"_id": 1}).sort([("created_at", 1)])]
        ids[name] = list(dict.fromkeys([*ids[name], *found]))


def collect_cycle(results: Results, cycle_id: str) -> StudyData:
    """Read a cycle, its trajectories and its potential; raises DataError if the cycle does not exist."""
    cycle = results.get(Cycle, cycle_id)
    data = StudyData("cycle", cycle.id, cycle.name)
    data.potentials = _read(results, Potential, [cycle.potential_id], data)
    _read_dataset_of_potential(results, data)
    data.cycles = [_cycle_data(results, cycle, data)]
    _method_of_dataset(results, data)
    jobs = [run.job_uuid for run in data.cycles[0].trajectories if run is not None and run.job_uuid]
    data.attempts = _attempts(results, {"job_uuid": {"$in": jobs}})
    return data


def collect_potential(results: Results, potential_id: str) -> StudyData:
    """Read a potential, its dataset, structures and labels; raises DataError if the potential does not exist."""
    potential = results.get(Potential, potential_id)
    data = StudyData("potential", potential.id, potential.name, potentials=[potential])
    _read_dataset_of_potential(results, data)
    _fill_structures(results, data, set(), [])
    data.parity = _parity(results, data)
    if potential.job_uuid:
        data.attempts = _attempts(results, {"job_uuid": potential.job_uuid})
    return data


def collect_trajectory(results: Results, trajectory_id: str) -> StudyData:
    """Read a run and its potential; raises DataError if the run does not exist."""
    run = results.get(Trajectory, trajectory_id)
    data = StudyData("trajectory", run.id, run.name, runs=[run])
    data.potentials = _read(results, Potential, [run.potential_id] if run.potential_id else [], data)
    _read_dataset_of_potential(results, data)
    _method_of_dataset(results, data)
    if run.job_uuid:
        data.attempts = _attempts(results, {"job_uuid": run.job_uuid})
    return data


def _read_dataset_of_potential(results: Results, data: StudyData) -> None:
    wanted = [data.potential.dataset_id] if data.potential and data.potential.dataset_id else []
    data.dataset = next(iter(_read(results, Dataset, wanted, data)), None)


def _method_of_dataset(results: Results, data: StudyData) -> None:
    """Read the method behind a potential, for the notice on a cycle's page."""
    if data.dataset is not None:
        fingerprint = data.dataset.fingerprint
        label = results.database["labels"].find_one({"fingerprint": fingerprint}, {"method": 1})
        if label is not None:
            data.labels.methods[fingerprint] = label["method"]


def _members(study: Study) -> dict[str, list[str]]:
    """Return unique ids of the members by collection, in order."""
    names = ("structures", "labels", "datasets", "potentials", "trajectories", "cycles")
    return {name: list(dict.fromkeys(each.id for each in study.members if each.collection == name)) for name in names}


def _read(results: Results, model: type[Document], ids: Iterable[str], data: StudyData) -> list[Any]:
    """Return the documents of `ids` in order; missing ones become remarks."""
    found = []
    for id in dict.fromkeys(ids):
        try:
            found.append(results.get(model, id))
        except DataError:
            data.remarks.append(f"{model.collection} '{id}' is not in the database")
    return found


def _cycle_data(results: Results, cycle: Cycle, data: StudyData) -> CycleData:
    found = results.find(Trajectory, {"cycle_id": cycle.id}, [("created_at", 1)])
    known = {run.operation_index: run for run in found if run.operation_index is not None}
    runs: list[Trajectory | None] = []
    for index, operation in enumerate(cycle.operations):
        named = _read(results, Trajectory, [operation.trajectory_id] if operation.trajectory_id else [], data)
        runs.append(named[0] if named else known.get(index))
    return CycleData(cycle, runs)


def _fill_structures(results: Results, data: StudyData, ids: set[str], label_ids: list[str]) -> None:
    """Read structures and labels of the study and of its dataset."""
    dataset_structures: set[str] = set()
    dataset_labels: set[str] = set()
    if data.dataset is not None:
        try:
            for member in read_members(results.artifacts, data.dataset):
                dataset_structures.add(member["structure_id"])
                dataset_labels.add(member["label_id"])
        except GstError as err:
            data.remarks.append(f"the list of the dataset's members cannot be read: {err.message}")
    data.structures = _structure_rows(results, ids | dataset_structures)
    _label_rows(results, data.labels, {"structure_id": ids - dataset_structures, "_id": {*dataset_labels, *label_ids}})


def _structure_rows(results: Results, ids: set[str]) -> StructureRows:
    rows = StructureRows()
    columns = list(rows.__dataclass_fields__)
    for chunk in batches(sorted(ids), _CHUNK):  # the same order gives the same page
        for found in results.database["structures"].find({"_id": {"$in": chunk}}, dict.fromkeys(columns, 1)):
            for column in columns:
                value = found.get(column)
                getattr(rows, column).append(np.nan if value is None else value)
    return rows


def _label_rows(results: Results, rows: LabelRows, wanted: dict[str, set[str]]) -> None:
    """Append the labels with a wanted `_id` or `structure_id`, each once."""
    collection = results.database["labels"]
    columns = ("state", "formula", "config_type", "energy_per_atom_eV", "max_force_eV_A", "wall_s")
    projection = dict.fromkeys((*columns, "fingerprint", "failure_class", "reason"), 1)
    seen: set[str] = set()
    for key, ids in wanted.items():
        for chunk in batches(sorted(ids), _CHUNK):  # the same order gives the same page
            for found in collection.find({key: {"$in": chunk}}, projection):
                if found["_id"] in seen:
                    continue
                seen.add(found["_id"])
                for column in columns:
                    value = found.get(column)
                    getattr(rows, column).append(np.nan if value is None else value)
                if found["state"] != "converged":
                    rows.reasons[found.get("failure_class", ""), found.get("reason", "")] += 1
                fingerprint = found["fingerprint"]
                if fingerprint not in rows.methods and (one := collection.find_one(found["_id"], {"method": 1})):
                    rows.methods[fingerprint] = one["method"]


def _attempts(results: Results, where: dict[str, Any]) -> Attempts:
    """Count matching attempts, and keep the newest `_ATTEMPTS_SHOWN` as rows."""
    attempts = Attempts()
    fields = ("job_name", "fw_id", "number", "state", "host", "slurm_job_id", "started_at", "ended_at")
    projection = dict.fromkeys((*fields, "failure_class", "reason", "fix"), 1)
    for found in results.database["attempts"].find(where, projection).sort([("started_at", -1)]):
        attempts.total += 1
        attempts.states[found["state"]] += 1
        ended = found.get("ended_at")
        seconds = (ended - found["started_at"]).total_seconds() if ended else 0.0
        job = attempts.by_job.setdefault(found["job_name"], {"attempts": 0, "reruns": 0, "seconds": 0.0})
        job["attempts"] += 1
        job["reruns"] += found["number"] > 1
        job["seconds"] += seconds
        if len(attempts.rows) < _ATTEMPTS_SHOWN:
            attempts.rows.append({**found, "seconds": seconds if ended else None})
    return attempts


def _parity(results: Results, data: StudyData) -> dict[str, Parity]:
    potential = data.potential
    ref = parity_file(potential) if potential else None
    if ref is None:
        return {}
    try:
        return read_parity(results.artifacts.path(ref))
    except GstError as err:
        data.remarks.append(f"the parity data cannot be read: {err.message}")
        return {}
