"""Test whether a potential survives a hot melt: what is run, what counts as failure, and how sure the result is.

The protocol is that of the reference paper (doi 10.1038/s41467-025-63732-4, Fig. 2): 1,000 atoms at random, annealed at
3,000 K for 500 ps, ten runs at each of seven compositions. The paper counts lost atoms only. A collapsed pair can
survive a run, so contacts, temperature and energy are judged here, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from gst_jobflow.documents.base import derive_id
from gst_jobflow.dynamics.deck import Limits, Output, RunOptions
from gst_jobflow.dynamics.dump import DumpFrame
from gst_jobflow.dynamics.log import halted
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.stages import DAMPING_PS, TIMESTEP_FS, Anneal, Protocol, steps_in
from gst_jobflow.dynamics.watch import newest_frame
from gst_jobflow.structures.composition import DistinctFormulas, atom_counts, elements_in
from gst_jobflow.structures.contacts import PairDistances
from gst_jobflow.structures.floors import Contacts, contact_floors, contacts
from gst_jobflow.structures.hard_sphere import DistancesByPair, HardSphereSpec
from gst_jobflow.structures.material import OfMaterial

Outcome = Literal["success", "lost atoms", "contact", "temperature", "energy", "not a number", "gamma", "error"]
SUCCESS: Outcome = "success"
_ENDED_BY_LAMMPS: dict[str, Outcome] = {
    "lost_atoms": "lost atoms",
    "nan": "not a number",
    "blow_up": "temperature",
    "gamma_halt": "gamma",
}


class RobustnessPlan(OfMaterial):
    """What is run, and what counts as failure; run `n` of a composition has one start and seed for all potentials."""

    compositions: DistinctFormulas = Field(
        default_factory=lambda given: list(given["material"].compositions),
        min_length=1,
        description="Formulas; default: those of the material",
    )
    runs: int = Field(10, ge=1, le=1000, description="Runs at each composition")
    n_atoms: int = Field(1000, ge=2, description="Atoms of the hard-sphere random start")
    density_g_cm3: float = Field(
        default_factory=lambda given: given["material"].density_g_cm3,
        gt=0,
        description="Density of the start, kept throughout the run",
    )
    min_distance_A: float = Field(
        default_factory=lambda given: given["material"].least_contact_A,
        gt=0,
        description="Closest contact of the start, Å",
    )
    temperature_K: float = Field(3000.0, gt=0, description="Temperature of the Langevin thermostat")
    duration_ps: float = Field(500.0, gt=0, description="Duration of a run")
    timestep_fs: float = Field(TIMESTEP_FS, gt=0)
    damping_ps: float = Field(DAMPING_PS, gt=0, description="Damping time of the thermostat")
    look_every_ps: float = Field(
        0.5, gt=0, description="Time between two frames, in each of which all contacts are measured"
    )
    floors_A: DistancesByPair = Field(
        default_factory=lambda given: given["material"].floors_A.copy(),
        description="Smallest sound contact by pair, {Ge-Te: 1.7}; a pair without one gets 0.65 of its covalent radii",
    )
    max_temperature_K: float | None = Field(
        None, gt=0, description="An instant above it is a failure; null: four times temperature_K"
    )
    energy_window_eV: float = Field(
        5.0, gt=0, description="Potential energy an atom may rise or fall by from the start, eV"
    )
    halt_gamma: float | None = Field(
        None, gt=0, description="Extrapolation grade that is a failure; needs an active set. null: not looked at"
    )
    seed: int = Field(1, ge=1, description="Seed of starts, velocities and thermostats")

    @model_validator(mode="after")
    def _whole_steps(self) -> RobustnessPlan:
        for name in ("duration_ps", "look_every_ps"):
            steps_in(getattr(self, name), self.timestep_fs, name)
        for formula in self.compositions:
            atom_counts(formula, self.n_atoms, "nearest")
        return self

    @property
    def elements(self) -> list[str]:
        """All elements of the compositions, sorted."""
        return sorted(elements_in(self.compositions))

    def start(self, formula: str) -> HardSphereSpec:
        """Return the start of a composition; `generate(spec, index)` makes that of run `index`, from 0."""
        return HardSphereSpec(
            formula=formula, n_atoms=self.n_atoms, density_g_cm3=self.density_g_cm3, cell_shape="cubic",
            min_distance_A=self.min_distance_A, rounding="nearest", seed=self._seed(formula),
        )  # fmt: skip

    def _seed(self, formula: str, *more: int) -> int:
        return int(derive_id(self.seed, formula, *more)[:7], 16) + 1

    def protocol(self, formula: str, index: int) -> Protocol:
        """Return the anneal of run `index`, from 0."""
        stage = Anneal(temperature_K=self.temperature_K, duration_ps=self.duration_ps, damping_ps=self.damping_ps)
        return Protocol(
            name="robustness", stages=[stage], timestep_fs=self.timestep_fs, seed=self._seed(formula, index)
        )

    def options(self) -> RunOptions:
        """Return how LAMMPS runs it: frames to look at, limits, and restart files near enough to stop at."""
        every = steps_in(self.look_every_ps, self.timestep_fs, "look_every_ps")
        output = Output(
            layers=0, profile_every=0, dump_every=every, series_every=min(50, every), restart_every=2 * every,
            gamma_every=every if self.halt_gamma else 0,
        )  # fmt: skip
        max_K = self.max_temperature_K or 4 * self.temperature_K
        return RunOptions(
            create_velocities_K=self.temperature_K,
            pair_style="extrapolation" if self.halt_gamma else "recursive",
            output=output,
            limits=Limits(max_temperature_K=max_K, halt_gamma=self.halt_gamma),
        )

    def floors(self, symbols: list[str]) -> PairDistances:
        """Return the smallest sound contacts of atoms of these elements."""
        return contact_floors(symbols, self.floors_A)


@dataclass
class ContactWatch:
    """Ends a run in which two atoms came closer than their floor; looks at its newest frame."""

    plan: RobustnessPlan
    elements: list[str]
    seen: int = -1

    def __call__(self, folder: Path) -> str:
        """Return why the run has had enough; empty: it goes on."""
        found = newest_frame(folder, self.seen)
        if found is None:
            return ""
        frame = found[1]
        self.seen = frame.step
        atoms = frame.to_atoms(self.elements)
        contact = contacts(atoms, self.plan.floors(atoms.get_chemical_symbols()))
        return "" if contact.is_sound else f"{contact.worst} at {contact.worst_A:.2f} Å at step {frame.step}"


@dataclass(frozen=True)
class Verdict:
    """How a run ended.

    `outcome` is success, or what failed first, at `time_ps`; for a success that is the whole duration. `closest_A` is
    the contact that was nearest to its floor (or furthest below it) in all frames. `sound_step` is that of the last
    frame without a fault, None where there is none.
    """

    outcome: Outcome
    time_ps: float
    closest_A: float | None
    closest_pair: str
    sound_step: int | None
    reason: str = ""


def judge(result: ProtocolResult, plan: RobustnessPlan, n_atoms: int) -> Verdict:
    """Say how a run ended, from all its frames and its series of energies.

    What LAMMPS ended itself (lost atoms, NaN, a temperature or gamma beyond its limit) keeps that class; else the first
    contact below its floor counts, then the energy.
    """
    ps = plan.timestep_fs * 1e-3
    worst, broken, sound = _closest(result.frames(), plan, result.elements, n_atoms)
    escaped = _escaped_step(result, plan, n_atoms)
    if result.failure_class in _ENDED_BY_LAMMPS:
        outcome, step, reason = _ENDED_BY_LAMMPS[result.failure_class], result.reached_step, result.error_line
        if at := halted(result.error_line):
            # the series may not reach as far
            step, reason = at[0], f"{at[1]:,.0f} K" if outcome == "temperature" else f"{outcome} {at[1]:.3g}"
    elif broken is not None:
        outcome, step, reason = "contact", broken[0], f"{broken[1].worst} at {broken[1].worst_A:.2f} Å"
    elif escaped is not None:
        outcome, step, reason = "energy", escaped, f"more than {plan.energy_window_eV:g} eV/atom from the start"
    elif result.status == "finished":
        outcome, step, reason = SUCCESS, result.reached_step, ""
    else:
        outcome, step, reason = "error", result.reached_step, f"{result.failure_class}: {result.error_line}"
    closest_A, closest_pair = (worst.worst_A, worst.worst) if worst else (None, "")
    return Verdict(outcome, step * ps, closest_A, closest_pair, sound, reason)


def _closest(
    frames: Iterable[DumpFrame], plan: RobustnessPlan, elements: list[str], n_atoms: int
) -> tuple[Contacts | None, tuple[int, Contacts] | None, int | None]:
    """Return the worst contacts of all frames, the first frame below a floor, and the last sound step before that."""
    worst, broken, sound = None, None, None
    for frame in frames:
        atoms = frame.to_atoms(elements)
        found = contacts(atoms, plan.floors(atoms.get_chemical_symbols()))
        if worst is None or found.share < worst.share:
            worst = found
        if broken is None and not found.is_sound:
            broken = (frame.step, found)
        if broken is None and len(atoms) == n_atoms:
            sound = frame.step
    return worst, broken, sound


def _escaped_step(result: ProtocolResult, plan: RobustnessPlan, n_atoms: int) -> int | None:
    """Return the first step at which the potential energy had left its window."""
    energy = result.series["pe_eV"] / n_atoms
    if not len(energy):
        return None
    outside = np.flatnonzero(~(np.abs(energy - energy[0]) <= plan.energy_window_eV))
    return int(result.series["step"][outside[0]]) if len(outside) else None


def runs_of(study_id: str) -> dict[str, Any]:
    """Return the query for the runs of a robustness study among the trajectories."""
    return {"protocol": "robustness", "analysis.robustness.study_id": study_id}


def interval(successes: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a success fraction: 70 of 70 means at least 0.948."""
    from scipy.stats import binomtest

    found = binomtest(successes, runs).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def is_out_of_reach(failures: int, runs: int, gate: float | None) -> bool:
    """Whether a success fraction of `gate` cannot be met any more after so many failures of so many planned runs."""
    return gate is not None and runs - failures < gate * runs
