"""What is checked of a cycle before it is submitted: nothing is started that cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.branch import check_state, find_state, geometry_of_state
from gst_jobflow.devices.cell import device_counts
from gst_jobflow.devices.cell_maker import check_potential
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.heating import Geometry, geometry_of_spec, heated, temperature_K
from gst_jobflow.devices.operations import PROFILES_ARE_OURS, Reset, profile_of, profile_words, stages_of
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.disk import check_disk, forecast_bytes
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.launch.workflow import jobs_of

if TYPE_CHECKING:
    from jobflow import Flow

    from gst_jobflow.base.settings import Project
    from gst_jobflow.devices.programme import CyclePlan
    from gst_jobflow.store import Results


@dataclass(frozen=True)
class Prepared:
    """A cycle that may be submitted, and what its pulses mean."""

    flow: Flow
    what: str
    pulses: list[str]


def prepare_cycle(
    project: Project,
    results: Results,
    maker: CycleMaker,
    device: str,
    potential_id: str | None,
    state: str | None = None,
) -> Prepared:
    """Check a cycle and make its flow.

    Parameters
    ----------
    project, results
        Where it is to run.
    maker
        Programme, seed and replicas.
    device
        ``cross-point`` or ``mushroom``.
    potential_id
        The potential; None: that of the state.
    state
        What to go on from, as `branch.find_state` takes it; None: a new cell.

    Raises
    ------
    InputError
        Anything about it cannot be; one line, and nothing was started.
    """
    plan = maker.plan
    assert plan is not None  # the command sees to it
    if plan.cell is not None and plan.cell.kind != device:
        raise InputError(f"programme '{plan.name}' is of a {plan.cell.kind} cell", f"gst submit cycle {plan.cell.kind}")
    if state is not None:
        run, before = check_state(results, find_state(results, state).id, plan.cell, potential_id)
        if before.device != device:
            raise InputError(f"the state is of a {before.device} cell", f"gst submit cycle {before.device} --from …")
        potential, geometry, n_atoms = run.potential_id, geometry_of_state(results, run, before), run.n_atoms
        flow, first = maker.make_from(run.id), f"from {run.protocol} of cycle {before.id}"
    else:
        if plan.cell is None:
            raise InputError(f"programme '{plan.name}' has no cell", "write one into it, or go on --from a state")
        if potential_id is None:
            raise InputError("with which potential?", "--potential ID; gst query potentials lists them")
        potential, n_atoms = potential_id, sum(device_counts(plan.cell).values())
        check_potential(plan.cell, results.get(Potential, potential))
        geometry = geometry_of_spec(plan.cell)
        flow, first = maker.make(potential), "barrier, cell"
    _check_gamma(plan, results.get(Potential, str(potential)))
    _check_disk(project, plan, geometry, n_atoms, maker.replicas)
    number = len(plan.planned()) * maker.replicas
    return Prepared(flow, f"{len(jobs_of(flow))} jobs: {first} and {number} operations", pulses(plan, geometry))


def pulses(plan: CyclePlan, geometry: Geometry) -> list[str]:
    """Say of each pulse what it gives to which atoms, and the temperature that this means."""
    told = list(_pulses(plan, geometry))
    return [*told, PROFILES_ARE_OURS] if told else []


def _pulses(plan: CyclePlan, geometry: Geometry) -> Iterator[str]:
    for number, planned in enumerate(plan.planned(), 1):
        one = planned.operation
        if not isinstance(one, Reset):
            continue
        pulse = stages_of(one, geometry)[0]
        share = heated(profile_of(one, geometry), geometry)
        mean = pulse.energy_eV / share.n_atoms  # type: ignore[union-attr]
        yield (
            f"{number} RESET: {pulse.energy_eV:,.5g} eV on {share.n_atoms:,} of {geometry.n_mobile:,} mobile atoms, "  # type: ignore[union-attr]
            f"{mean:.3g} eV each (at most {mean * share.peak:.3g}); without melting and loss that is "
            f"{temperature_K(mean):,.0f} K (at most {temperature_K(mean * share.peak):,.0f} K); energy per atom: "
            f"{profile_words(one)}"
        )


def _check_gamma(plan: CyclePlan, potential: Potential) -> None:
    graded = any(plan.output_of(one.operation.output).gamma_every for one in plan.planned())
    if graded and not (potential.artifacts.asi and potential.artifacts.yaml):
        raise InputError(
            f"potential {potential.id} has no active set, which gamma needs",
            "take one that was fitted here, or leave gamma out: --no-gamma",
        )


def _check_disk(project: Project, plan: CyclePlan, geometry: Geometry, n_atoms: int, replicas: int) -> None:
    operations = [one.operation for one in plan.planned()]
    needed = sum(
        forecast_bytes(Protocol(name="x", stages=stages_of(one, geometry)), n_atoms, plan.output_of(one.output))
        for one in operations
    )
    folder = project.runs_dir if project.runs_dir.is_dir() else project.root
    check_disk(folder, needed * replicas, f"cycle '{plan.name}'")
