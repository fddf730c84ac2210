"""Write inputs of molecular dynamics with CP2K: Born–Oppenheimer, or second-generation Car–Parrinello.

Second-generation Car–Parrinello (Kühne, Krack, Mohamed and Parrinello, Phys. Rev. Lett. 98, 066401 (2007)) propagates
the wave function by the always stable predictor and a few corrector steps of orbital transformation, and compensates
their dissipation by a Langevin equation. Its electrons stay near their ground state, so its energies and forces are not
of the method of converged labels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from ase import Atoms
from pydantic import Field

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.labelling.cp2k import (
    Cp2kBackend,
    Cp2kSettings,
    check_kinds,
    cp2k_version,
    dft_lines,
    input_section,
    scf_lines,
    subsys_lines,
)
from gst_jobflow.labelling.method import Method

PROJECT = "aimd"
INPUT, OUTPUT = f"{PROJECT}.inp", f"{PROJECT}.out"
POSITIONS, FORCES, ENERGIES = f"{PROJECT}-pos-1.xyz", f"{PROJECT}-frc-1.xyz", f"{PROJECT}-1.ener"
RESTARTS = (f"{PROJECT}-1.restart", f"{PROJECT}-1.restart.bak-1")
"""Restart files, newest first; a kill may leave the newest incomplete."""
PRECONDITIONER = "FULL_SINGLE_INVERSE"


class BornOppenheimer(StrictModel):
    """Converge the electrons in every step, as for labels; NVT by stochastic velocity rescaling (CSVR).

    Attributes
    ----------
    thermostat_fs
        Time constant of CSVR. Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007).
    """

    kind: Literal["born_oppenheimer"] = "born_oppenheimer"
    thermostat_fs: float = Field(100.0, gt=0)


class CarParrinello(StrictModel):
    """Second-generation Car–Parrinello: Gamma point, no smearing (so no gapless metals), Langevin.

    Attributes
    ----------
    corrector_steps
        Steps of orbital transformation in each step of the dynamics, once the history is filled.
    history
        Order of the always stable predictor-corrector (EXTRAPOLATION_ORDER).
    gamma_per_fs
        Friction of the Langevin equation.
    noisy_gamma_per_fs
        Compensates the dissipation of the corrector; tune it until the mean temperature is the requested one.
    """

    kind: Literal["car_parrinello"] = "car_parrinello"
    corrector_steps: int = Field(2, ge=1)
    history: int = Field(3, ge=0)
    gamma_per_fs: float = Field(1e-3, ge=0)
    noisy_gamma_per_fs: float = Field(1e-4, ge=0)


Dynamics = Annotated[BornOppenheimer | CarParrinello, Field(discriminator="kind")]


class MdPart(StrictModel):
    """One execution of CP2K at constant temperature.

    Attributes
    ----------
    every
        Steps between frames, counted from the first step of the whole run.
    seed
        Seed of velocities and thermostat.
    restart
        Restart file to continue; empty: draw velocities.
    """

    temperature_K: float = Field(gt=0)
    steps: int = Field(ge=1)
    timestep_fs: float = Field(gt=0)
    every: int = Field(ge=1)
    seed: int = Field(ge=1)
    restart: str = ""


def check_dynamics(settings: Cp2kSettings, dynamics: BornOppenheimer | CarParrinello) -> None:
    """Raise InputError for second-generation Car–Parrinello with k-points."""
    if isinstance(dynamics, CarParrinello) and settings.k_spacing_per_A is not None:
        raise InputError(
            "second-generation Car–Parrinello by orbital transformation takes the Gamma point only",
            "leave k_spacing_per_A out and take a larger cell, or choose born-oppenheimer",
        )


def md_input(atoms: Atoms, settings: Cp2kSettings, dynamics: BornOppenheimer | CarParrinello, part: MdPart) -> str:
    """Return CP2K's input for a part of a run.

    Raises
    ------
    InputError
        An element without basis and potential, or settings that do not go with the dynamics.
    """
    check_kinds(atoms, settings)
    check_dynamics(settings, dynamics)
    scf, qs = None, []
    if isinstance(dynamics, CarParrinello):
        scf, qs = _corrector(settings, dynamics), ["EXTRAPOLATION ASPC", f"EXTRAPOLATION_ORDER {dynamics.history}"]
    lines = [
        *input_section("GLOBAL", f"PROJECT {PROJECT}", "RUN_TYPE MD", "PRINT_LEVEL LOW", f"SEED {part.seed}"),
        *input_section(
            "FORCE_EVAL", "METHOD QUICKSTEP", *dft_lines(atoms, settings, scf, qs), *subsys_lines(atoms, settings)
        ),
        *_motion(dynamics, part),
        *(input_section("EXT_RESTART", f"RESTART_FILE_NAME {part.restart}") if part.restart else []),
    ]
    return "\n".join([*lines, ""])


def md_method(backend: Cp2kBackend, dynamics: BornOppenheimer | CarParrinello, version: str = "") -> Method:
    """Return the method of the energies and forces of a run: that of labels for Born–Oppenheimer, else one of its own.

    Parameters
    ----------
    backend
        Its settings are those of the electrons.
    version
        Version of CP2K; empty: that of the program.
    """
    version = version or cp2k_version(backend.settings.program)
    converged = backend.method_of(version)
    if isinstance(dynamics, BornOppenheimer):
        return converged
    parameters = {
        name: value for name, value in converged.parameters.items() if name not in ("smearing", "added_orbitals")
    }
    parameters["electrons"] = {
        "scheme": "second-generation Car-Parrinello",
        "corrector": ["OT", "DIIS", PRECONDITIONER, dynamics.corrector_steps],
        "predictor": ["ASPC", dynamics.history],
    }
    return Method(code="cp2k", version=version, parameters=parameters)


def _corrector(settings: Cp2kSettings, dynamics: CarParrinello) -> list[str]:
    return scf_lines(
        settings,
        f"EPS_SCF_HISTORY {settings.eps_scf!r}",
        f"MAX_SCF_HISTORY {dynamics.corrector_steps}",
        *input_section("OT ON", "MINIMIZER DIIS", f"PRECONDITIONER {PRECONDITIONER}"),
    )


def _motion(dynamics: BornOppenheimer | CarParrinello, part: MdPart) -> list[str]:
    if isinstance(dynamics, BornOppenheimer):
        ensemble = "NVT"
        csvr = input_section("CSVR", f"TIMECON [fs] {dynamics.thermostat_fs!r}")
        thermostat = input_section("THERMOSTAT", "TYPE CSVR", *csvr)
    else:
        ensemble = "LANGEVIN"
        noise = f"NOISY_GAMMA [fs^-1] {dynamics.noisy_gamma_per_fs!r}"
        thermostat = input_section("LANGEVIN", f"GAMMA [fs^-1] {dynamics.gamma_per_fs!r}", noise)
    frames = input_section("EACH", f"MD {part.every}")
    md = [
        f"ENSEMBLE {ensemble}",
        f"STEPS {part.steps}",
        f"TIMESTEP [fs] {part.timestep_fs!r}",
        f"TEMPERATURE [K] {part.temperature_K!r}",
        *thermostat,
    ]
    printed = [
        *input_section("TRAJECTORY", *frames),
        *input_section("FORCES", *frames),
        # a run that is cut off loses at most one step
        *input_section("RESTART", "BACKUP_COPIES 1", *input_section("EACH", "MD 1")),
        *input_section("VELOCITIES OFF"),
        *input_section("RESTART_HISTORY OFF"),
    ]
    return input_section("MOTION", *input_section("MD", *md), *input_section("PRINT", *printed))
