"""Frames before a failure, as structures to label: they show what a potential has to learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Settings
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.documents import Potential, Structure, Study, Trajectory
from gst_jobflow.evaluation.robustness import SUCCESS, runs_of
from gst_jobflow.selection.choice import grade
from gst_jobflow.selection.course import ROUNDING_PS
from gst_jobflow.selection.documents import derived, origin_of
from gst_jobflow.selection.frames import FoundStructure, check_cell_size, iter_trajectory
from gst_jobflow.store import Results


class FailureFrames(StrictModel):
    """Which frames of a failed run become structures: the last sound one, and earlier ones at a spacing."""

    number: int = Field(3, ge=1, description="Largest number of frames of each failed run")
    spacing_ps: float = Field(0.5, gt=0, description="Smallest time between them")
    max_atoms: int = Field(300, ge=1, description="Refuse larger cells, which are expensive to label")

    def of(self, frames: Sequence[FoundStructure], timestep_fs: float) -> list[FoundStructure]:
        """Return the chosen ones of sound frames in order of time: going back from the last."""
        chosen: list[FoundStructure] = []
        for frame in reversed(frames):
            if len(chosen) == self.number:
                break
            if not chosen or (_step(chosen[-1]) - _step(frame)) * timestep_fs * 1e-3 >= self.spacing_ps - ROUNDING_PS:
                chosen.append(frame)
        return chosen[::-1]


def failed_runs(results: Results, study_id: str, potential_ids: Sequence[str] = ()) -> list[Trajectory]:
    """Return the failed runs of a robustness study that have a sound frame, of some or all of its potentials."""
    where = {**runs_of(study_id), "analysis.robustness.outcome": {"$ne": SUCCESS}}
    if potential_ids:
        where["potential_id"] = {"$in": list(potential_ids)}
    runs = results.find(Trajectory, where)
    return sorted((run for run in runs if _verdict(run)["sound_step"] is not None), key=lambda run: run.name)


def failure_documents(
    results: Results,
    settings: Settings,
    runs: Sequence[Trajectory],
    frames: FailureFrames,
    tags: list[str],
    iteration: int = 0,
    cores: int = 1,
) -> list[Structure]:
    """Return the documents of frames before failures, of config type `failure`, with their run, time and gamma.

    Gamma is the largest extrapolation grade of the frame's atoms by LAMMPS; a potential without an active set has none.
    A start is stored already: it gains the tags where no later frame is sound. Raises InputError if a cell is too
    large, and RunError if LAMMPS fails.
    """
    documents = []
    for potential_id in dict.fromkeys(run.potential_id for run in runs):
        potential = results.get(Potential, str(potential_id))
        found = [
            (run, frame)
            for run in runs
            if run.potential_id == potential_id
            for frame in frames.of(_sound_frames(results, run, frames.max_atoms), run.timestep_fs)
        ]
        gammas: list[float | None] = [None] * len(found)
        if potential.artifacts.yaml and potential.artifacts.asi:
            grades = grade(results, settings, potential, [frame for _, frame in found], cores=cores)
            gammas = [each.maximum for each in grades]
        for (run, frame), gamma in zip(found, gammas, strict=True):
            documents.append(_document(results, run, frame, gamma, tags, iteration))
    return documents


def _document(
    results: Results, run: Trajectory, frame: FoundStructure, gamma: float | None, tags: list[str], iteration: int
) -> Structure:
    origin, verdict = origin_of(results, run, "failure"), _verdict(run)
    if not frame.step:
        return origin[0].model_copy(update={"tags": tags})
    source: dict[str, Any] = {
        "builder": "failure",
        "study_id": verdict["study_id"],
        "trajectory_id": run.id,
        "potential_id": run.potential_id,
        "step": frame.step,
        "time_ps": round(frame.step * run.timestep_fs * 1e-3, 6),
        "outcome": verdict["outcome"],
        "failed_ps": round(verdict["time_ps"], 6),
        "max_gamma": gamma,
    }
    return derived(results, frame.atoms, origin, source, tags, iteration)


def _sound_frames(results: Results, run: Trajectory, max_atoms: int) -> list[FoundStructure]:
    check_cell_size(run, max_atoms)
    return [frame for frame in iter_trajectory(results, run) if _step(frame) <= _verdict(run)["sound_step"]]


def _step(frame: FoundStructure) -> int:
    return frame.step or 0


def _verdict(run: Trajectory) -> dict[str, Any]:
    return run.analysis["robustness"]


def check_is_robustness(study: Study) -> None:
    """Refuse a study of another kind, whose runs have no verdicts; raises InputError."""
    if study.kind != "robustness":
        raise InputError(
            f"study {study.name} is of kind {study.kind}, which has no failed melts",
            "gst query studies -w kind=robustness lists those that do",
        )
