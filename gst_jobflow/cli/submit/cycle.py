"""`gst submit cycle`: run the operations of a device."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.plugins import known
from gst_jobflow.cli.common import chosen_material, open_project, say
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.devices.cell.spec import CELLS
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.programme import load_programme, scaled
from gst_jobflow.devices.submit import prepare_cycle
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import locate


def command(
    device: Annotated[str, typer.Argument(help=f"{', '.join(known('cells', CELLS))}.")],
    potential: Annotated[str | None, typer.Option(help="Id or name; default with --from: that of the state.")] = None,
    programme: Annotated[
        str | None,
        typer.Option(help="YAML file or name: cross-point and mushroom are the paper's; docs/devices.md lists all."),
    ] = None,
    scale: Annotated[float, typer.Option(help="Scale of the cell's edges; energies per heated atom stay.")] = 1.0,
    state: Annotated[
        str | None,
        typer.Option("--from", help="Continue from CYCLE, CYCLE:OPERATION (counted from 1) or a trajectory."),
    ] = None,
    no_gamma: Annotated[
        bool, typer.Option("--no-gamma", help="Compute no extrapolation grades, for a potential without active set.")
    ] = False,
    replicas: Annotated[int, typer.Option(min=1, max=100, help="Cycles on one cell with different seeds.")] = 1,
    seed: Annotated[int, typer.Option(min=1, help="Seed of velocities and thermostats.")] = 1,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Run operations (RESET, SET, HOLD, READ) on a device cell; each is a job with its trajectory.

    Example: gst submit cycle mushroom --potential 81b2… --programme mushroom-small
    """
    if device not in CELLS and device not in (names := known("cells", CELLS)):
        raise InputError(f"no device '{device}'", nearest(device, names))
    if state is not None and programme is None:
        raise InputError("--from needs operations", "give --programme, best a file without a cell")
    plan = load_programme(programme or device, chosen_material())
    if scale != 1.0:
        plan = scaled(plan, scale)
    if no_gamma:
        plan = plan.without_gamma()
    project = open_project()
    maker = CycleMaker(name=plan.name, plan=plan, seed=seed, replicas=replicas)
    results = Results.open(project)
    if potential is not None:
        potential = locate(results.database, potential, "potentials")[1]
    prepared = prepare_cycle(project, results, maker, device, potential, state)
    for pulse in prepared.pulses:
        say(pulse)
    submit_flow(prepared.flow, project, prepared.what, only_estimate=estimate, yes=yes)
