"""`gst submit melt-quench`: make amorphous material."""

from __future__ import annotations

from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import chosen_material, open_project
from gst_jobflow.cli.option_group import argument, option
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
    formula: str = argument("Composition of the material; for Ge-Sb-Te: Ge1Sb2Te4.", default=...),
    potential: str = option("Id or name of the potential.", default=...),
    atoms: int = option("Atoms in the cell.", default=252, min=6),
    density: float | None = option("Density, g/cm3; default: the material's."),
    melt: float = option("Temperature of the melt, K.", default=2000.0),
    melt_ps: float = option("Time in the melt, ps.", default=10.0),
    quench_ps: float = option("Time of the quench to 300 K, ps.", default=20.0),
    seed: int = option("Seed of start, velocities and thermostat.", default=1, min=1),
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
