"""Check a cycle before it is submitted, so that nothing starts that cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobflow import Flow

from gst_jobflow.analysis.plan import formula_of
from gst_jobflow.base.energy import PulseEnergy
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import jobs_of
from gst_jobflow.base.settings import Project
from gst_jobflow.base.words import counted
from gst_jobflow.devices.branch import check_state, geometry_of_state
from gst_jobflow.devices.cell import device_counts
from gst_jobflow.devices.cell_maker import check_potential
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.heating import Geometry, geometry_of_spec, temperature_K
from gst_jobflow.devices.operations import PROFILES_ARE_OURS, OperationOnCell, Reset, on_cell, profile_words
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.disk import check_disk, forecast_bytes
from gst_jobflow.dynamics.potential_files import check_graded
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import located_runs


@dataclass(frozen=True)
class PreparedCycle:
    """A checked cycle: its flow, what it consists of, and a line for each pulse."""

    flow: Flow
    what: str
    pulses: list[str]


@dataclass(frozen=True)
class _Start:
    """What the operations start from; `jobs` says what comes before them."""

    flow: Flow
    jobs: str
    potential: Potential
    geometry: Geometry
    n_atoms: int
    formula: str


def prepare_cycle(
    project: Project,
    results: Results,
    maker: CycleMaker,
    device: str,
    potential_id: str | None,
    state: str | None = None,
) -> PreparedCycle:
    """Check a cycle and make its flow; raises InputError if it cannot run.

    `device` is ``cross-point`` or ``mushroom``. `state` names a state to continue from, as `store.lookup.located_runs`
    reads it; None: a new cell. Without `potential_id`, the potential is that of the state.
    """
    plan = maker.plan
    assert plan is not None  # the command gives one
    if plan.cell is not None and plan.cell.kind != device:
        raise InputError(f"programme '{plan.name}' has a {plan.cell.kind} cell", f"gst submit cycle {plan.cell.kind}")
    if state is None:
        start = _new_cell(results, maker, plan, potential_id)
    else:
        start = _stored_state(results, maker, plan, device, potential_id, state)
    plan.check_output(start.geometry)
    operations = [on_cell(one.operation, start.geometry) for one in plan.planned()]
    if any(plan.output_of(one.operation.output).gamma_every for one in plan.planned()):
        check_graded(start.potential, "run without gamma: --no-gamma; or use an ACE potential that was fitted here")
    if plan.analyse is not None:
        plan.analyse.crystals(results, start.formula)
    _check_disk(project, plan, operations, start.n_atoms, maker.replicas)
    number = len(operations) * maker.replicas
    analysed = " with their analyses" if plan.analyse is not None else ""
    what = f"{counted(len(jobs_of(start.flow)), 'job')}: {start.jobs} and {counted(number, 'operation')}{analysed}"
    return PreparedCycle(start.flow, what, _pulse_lines(operations, start.geometry.n_mobile))


def _new_cell(results: Results, maker: CycleMaker, plan: CyclePlan, potential_id: str | None) -> _Start:
    if plan.cell is None:
        raise InputError(f"programme '{plan.name}' has no cell", "add one to it, or continue a state with --from")
    if potential_id is None:
        raise InputError("no potential given", "--potential ID; gst query potentials lists them")
    potential = results.get(Potential, potential_id)
    check_potential(plan.cell, potential)
    n_atoms = sum(device_counts(plan.cell).values())
    flow, geometry = maker.make(potential_id), geometry_of_spec(plan.cell)
    return _Start(flow, "barrier, cell", potential, geometry, n_atoms, plan.cell.formula)


def _stored_state(
    results: Results, maker: CycleMaker, plan: CyclePlan, device: str, potential_id: str | None, state: str
) -> _Start:
    run, before = check_state(results, located_runs(results, state)[-1].id, plan.cell, potential_id)
    if before.device != device:
        raise InputError(f"the state belongs to a {before.device} cell", f"gst submit cycle {before.device} --from …")
    potential = results.get(Potential, str(run.potential_id))
    jobs = f"from {run.protocol} of cycle {before.id}"
    flow, geometry = maker.make_from(run.id), geometry_of_state(results, run, before)
    return _Start(flow, jobs, potential, geometry, run.n_atoms, formula_of(results, run))


def _pulse_lines(operations: Sequence[OperationOnCell], n_mobile: int) -> list[str]:
    """Say for each pulse which atoms get how much energy, and which temperature that means."""
    lines = []
    for number, one in enumerate(operations, 1):
        if one.heated is None or not isinstance(one.operation, Reset):
            continue
        mean = one.energy_eV / one.heated.n_atoms
        most = mean * one.heated.peak
        lines.append(
            f"{number} RESET: {PulseEnergy(one.energy_eV, one.heated.n_atoms)} on {one.heated.n_atoms:,} of "
            f"{n_mobile:,} mobile atoms (at most {most:.3g} eV/atom); without melting and loss that is "
            f"{temperature_K(mean):,.0f} K (at most {temperature_K(most):,.0f} K); energy per atom: "
            f"{profile_words(one.operation)}"
        )
    return [*lines, PROFILES_ARE_OURS] if lines else []


def _check_disk(
    project: Project, plan: CyclePlan, operations: Sequence[OperationOnCell], n_atoms: int, replicas: int
) -> None:
    needed = sum(
        forecast_bytes(Protocol(name="x", stages=one.stages), n_atoms, plan.output_of(one.operation.output))
        for one in operations
    )
    folder = project.runs_dir if project.runs_dir.is_dir() else project.root
    check_disk(folder, needed * replicas, f"cycle '{plan.name}'")
