"""`gst submit melt-quench`: make amorphous material."""

from __future__ import annotations

from typing import Annotated

import typer

from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import chosen_material, open_project
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.potential_files import check_kind, check_knows_elements
from gst_jobflow.dynamics.stages import Anneal, Quench, Relax, Stage
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located
from gst_jobflow.structures.composition import atom_counts, parse_formula
from gst_jobflow.structures.hard_sphere import HardSphereSpec


def command(
    formula: Annotated[str, typer.Argument(help="Composition of the material; for Ge-Sb-Te: Ge1Sb2Te4.")],
    potential: Annotated[str, typer.Option(help="Id or name of the potential.")],
    atoms: Annotated[int, typer.Option("--atoms", min=6, help="Atoms in the cell.")] = 252,
    density: Annotated[float | None, typer.Option(help="Density, g/cm3; default: the material's.")] = None,
    melt: Annotated[float, typer.Option(help="Temperature of the melt, K.")] = 2000.0,
    melt_ps: Annotated[float, typer.Option(help="Time in the melt, ps.")] = 10.0,
    quench_ps: Annotated[float, typer.Option(help="Time of the quench to 300 K, ps.")] = 20.0,
    seed: Annotated[int, typer.Option(min=1, help="Seed of start, velocities and thermostat.")] = 1,
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Make amorphous material: melt and quench a random start with a potential.

    Example: gst submit melt-quench Ge1Sb2Te4 --potential 81b2… --atoms 252 --melt-ps 10 --quench-ps 30
    """
    density = density or chosen_material().density_g_cm3
    start = checked(HardSphereSpec, {"formula": formula, "n_atoms": atoms, "density_g_cm3": density, "seed": seed})
    atom_counts(formula, atoms, start.rounding)
    project = open_project()
    known = get_located(Results.open(project), Potential, potential)
    check_kind(known)
    check_knows_elements(known, parse_formula(formula), "choose a potential with all elements")
    stages: list[Stage] = [
        Relax(),
        checked(Anneal, {"temperature_K": melt, "duration_ps": melt_ps}),
        checked(Quench, {"start_K": melt, "end_K": 300.0, "duration_ps": quench_ps}),
    ]
    flow = MeltQuenchMaker(start=start, stages=stages, seed=seed).make(known.id)
    submit_flow(flow, project, f"melt-quench of {atoms} atoms of {formula}", only_estimate=estimate, yes=yes)
