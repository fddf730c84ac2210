"""`gst submit cycle`: run the operations of a device."""

from __future__ import annotations

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.plugins import known
from gst_jobflow.cli.common import chosen_material, open_project, say
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.devices.cell.spec import CELLS
from gst_jobflow.devices.cycle import CycleMaker
from gst_jobflow.devices.programme import load_programme, scaled
from gst_jobflow.devices.submit import prepare_cycle
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import locate


def command(
    device: str = argument(f"{', '.join(known('cells', CELLS))}.", default=...),
    potential: str | None = option("Id or name; default with --from: that of the state."),
    programme: str | None = option(
        "YAML file or name: cross-point and mushroom are the paper's; docs/devices.md lists all."
    ),
    scale: float = option("Scale of the cell's edges; energies per heated atom stay.", default=1.0),
    state: str | None = option("Continue from CYCLE, CYCLE:OPERATION (counted from 1) or a trajectory.", "--from"),
    no_gamma: bool = flag("Compute no extrapolation grades, for a potential without active set.", "--no-gamma"),
    replicas: int = option("Cycles on one cell with different seeds.", default=1, min=1, max=100),
    seed: int = option("Seed of velocities and thermostats.", default=1, min=1),
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
