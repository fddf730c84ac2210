"""Sample independent frames of trajectories as structures to label."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import ConfigType, Structure, Trajectory
from gst_jobflow.selection.course import (
    ROUNDING_PS,
    Estimate,
    Stage,
    course_of,
    spacing_estimate,
    temperature_of,
    timed_stages,
)
from gst_jobflow.selection.documents import Origin, derived, origin_of
from gst_jobflow.selection.frames import FoundStructure, aimd_frames, check_cell_size, iter_trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import located_runs

ItemT = TypeVar("ItemT")
_BROKEN = ("blow_up", "lost_atoms", "nan")
_VIBRATION = 0.2
"""Largest mean displacement between two independent frames of a solid, in units of (V / N)^(1/3): √2 times the 15 % by
which atoms of a solid deviate from their sites at most (Lindemann)."""
_LONG_PS = 1.0
"""Time in which atoms of a liquid move further: 1.5 Å at a diffusivity of 4e-5 cm²/s."""


@dataclass(frozen=True)
class Request:
    """Choice of frames.

    They are `every_ps` apart; None: the correlation time of the energy, after equilibration. `after_ps` is the earliest
    time, from the start of each trajectory, and `temperature_K` the lowest and highest temperature. At most `number`
    are divided evenly among the stages of all trajectories and over each stage; None: all.
    """

    every_ps: float | None = None
    after_ps: float = 0.0
    temperature_K: tuple[float, float] = (0.0, math.inf)
    number: int | None = None


@dataclass(frozen=True)
class Pick:
    """A chosen frame.

    `temperature_K` is that of the stage at that time, without fluctuations; None if none was measured. `moved_A` is the
    mean displacement of mobile atoms since the previous chosen frame of the trajectory; None for the first.
    """

    run: Trajectory
    stage: Stage
    found: FoundStructure
    time_ps: float
    temperature_K: float | None
    moved_A: float | None = None


@dataclass
class Sampled:
    """Chosen frames of a stage: `picks`, in order of time.

    `frames` counts the stored frames within the limits of time and temperature. `moved_A` is the mean displacement of
    mobile atoms from the first to the last of them; None if there are fewer than two. `is_solid`: it is within the
    vibrations of a solid.
    """

    run: Trajectory
    stage: Stage
    estimate: Estimate
    frames: int = 0
    frames_every_ps: float | None = None
    moved_A: float | None = None
    is_solid: bool = False
    picks: list[Pick] = field(default_factory=list)


def find_runs(results: Results, which: str) -> list[Trajectory]:
    """Read the trajectories that a user means, as `located_runs` does; raises InputError, also for those that broke."""
    runs = located_runs(results, which)
    for run in runs:
        if run.failure_class in _BROKEN:
            raise InputError(
                f"trajectory {run.id} ended as {run.failure_class}: its final frames are unphysical",
                "gst structures select --gamma MIN:MAX chooses among them",
            )
    return runs


def sample(
    results: Results, runs: Sequence[Trajectory], request: Request, most_atoms: int | None = None
) -> list[Sampled]:
    """Choose frames of trajectories that are far enough apart to be independent.

    Raises InputError if a cell is too large, a trajectory has no frames, or no frame is within the limits.
    """
    stages = [stage for run in runs for stage in _sample(results, run, request, most_atoms)]
    if not any(stage.picks for stage in stages):
        raise InputError("no frame to choose", _why_none(stages, request))
    if request.number is not None:
        for stage, number in zip(stages, shares([len(each.picks) for each in stages], request.number), strict=True):
            stage.picks = evenly(stage.picks, number)
    for run in runs:
        _measure([stage for stage in stages if stage.run.id == run.id])
    return stages


def documents(
    results: Results,
    picks: Sequence[Pick],
    tags: list[str],
    iteration: int = 0,
    config_type: ConfigType | None = None,
) -> list[Structure]:
    """Return the documents of chosen frames; frames from first principles are stored already and gain the tags.

    `config_type` None: that of the trajectory's last structure, else of its start.
    """
    origins: dict[str, Origin] = {}
    made = []
    for pick in picks:
        if pick.found.structure_id is not None:
            made.append(results.get(Structure, pick.found.structure_id).model_copy(update={"tags": tags}))
            continue
        if pick.run.id not in origins:
            origins[pick.run.id] = origin_of(results, pick.run, config_type)
        source = {
            "builder": "sample",
            "trajectory_id": pick.run.id,
            "step": pick.found.step,
            "time_ps": round(pick.time_ps, 6),
            "stage": pick.stage.number,
            "potential_id": pick.run.potential_id,
        }
        if pick.temperature_K is not None:
            source["temperature_K"] = round(pick.temperature_K, 1)
        made.append(derived(results, pick.found.atoms, origins[pick.run.id], source, tags, iteration))
    return made


def shares(counts: Sequence[int], number: int) -> list[int]:
    """Divide `number` among parts that hold `counts`, as evenly as possible; first parts get the remainder."""
    dealt = [0] * len(counts)
    while sum(dealt) < min(number, sum(counts)):
        open_to_more = [place for place, count in enumerate(counts) if dealt[place] < count]
        for place in open_to_more[: number - sum(dealt)]:
            dealt[place] += 1
    return dealt


def evenly(items: Sequence[ItemT], number: int) -> list[ItemT]:
    """Return the middles of `number` equal parts of a sequence."""
    places = ((np.arange(number) + 0.5) * len(items) / max(1, number)).astype(int)
    return [items[place] for place in places]


def apart(times_ps: Sequence[float], spacing_ps: float, last_ps: float = -math.inf) -> list[int]:
    """Return indices of times at least `spacing_ps` apart, beginning that long after `last_ps`."""
    places = []
    for place, time_ps in enumerate(times_ps):
        if time_ps - last_ps >= spacing_ps - ROUNDING_PS:
            places.append(place)
            last_ps = time_ps
    return places


def mean_displacement_A(before: Atoms, after: Atoms) -> float:
    """Return the mean displacement of atoms between two frames, Å, relative to the common drift.

    It uses nearest images, so a displacement beyond half of the cell is underestimated.
    """
    shifts, _ = find_mic(after.positions - before.positions, after.cell, pbc=True)
    return float(np.linalg.norm(shifts - shifts.mean(axis=0), axis=1).mean())


def _sample(results: Results, run: Trajectory, request: Request, most_atoms: int | None) -> list[Sampled]:
    """Return the stages of one trajectory with all frames that are far enough apart."""
    frames, course = _frames(results, run, most_atoms), course_of(results, run)
    sampled, last_ps = [], -math.inf
    for stage in timed_stages(run):
        begin_ps = max(stage.begin_ps, request.after_ps)
        known = spacing_estimate(course, stage, begin_ps)
        start_ps = begin_ps if request.every_ps else known.start_ps
        inside = _inside(run, stage, frames, start_ps, temperature_of(course, stage, start_ps), request)
        spacing_ps = request.every_ps or known.spacing_ps
        each = Sampled(run, stage, known, len(inside))
        sampled.append(each)
        if not inside:
            continue
        times = [pick.time_ps for pick in inside]
        each.frames_every_ps = float(np.diff(times).mean()) if len(times) > 1 else None
        each.moved_A, each.is_solid = _is_solid(inside[0], inside[-1])
        if spacing_ps is not None:
            each.picks = [inside[place] for place in apart(times, spacing_ps, last_ps)]
            last_ps = each.picks[-1].time_ps if each.picks else last_ps
    return sampled


def _frames(results: Results, run: Trajectory, most_atoms: int | None) -> list[FoundStructure]:
    """Return the frames of a trajectory without its start, which is stored already."""
    check_cell_size(run, most_atoms)
    read = iter_trajectory if run.potential_id is not None else aimd_frames
    return [found for found in read(results, run) if found.step]


def _is_solid(first: Pick, last: Pick) -> tuple[float | None, bool]:
    """Return the mean displacement between two frames, Å, and whether it is within the vibrations of a solid."""
    if first is last:
        return None, False
    atoms, moved_A = first.found.atoms, _moved_A(first, last)
    near = moved_A < _VIBRATION * (atoms.cell.volume / len(atoms)) ** (1 / 3)
    return moved_A, bool(near and last.time_ps - first.time_ps > _LONG_PS)


def _moved_A(first: Pick, last: Pick) -> float:
    """Return the mean displacement of the mobile atoms between two frames, Å."""
    mobile = first.found.is_mobile
    return mean_displacement_A(first.found.atoms[mobile], last.found.atoms[mobile])


def _inside(
    run: Trajectory,
    stage: Stage,
    frames: Sequence[FoundStructure],
    start_ps: float,
    temperature: Callable[[float], float] | None,
    request: Request,
) -> list[Pick]:
    """Return the frames of a stage after `start_ps` with a temperature within the limits."""
    low, high = request.temperature_K
    picks = []
    for found in frames:
        time_ps = (found.step or 0) * run.timestep_fs * 1e-3
        if not stage.begin_ps + ROUNDING_PS < time_ps < stage.end_ps + ROUNDING_PS or time_ps < start_ps - ROUNDING_PS:
            continue
        here_K = temperature(time_ps) if temperature else None
        # without a measured temperature, only if no limits are set
        if (here_K is None and (low, high) == (0.0, math.inf)) or (here_K is not None and low <= here_K <= high):
            picks.append(Pick(run, stage, found, time_ps, here_K))
    return picks


def _measure(stages: Sequence[Sampled]) -> None:
    """Set the displacement of each pick of a trajectory since the previous one."""
    before: Pick | None = None
    for stage in stages:
        for place, pick in enumerate(stage.picks):
            if before is not None:
                stage.picks[place] = replace(pick, moved_A=_moved_A(before, pick))
            before = pick


def _why_none(stages: Sequence[Sampled], request: Request) -> str:
    if not any(stage.frames for stage in stages):
        return "no frame is within --after-ps and --temperature-range, after equilibration"
    reasons = {stage.estimate.reason for stage in stages if stage.frames and stage.estimate.reason}
    return f"{'; '.join(sorted(reasons))}: say how far apart, --every-ps X"
