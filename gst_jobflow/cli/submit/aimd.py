"""`gst submit aimd`: molecular dynamics from first principles."""

from __future__ import annotations

from typing import Any

from gst_jobflow.base.errors import InputError, check_known
from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.common import chosen_material, open_project, parse_assignments
from gst_jobflow.cli.option_group import argument, option
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.flows.aimd import AimdMaker, random_start
from gst_jobflow.flows.aimd_run import AimdSpec
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.labelling.cp2k import Cp2kBackend
from gst_jobflow.labelling.cp2k_md import BornOppenheimer, CarParrinello, check_dynamics
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.lookup import locate
from gst_jobflow.structures.hard_sphere import generate

SCHEMES = ("born-oppenheimer", "car-parrinello")


def command(
    formula: str | None = argument("Random start: composition of the material; for Ge-Sb-Te: Ge1Sb2Te4."),
    structure: str | None = option("Id of a structure to start from instead, or the beginning of the id."),
    stage: list[str] | None = option(
        "Kelvin:ps, e.g. 1200:5, or a ramp 1200-300:10 (repeatable, in order). Default: 1200:2."
    ),
    scheme: str = option(
        "born-oppenheimer (CSVR), or car-parrinello of the second generation (Langevin).", default="born-oppenheimer"
    ),
    scheme_option: list[str] | None = option(
        "A field of the scheme, e.g. thermostat_fs=50, noisy_gamma_per_fs=2e-4 (repeatable)."
    ),
    atoms: int = option("Atoms of a random start.", default=63, min=2),
    density: float | None = option("Density of a random start, g/cm3; default: the material's."),
    timestep: float = option("Time step, fs.", default=2.0),
    every: int = option("Steps between stored frames.", "--every-steps", "--every", default=10, min=1),
    seed: int = option("Seed of start, velocities and thermostat.", default=1, min=1),
    option: list[str] | None = option("A field of CP2K's settings, e.g. cutoff_Ry=150 (repeatable)."),
    tag: list[str] | None = option("Tag the frames (repeatable)."),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Run molecular dynamics with CP2K (NVT); frames become structures and labels of its method.

    Example: gst submit aimd Ge1Sb2Te4 --atoms 63 --stage 1200:5 --stage 1200-300:10 --tag melt
    """
    if (formula is None) == (structure is None):
        raise InputError("specify one start", "give either a formula or --structure ID")
    values = {"stages": [_stage(text) for text in stage or ["1200:2"]], "timestep_fs": timestep, "every": every}
    spec = _spec({**values, "seed": seed}, scheme, parse_assignments(scheme_option or [], "--scheme-option"))
    project = open_project()
    backend: Any = backend_of("cp2k", project, parse_assignments(option or [], "--option"))
    maker = AimdMaker(backend=backend, spec=spec, tags=tag or [])
    structure, what = _start(maker, project, formula, structure, (atoms, density, seed))
    steps = f"{maker.spec.total_steps:,} steps of {what}"
    submit_flow(maker.make(structure), project, steps, only_estimate=estimate, yes=yes)


def _spec(values: dict[str, Any], scheme: str, options: dict[str, Any]) -> Any:
    check_known("no scheme", scheme, SCHEMES)
    kind: Any = BornOppenheimer if scheme == SCHEMES[0] else CarParrinello
    return checked(AimdSpec, {**values, "dynamics": checked(kind, options, scheme).model_dump()})


def _start(
    maker: AimdMaker, project: Project, formula: str | None, structure: str | None, size: tuple[int, float | None, int]
) -> tuple[str | None, str]:
    """Check the start; return its id, if it has one, and its description."""
    backend: Cp2kBackend = maker.backend
    check_dynamics(backend.settings, maker.spec.dynamics)
    if structure is not None:
        results = Results.open(project)
        structure = locate(results.database, structure, "structures")[1]
        found = load_atoms(results, structure)
        words = f"structure {structure}"
    else:
        assert formula is not None  # the caller sees to it
        n_atoms, density, seed = size
        material = chosen_material()
        maker.start = random_start(formula, n_atoms, density or material.density_g_cm3, seed, material)
        found, words = generate(maker.start), f"{n_atoms} atoms of {formula}"
    backend.check(found)
    return structure, words


def _stage(text: str) -> dict[str, Any]:
    """Return the stage of 1200:5 or 1200-300:10."""
    temperatures, _, duration = text.partition(":")
    begin, ramp, end = temperatures.partition("-")
    try:
        if ramp:
            return {"kind": "quench", "start_K": float(begin), "end_K": float(end), "duration_ps": float(duration)}
        return {"kind": "anneal", "temperature_K": float(begin), "duration_ps": float(duration)}
    except ValueError as err:
        raise InputError(f"--stage {text}: not numbers", "write Kelvin:ps, e.g. 1200:5, or a ramp 1200-300:10") from err
