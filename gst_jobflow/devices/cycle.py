"""Run the full cycle of a device cell: melt-quench of the barrier, cell, operations, each a job."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from jobflow import Flow, Job, Maker, job

from gst_jobflow.analysis.maker import AnalyseMaker
from gst_jobflow.analysis.plan import anion_of
from gst_jobflow.base.categories import in_category
from gst_jobflow.base.energy import PulseEnergy
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.devices.analysis import analyse
from gst_jobflow.devices.branch import check_state, geometry_of_state
from gst_jobflow.devices.cell import MushroomSpec, barrier_spec, build_device
from gst_jobflow.devices.cell_maker import check_potential, melt_quench_stages, store_cell
from gst_jobflow.devices.heating import Geometry, geometry_of_atoms
from gst_jobflow.devices.operations import Intervals, Reset, Set, on_cell, profile_words
from gst_jobflow.devices.programme import CyclePlan, CycleSettings, Planned, Until
from gst_jobflow.devices.stop import BudgetWatch, CrystallineWatch, any_of, over_budget, spent
from gst_jobflow.devices.work import CellToRun, OperationWork, cell_of_state, cell_to_make
from gst_jobflow.documents import Cycle, Operation, Potential, Structure, Trajectory
from gst_jobflow.dynamics.deck import FINAL_DATA, Group
from gst_jobflow.dynamics.maker import MeltQuenchMaker, run_recorded
from gst_jobflow.dynamics.record import record
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.dynamics.watch import Watch
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of, load_atoms
from gst_jobflow.store.context import continuation, job_results
from gst_jobflow.store.work import declare_work

# fields that an operation has from its run; the duration is the actual one, since it may have ended early
_OF_THE_RUN = (
    "state", "duration_ps", "added_energy_eV", "max_temperature_K", "final_temperature_K", "max_equilibrated_K",
    "end_equilibrated_K", "max_gamma", "crystalline_fraction", "ended_by",
)  # fmt: skip
_SEEDS_APART = 10_000
"""Seed offset between replicas; each operation takes the next seed."""


@dataclass
class CycleMaker(Maker):
    """Make a device cell and run its operations.

    Velocities and thermostats take the `seed`, each operation the next one. `replicas` are cycles on one cell with
    different seeds.

    Examples
    --------
    >>> plan = load_programme("cross-point-small")
    >>> flow = CycleMaker(plan=plan, replicas=2).make(potential_id)
    """

    name: str = "device cycle"
    plan: CyclePlan | None = None
    seed: int = 1
    replicas: int = 1
    tags: list[str] = field(default_factory=list)

    def make(self, potential_id: str) -> Flow:
        """Return the flow of barrier, cell and operations; its output has `cycle_id` and the last `trajectory_id`."""
        plan = self._plan()
        if plan.cell is None:
            raise InputError("a cycle needs a cell", "give CycleMaker(plan=CyclePlan(cell=…, operations=[…]))")
        ids = [uuid.uuid4().hex for _ in range(self.replicas)]
        tags = [*self.tags, *[f"cycle:{cycle_id}" for cycle_id in ids]]
        barrier = MeltQuenchMaker(
            name="barrier melt-quench",
            start=barrier_spec(plan.cell),
            stages=plan.barrier or melt_quench_stages(),
            seed=self.seed,
            output=plan.output.model_copy(update={"gamma_every": 0}),
            tags=tags,
        ).make(potential_id)
        cell = build_cell(self, ids, barrier.output["structure_id"], potential_id)
        spec = plan.cell
        return self._flow([barrier, cell], cell, lambda _: cell_to_make(spec, potential_id))

    def make_from(self, trajectory_id: str) -> Flow:
        """Return the flow of operations that continue a stored run, with its cell and potential."""
        self._plan()
        begin = begin_from(self, [uuid.uuid4().hex for _ in range(self.replicas)], trajectory_id)
        return self._flow([begin], begin, lambda results: cell_of_state(results, trajectory_id))

    def _plan(self) -> CyclePlan:
        if self.plan is None:
            raise InputError("a cycle needs operations", "give CycleMaker(plan=CyclePlan(cell=…, operations=[…]))")
        self.plan.check_output()
        return self.plan

    def _flow(self, jobs: list[Job], begin: Job, find_cell: Callable[[Results], CellToRun]) -> Flow:
        plan = self._plan()
        settings = plan.settings
        steps: list[Job] = []
        for replica in range(self.replicas):
            cycle_id = begin.output["cycle_ids"][replica]
            for index, planned in enumerate(plan.planned()):
                seed = self.seed + replica * _SEEDS_APART + index
                step = run_operation(cycle_id, index, settings, seed, self.tags)
                of = f" of replica {replica + 1}" if self.replicas > 1 else ""
                step.name = f"{index + 1} {planned.operation.kind}{of}"
                declare_work(step, OperationWork(plan, planned.operation, find_cell))
                steps.append(step)
                cycle_id = step.output["cycle_id"]
        return Flow([*jobs, *steps, *self._hooks(steps)], output=steps[-1].output, name=self.name)

    def _hooks(self, steps: list[Job]) -> list[Job]:
        """Return a job beside each operation that analyses its frames, where the programme asks for it."""
        plan = self._plan().analyse
        if plan is None:
            return []
        hooks = [AnalyseMaker(plan=plan).make(step.output["trajectory_id"]) for step in steps]
        for hook, step in zip(hooks, steps, strict=True):
            hook.name = f"analyse {step.name}"
        return hooks


@job(name="device cell")
def build_cell(maker: CycleMaker, cycle_ids: list[str], barrier_structure_id: str, potential_id: str) -> dict[str, Any]:
    """Join crystal and barrier; store the cell and its planned cycles."""
    assert maker.plan is not None and maker.plan.cell is not None  # the maker checks
    results, spec = job_results(), maker.plan.cell
    check_potential(spec, results.get(Potential, potential_id))
    device = build_device(spec, load_atoms(results, barrier_structure_id))
    structure = store_cell(
        results, spec, device, [barrier_structure_id], f"structure {barrier_structure_id}", maker.tags
    )
    geometry = geometry_of_atoms(device.atoms, device.groups["mobile"], isinstance(spec, MushroomSpec))
    shared = {
        "device": spec.kind,
        "formula": structure.formula,
        "n_atoms": structure.n_atoms,
        "groups": {name: list(ids) for name, ids in device.groups.items()},
        "potential_id": potential_id,
        "structure_id": structure.id,
        "barrier_structure_id": barrier_structure_id,
        "cell_report": device.report,
        "cell": spec.model_dump(mode="json"),
    }
    _plan_cycles(results, maker, cycle_ids, geometry, shared)
    return {"cycle_ids": cycle_ids, "structure_id": structure.id}


@job(name="state to go on from")
def begin_from(maker: CycleMaker, cycle_ids: list[str], trajectory_id: str) -> dict[str, Any]:
    """Store the planned cycles that continue a run."""
    results = job_results()
    run, before = check_state(results, trajectory_id, None if maker.plan is None else maker.plan.cell)
    kept = ("device", "formula", "n_atoms", "groups", "potential_id", "barrier_structure_id", "cell_report", "cell")
    shared = {
        **{name: getattr(before, name) for name in kept},
        "structure_id": run.final_structure_id,
        "parent_trajectory_id": run.id,
    }
    _plan_cycles(results, maker, cycle_ids, geometry_of_state(results, run, before), shared)
    return {"cycle_ids": cycle_ids, "structure_id": run.final_structure_id}


def _plan_cycles(
    results: Results, maker: CycleMaker, cycle_ids: list[str], geometry: Geometry, shared: dict[str, Any]
) -> None:
    assert maker.plan is not None  # the maker checks
    operations = [_planned(planned, geometry) for planned in maker.plan.planned()]
    for replica, cycle_id in enumerate(cycle_ids):
        cycle = Cycle(
            id=cycle_id,
            name=maker.name if len(cycle_ids) == 1 else f"{maker.name} {replica + 1}",
            operations=operations,
            seed=maker.seed + replica * _SEEDS_APART,
            settings=maker.plan.settings.model_dump(mode="json"),
            replica=replica if len(cycle_ids) > 1 else None,
            **shared,
        )
        results.add(cycle)


def _planned(planned: Planned, geometry: Geometry) -> Operation:
    operation, own = planned.operation, on_cell(planned.operation, geometry)
    n_heated = own.heated.n_atoms if own.heated else None
    return Operation(
        kind=operation.kind,
        stages=[stage.model_dump(mode="json") for stage in own.stages],
        duration_ps=own.duration_ps,
        asked_energy_eV=own.energy_eV,
        asked_energy_pJ=PulseEnergy(own.energy_eV).pJ if n_heated else None,
        asked=operation.model_dump(mode="json", exclude_none=True),
        heated_atoms=n_heated,
        profile=profile_words(operation) if isinstance(operation, Reset) else "",
        energy_eV_per_atom=own.energy_eV / n_heated if n_heated else None,
        until=planned.until.model_dump(mode="json") if planned.until else None,
        rounds_end=list(planned.rounds_end),
    )


@job
@in_category("md")
def run_operation(cycle_id: str, index: int, settings: CycleSettings, seed: int, tags: list[str]) -> dict[str, Any]:
    """Run one operation from the final state of the one before, analyse it, and note it in the cycle."""
    results = job_results()
    cycle = results.get(Cycle, cycle_id)
    operation, before = cycle.operations[index], _run_before(results, cycle, index)
    hours, steps = spent(results, cycle_id, index)
    if reason := _unneeded(cycle, index) or over_budget(settings.stop, hours, steps):
        _note(results, cycle, index, {"state": "skipped", "ended_by": reason, "duration_ps": 0.0})
        return _output(cycle_id, before)
    protocol = Protocol(name=operation.kind, stages=operation.stages, seed=seed)
    groups = {name: Group(ranges=[(ids[0], ids[1])], frozen=name == "barrier") for name, ids in cycle.groups.items()}
    drawn_at_K = _drawn_at_K(cycle, before, index, protocol)
    own = Intervals(**operation.asked["output"]) if operation.asked.get("output") else None
    options = settings.run_options(own, groups=groups, create_velocities_K=drawn_at_K)
    watch = _watch(results, cycle, operation, settings, hours)
    start = _start(results, cycle, before)
    result = run_recorded(results, cycle.potential_id, start, protocol, options, watch)
    if result.goes_on:
        return continuation(run_operation(cycle_id, index, settings, seed, tags))
    trajectory = record(
        results,
        result,
        protocol,
        cycle.potential_id,
        "device",
        before.final_structure_id or cycle.structure_id if before else cycle.structure_id,
        groups={name: group.count() for name, group in groups.items()},
        tags=[*tags, f"cycle:{cycle_id}"],
        cycle_id=cycle_id,
        operation_index=index,
        **analyse(result, protocol, cycle.groups["mobile"], settings.analysis, anion_of(cycle)),
    )
    _note(results, cycle, index, _came_of(trajectory, operation.heated_atoms))
    result.require_success()
    return _output(cycle_id, trajectory)


def _output(cycle_id: str, run: Trajectory | None) -> dict[str, Any]:
    return {
        "cycle_id": cycle_id,
        "trajectory_id": run.id if run else None,
        "crystalline_fraction": run.crystalline_fraction if run else None,
    }


def _unneeded(cycle: Cycle, index: int) -> str:
    """Return why an operation of a REPEAT need not run; empty: it must."""
    operation = cycle.operations[index]
    if operation.until is None:
        return ""
    until = Until(**operation.until)
    for end in operation.rounds_end:
        fraction = cycle.operations[end].crystalline_fraction
        if fraction is not None and until.is_met(fraction):
            return f"crystal-like fraction {fraction:.3f} after operation {end + 1}"
    return ""


def _watch(results: Results, cycle: Cycle, operation: Operation, settings: CycleSettings, hours: float) -> Watch | None:
    if any(stage["kind"] not in ("anneal", "hold") for stage in operation.stages):
        return None  # a pulse, a cooling or a minimisation runs to its end
    watches: list[Watch] = []
    wanted = Set(**operation.asked).until_crystalline if operation.kind == "SET" else None
    if wanted is not None:
        mobile, elements = cycle.groups["mobile"], results.get(Potential, cycle.potential_id).elements
        watches.append(CrystallineWatch(wanted, (mobile[0], mobile[1]), elements, anion_of(cycle)))
    if settings.stop.core_hours is not None:
        watches.append(BudgetWatch(settings.stop.core_hours, hours))
    return any_of(watches)


def _start(results: Results, cycle: Cycle, before: Trajectory | None) -> Atoms | Path:
    """Return the atoms of a new cell, or the final data file, with velocities, of the run before."""
    if before is None:
        return atoms_of(results.get(Structure, cycle.structure_id), results.artifacts)
    for ref in before.files:
        if ref.name == FINAL_DATA:
            folder = Path.cwd() / "start"
            folder.mkdir(exist_ok=True)
            return results.artifacts.fetch(ref, folder)
    raise DataError(f"trajectory {before.id} has no {FINAL_DATA} to continue from", "run the operation before again")


def _run_before(results: Results, cycle: Cycle, index: int) -> Trajectory | None:
    """Return the run that an operation continues; None for the first one of a new cell."""
    for number in range(index, 0, -1):
        before = cycle.operations[number - 1]
        if before.state == "skipped":
            continue
        if before.trajectory_id is None:
            raise DataError(
                f"operation {number} of cycle {cycle.id} has not run",
                "gst ingest, if its results are spooled; otherwise see gst status",
            )
        return results.get(Trajectory, before.trajectory_id)
    return None if cycle.parent_trajectory_id is None else results.get(Trajectory, cycle.parent_trajectory_id)


def _drawn_at_K(cycle: Cycle, before: Trajectory | None, index: int, protocol: Protocol) -> float | None:
    """Return the temperature to draw velocities at, for a new cell and for replicas of a state; otherwise None."""
    if before is None:
        return next((stage.temperature_K for stage in protocol.stages if hasattr(stage, "temperature_K")), 300.0)
    first = index == 0 and cycle.replica is not None
    return before.final_temperature_K if first else None


def _came_of(trajectory: Trajectory, heated_atoms: int | None) -> dict[str, Any]:
    heating = trajectory.analysis.get("heating") or {}
    is_pulse = heated_atoms and trajectory.added_energy_eV is not None
    added = PulseEnergy(trajectory.added_energy_eV or 0.0, heated_atoms) if is_pulse else None
    return {
        "trajectory_id": trajectory.id,
        "added_energy_pJ": added.pJ if added else None,
        "added_energy_eV_per_atom": added.eV_per_atom if added else None,
        "gradient_K_per_nm": heating.get("gradient_K_per_nm"),
        **{name: getattr(trajectory, name) for name in _OF_THE_RUN},
    }


def _note(results: Results, cycle: Cycle, index: int, came: dict[str, Any]) -> None:
    """Write the outcome of an operation into the cycle."""
    operation, path = cycle.operations[index].model_copy(update=came), f"operations.{index}"
    # a failed attempt that is ingested late must not hide the finished one after it
    unless = None if operation.state == "finished" else {f"{path}.state": "finished"}
    results.update("cycles", cycle.id, {path: operation.model_dump(mode="json")}, unless)
