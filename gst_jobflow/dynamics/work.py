"""Expected cost of molecular dynamics: atoms × steps × the speed of earlier runs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from gst_jobflow.base.words import counted
from gst_jobflow.documents import Potential, Trajectory
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.disk import forecast_bytes
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.store import Results
from gst_jobflow.store.work import Allotment, ExpectedCost

NOT_MEASURED = "no run of molecular dynamics has been measured here: run a short one first"
"""Why a run has no expected cost."""
_NEWEST = 40
"""Runs that a speed is taken from."""


@dataclass(frozen=True)
class MeasuredSpeed:
    """Median core time per atom and step, µs, and bytes per atom and frame, of the runs that `basis` names."""

    core_us: float
    frame_bytes: float | None
    basis: str


@dataclass(frozen=True)
class RunWork:
    """One run of molecular dynamics."""

    protocol: Protocol
    n_atoms: int
    output: Output
    potential_id: str = ""

    @property
    def n_steps(self) -> int:
        """Steps of all stages."""
        return self.protocol.total_steps

    def core_hours(self, core_us: float) -> float:
        """Return the core hours at `core_us` core microseconds per atom and step."""
        return self.n_atoms * self.n_steps * core_us * 1e-6 / 3600

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the expected cost; disk is forecast even where no speed was measured."""
        speed = expected_speed(self.potential_id, allotment)
        measured = speed.frame_bytes if speed else None
        disk_GB = forecast_bytes(self.protocol, self.n_atoms, self.output, measured=measured) / 1e9
        work = f"{self.n_atoms:,} atoms × {self.n_steps:,} steps"
        if speed is None:
            return allotment.expected(work, NOT_MEASURED, disk_GB=disk_GB)
        core_hours = self.core_hours(speed.core_us)
        return allotment.expected(work, speed.basis, core_hours, core_hours / allotment.cores, disk_GB)


@dataclass(frozen=True)
class SideBySideWork:
    """Several runs alike in one job, each on one core."""

    run: RunWork
    number: int

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the cost of one run times their number."""
        one, number = self.run.cost(allotment), self.number
        hours = None if one.core_hours is None else one.core_hours * number
        wall_h = None if hours is None else hours / min(allotment.cores, number)
        disk_GB = None if one.disk_GB is None else one.disk_GB * number
        return allotment.expected(f"{number} × {one.work}", one.basis, hours, wall_h, disk_GB)


def expected_speed(potential_id: str, allotment: Allotment) -> MeasuredSpeed | None:
    """Return the measured speed, else the assumed one; None: unknown."""
    key, assumed = ("speed", str(potential_id)), allotment.assumed
    measured = allotment.once(key, lambda: measured_speed(potential_id, allotment))
    if measured is None and assumed.core_us_per_atom_step is not None:
        return MeasuredSpeed(assumed.core_us_per_atom_step, None, assumed.basis)
    return measured


def measured_speed(potential_id: str, allotment: Allotment) -> MeasuredSpeed | None:
    """Return the median speed of the newest runs: of this potential, else of any; on this profile, else on any.

    The attempts of runs tell whether they waited in a queue. None: nothing was measured.
    """
    results = allotment.results
    # a potential that the flow is to fit has no runs yet
    of_this = [({"potential_id": potential_id}, "this potential")] if isinstance(potential_id, str) else []
    for where, words in (*of_this, ({}, "other potentials")):
        wanted = {**where, "us_per_atom_step": {"$gt": 0}, "cost.cores": {"$gt": 0}}
        found = list(results.database["trajectories"].find(wanted).sort("created_at", -1).limit(_NEWEST))
        runs = [Trajectory.model_validate(run) for run in found]
        here = [run for run in runs if was_queued(results, run) == allotment.queued]
        for chosen, place in ((here, f"profile {allotment.profile}"), (runs, "another profile")):
            if chosen:
                return _speed(chosen, f"{counted(len(chosen), 'run')} of {words} on {place}")
    return None


def _speed(runs: list[Trajectory], basis: str) -> MeasuredSpeed:
    core_us = [run.us_per_atom_step * run.cost.cores for run in runs if run.us_per_atom_step and run.cost]
    frames = [
        sum(file.size_bytes for file in run.files if file.name.startswith("dump_")) / (run.n_frames * run.n_atoms)
        for run in runs
        if run.n_frames
    ]
    return MeasuredSpeed(statistics.median(core_us), statistics.median(frames) if frames else None, basis)


def was_queued(results: Results, run: Trajectory | Potential) -> bool:
    """Return whether the job that made a document waited in a queue, as its attempt tells."""
    where = {"job_uuid": run.job_uuid, "slurm_job_id": {"$ne": None}}
    return bool(run.job_uuid) and results.database["attempts"].find_one(where, {"_id": 1}) is not None
