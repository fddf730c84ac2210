"""The full cycle of a cross-point cell: barrier by melt-quench, cell, then its operations, each a job."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jobflow import Flow, Job, Maker, job
from pydantic import Field

from gst_jobflow.categories import in_category
from gst_jobflow.documents import Cycle, Operation, Potential, Structure, Trajectory
from gst_jobflow.dynamics.deck import Group, Output
from gst_jobflow.dynamics.maker import MeltQuenchMaker, record, run_recorded
from gst_jobflow.dynamics.protocol import RunOptions
from gst_jobflow.dynamics.stages import Protocol, Stage
from gst_jobflow.errors import DataError, InputError
from gst_jobflow.flows.device_analysis import analyse
from gst_jobflow.flows.operations import OperationSpec, duration_ps, stages_of
from gst_jobflow.strict import StrictModel
from gst_jobflow.structures.device import CrossPointSpec, barrier_spec

if TYPE_CHECKING:
    from gst_jobflow.store import Results


class CyclePlan(StrictModel):
    """A programme for a cross-point cell, as people write it in YAML."""

    name: str = "cross-point cycle"
    cell: CrossPointSpec
    barrier: list[Stage] = Field(min_length=1, description="Melt-quench of the barrier")
    operations: list[OperationSpec] = Field(min_length=1)
    output: Output = Field(default_factory=Output)

    def maker(self, seed: int) -> CrossPointCycleMaker:
        """The maker of this programme."""
        return CrossPointCycleMaker(
            name=self.name,
            cell=self.cell,
            barrier_stages=self.barrier,
            operations=self.operations,
            output=self.output,
            seed=seed,
        )


@dataclass
class CrossPointCycleMaker(Maker):
    """A cross-point cell and its operations.

    Attributes
    ----------
    cell
        Size, composition and barrier.
    barrier_stages
        The melt-quench that makes the barrier with the same potential.
    operations
        In order; the first should relax the new cell.
    seed
        Velocities and thermostats; each operation draws its own from it.
    """

    name: str = "cross-point cycle"
    cell: CrossPointSpec | None = None
    barrier_stages: list[Stage] = field(default_factory=list)
    operations: list[OperationSpec] = field(default_factory=list)
    output: Output = field(default_factory=Output)
    seed: int = 1
    tags: list[str] = field(default_factory=list)

    def make(self, potential_id: str) -> Flow:
        """Flow of barrier, cell and operations; its output has `cycle_id` and the last `trajectory_id`."""
        if self.cell is None or not self.operations:
            raise InputError("a cycle needs a cell and operations", "give CrossPointCycleMaker(cell=…, operations=[…])")
        cycle_id = uuid.uuid4().hex
        barrier = MeltQuenchMaker(
            name="barrier melt-quench",
            start=barrier_spec(self.cell),
            stages=self.barrier_stages,
            seed=self.seed,
            output=self.output,
            tags=[*self.tags, f"cycle:{cycle_id}"],
        ).make(potential_id)
        cell = build_cell(self, cycle_id, barrier.output["structure_id"], potential_id)
        jobs: list[Job] = [barrier, cell]
        for index, operation in enumerate(self.operations):
            step = run_operation(jobs[-1].output["cycle_id"], index, self.output, self.seed + index, self.tags)
            step.name = f"{index + 1} {operation.kind}"
            jobs.append(step)
        return Flow(jobs, output=jobs[-1].output, name=self.name)


@job(name="device cell")
def build_cell(
    maker: CrossPointCycleMaker, cycle_id: str, barrier_structure_id: str, potential_id: str
) -> dict[str, Any]:
    """Join crystal and barrier, store the cell and the cycle that is planned for it."""
    from gst_jobflow.store.atoms import load_atoms, structure_document
    from gst_jobflow.store.context import job_results
    from gst_jobflow.structures.device import build_device

    assert maker.cell is not None  # the maker sees to it
    results = job_results()
    potential = results.get(Potential, potential_id)
    device = build_device(maker.cell, load_atoms(results, barrier_structure_id))
    if missing := set(device.atoms.get_chemical_symbols()) - set(potential.elements):
        raise InputError(
            f"potential {potential_id} has no {', '.join(sorted(missing))}; it knows {', '.join(potential.elements)}",
            "choose a potential of all elements of the cell",
        )
    source = {"builder": "cross_point", "spec": maker.cell.model_dump(mode="json", exclude_none=True)}
    structure = structure_document(
        device.atoms,
        "device",
        source=source,
        parents=[barrier_structure_id],
        tags=maker.tags,
        artifacts=results.artifacts,
    )
    results.add(structure)
    cycle = Cycle(
        _id=cycle_id,
        name=maker.name,
        device="cross-point",
        formula=structure.formula,
        n_atoms=structure.n_atoms,
        groups={name: list(ids) for name, ids in device.groups.items()},
        potential_id=potential_id,
        structure_id=structure.id,
        barrier_structure_id=barrier_structure_id,
        operations=[_planned(operation, device.atoms, device.groups["mobile"]) for operation in maker.operations],
        seed=maker.seed,
        cell_report=device.report,
    )
    results.add(cycle)
    return {"cycle_id": cycle_id, "structure_id": structure.id}


def _planned(operation: Any, atoms: Any, mobile: tuple[int, int]) -> Operation:
    z_A = atoms.positions[mobile[0] - 1 : mobile[1], 2]
    stages = stages_of(operation, len(z_A), (float(z_A.min()), float(z_A.max())))
    return Operation(
        kind=operation.kind,
        stages=[stage.model_dump(mode="json") for stage in stages],
        duration_ps=duration_ps(operation),
        asked_energy_eV=sum(stage.energy_eV for stage in stages if stage.kind == "pulse"),
    )


@job
@in_category("md")
def run_operation(cycle_id: str, index: int, output: Output, seed: int, tags: list[str]) -> dict[str, Any]:
    """Run one operation from where the one before ended, analyse it, and note it in the cycle."""
    from gst_jobflow.store.context import continuation, job_results

    results = job_results()
    cycle = results.get(Cycle, cycle_id)
    operation = cycle.operations[index]
    protocol = Protocol(name=operation.kind, stages=operation.stages, seed=seed)
    groups = {name: Group(ranges=[(ids[0], ids[1])], frozen=name == "barrier") for name, ids in cycle.groups.items()}
    first = index == 0
    options = RunOptions(
        groups=groups, create_velocities_K=_start_temperature(protocol) if first else None, output=output
    )
    result = run_recorded(results, cycle.potential_id, _start(results, cycle, index), protocol, options)
    if result.goes_on:
        return continuation(run_operation(cycle_id, index, output, seed, tags))
    trajectory, _ = record(
        results,
        result,
        protocol,
        cycle.potential_id,
        "device",
        cycle.structure_id if first else _before(results, cycle, index).final_structure_id or cycle.structure_id,
        groups={name: group.count() for name, group in groups.items()},
        tags=[*tags, f"cycle:{cycle_id}"],
        cycle_id=cycle_id,
        operation_index=index,
        **analyse(result, cycle.groups["mobile"], protocol.timestep_fs * 1e-3),
    )
    _note(results, cycle, index, trajectory)
    result.require_success()
    return {
        "cycle_id": cycle_id,
        "trajectory_id": trajectory.id,
        "crystalline_fraction": trajectory.crystalline_fraction,
    }


def _start(results: Results, cycle: Cycle, index: int) -> Any:
    """Atoms of the new cell, or the data file (with velocities) that the operation before left."""
    from pathlib import Path

    from gst_jobflow.dynamics.deck import FINAL_DATA
    from gst_jobflow.store.atoms import atoms_of

    if index == 0:
        return atoms_of(results.get(Structure, cycle.structure_id), results.artifacts)
    before = _before(results, cycle, index)
    for ref in before.files:
        if ref.name == FINAL_DATA:
            folder = Path.cwd() / "start"
            folder.mkdir(exist_ok=True)
            return results.artifacts.fetch(ref, folder)
    raise DataError(f"trajectory {before.id} has no {FINAL_DATA} to go on from", "run the operation before again")


def _before(results: Results, cycle: Cycle, index: int) -> Trajectory:
    before = cycle.operations[index - 1]
    if before.trajectory_id is None:
        raise DataError(
            f"operation {index} of cycle {cycle.id} has not run",
            "gst ingest, if its results are spooled; else gst status",
        )
    return results.get(Trajectory, before.trajectory_id)


def _start_temperature(protocol: Protocol) -> float:
    for stage in protocol.stages:
        if hasattr(stage, "temperature_K"):
            return stage.temperature_K
    return 300.0


def _note(results: Results, cycle: Cycle, index: int, trajectory: Trajectory) -> None:
    """Write what came of an operation into the cycle."""
    came = cycle.operations[index].model_copy(
        update={
            "state": trajectory.state,
            "trajectory_id": trajectory.id,
            "added_energy_eV": trajectory.added_energy_eV,
            "max_temperature_K": trajectory.max_temperature_K,
            "final_temperature_K": trajectory.final_temperature_K,
            "crystalline_fraction": trajectory.crystalline_fraction,
        }
    )
    path = f"operations.{index}"
    # a failed attempt that is put in late must not hide the finished one after it
    unless = None if came.state == "finished" else {f"{path}.state": "finished"}
    results.update("cycles", cycle.id, {path: came.model_dump(mode="json")}, unless)
