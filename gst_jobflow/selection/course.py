"""Energy and temperature over the stages of a trajectory, and the spacing of independent frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import Trajectory
from gst_jobflow.dynamics.deck import SERIES_FILE
from gst_jobflow.dynamics.series import join_segments, read_series
from gst_jobflow.selection.decorrelation import FEWEST_VALUES, detrended, equilibrated, smooth, statistical_inefficiency
from gst_jobflow.selection.frames import fetched_files
from gst_jobflow.store import Results

ROUNDING_PS = 1e-6
"""Largest difference between equal times."""
# degree of the polynomial that temperature follows in a stage; other kinds are pulses and coolings
_DEGREES = {"anneal": 0, "hold": 0, "quench": 1}
_TEMPERATURE_DEGREE, _ENERGY_DEGREE = 3, 3


@dataclass(frozen=True)
class Course:
    """Series of a trajectory: rising times from its start and values, shape (N,) each."""

    time_ps: NDArray
    potential_eV: NDArray
    temperature_K: NDArray

    def between(self, begin_ps: float, end_ps: float) -> Course:
        """Return the part after `begin_ps`, up to `end_ps`."""
        inside = (self.time_ps > begin_ps + ROUNDING_PS) & (self.time_ps < end_ps + ROUNDING_PS)
        return Course(self.time_ps[inside], self.potential_eV[inside], self.temperature_K[inside])


@dataclass(frozen=True)
class Stage:
    """A stage of a trajectory, numbered from 1, with its begin and end; a run may have cut it short."""

    number: int
    kind: str
    begin_ps: float
    end_ps: float

    @property
    def is_constant(self) -> bool:
        """Whether conditions are constant, so that the stage can equilibrate."""
        return _DEGREES.get(self.kind) == 0


@dataclass(frozen=True)
class Estimate:
    """Spacing of independent frames of a stage.

    `spacing_ps` is the statistical inefficiency of the potential energy as a time; None if unknown, for the given
    `reason`. `start_ps` is the time from which the stage is equilibrated, its begin if conditions change, and
    `n_independent` the number of independent energies after it.
    """

    spacing_ps: float | None
    start_ps: float
    n_independent: float = 0.0
    reason: str = ""


def timed_stages(trajectory: Trajectory) -> list[Stage]:
    """Return the stages that take time, as far as they ran; a trajectory without stages is one stage."""
    stages, begin = [], 0.0
    given: list[dict[str, Any]] = trajectory.stages or [{"kind": "run", "duration_ps": trajectory.duration_ps}]
    for number, stage in enumerate(given, 1):
        end = begin + float(stage.get("duration_ps", 0.0))
        if end > begin and begin < trajectory.duration_ps:
            stages.append(Stage(number, str(stage.get("kind", "run")), begin, min(end, trajectory.duration_ps)))
        begin = end
    return stages


def course_of(results: Results, trajectory: Trajectory) -> Course:
    """Return the full series of a trajectory from its files, else the thinned one of its document.

    A thinned series overestimates spacings: it cannot resolve less than the distance of its rows.
    """
    whole = _written(results, trajectory)
    if whole is not None:
        return whole
    names = ("time_ps", "potential_eV", "temperature_K")
    return _course(*(np.asarray(trajectory.thermo.get(name, []), dtype=float) for name in names))


def spacing_estimate(course: Course, stage: Stage, begin_ps: float) -> Estimate:
    """Return the spacing of independent frames of a stage, from the potential energy after `begin_ps`.

    At constant conditions the unequilibrated part is left out. At changing conditions a cubic polynomial is subtracted,
    since drift is not correlation.
    """
    part = course.between(begin_ps, stage.end_ps)
    try:
        times, energies = _evenly(part)
        step_ps = float(times[1] - times[0])
        if stage.is_constant:
            found = equilibrated(energies)
            start_ps = float(times[found.start])
            return Estimate(found.inefficiency * step_ps, start_ps, found.n_independent)
        # refuse a constant before subtracting: its rounding errors look like noise
        statistical_inefficiency(energies)
        inefficiency = statistical_inefficiency(detrended(energies, _ENERGY_DEGREE))
        return Estimate(inefficiency * step_ps, begin_ps, len(energies) / inefficiency)
    except DataError as error:
        return Estimate(None, begin_ps, reason=f"potential energy: {error.message}")


def temperature_of(course: Course, stage: Stage, start_ps: float) -> Callable[[float], float] | None:
    """Return the temperature of a stage as a function of time, K; None if none was measured.

    It is the mean of a stage at constant temperature, else a polynomial of time.
    """
    part = course.between(start_ps, stage.end_ps)
    if not len(part.time_ps):
        return None
    fitted = smooth(part.time_ps, part.temperature_K, _DEGREES.get(stage.kind, _TEMPERATURE_DEGREE))
    return lambda time_ps: float(fitted(time_ps))


def _evenly(course: Course) -> tuple[NDArray, NDArray]:
    """Return times and energies on an even grid; rows at ends of stages and segments lie between grid points."""
    if len(course.time_ps) < FEWEST_VALUES:
        raise DataError(
            f"{len(course.time_ps)} values are too few for a correlation time", "write the series more often"
        )
    spacing = float(np.median(np.diff(course.time_ps)))
    number = int((course.time_ps[-1] - course.time_ps[0]) / spacing + 1e-6) + 1
    times = course.time_ps[0] + spacing * np.arange(number)
    return times, np.interp(times, course.time_ps, course.potential_eV)


def _written(results: Results, trajectory: Trajectory) -> Course | None:
    """Return the series that the segments of a LAMMPS run wrote; None if the files have none."""
    with fetched_files(results, [each for each in trajectory.files if each.name == SERIES_FILE]) as paths:
        tables = [table for table in map(read_series, paths) if len(table["step"])]
    if not tables:
        return None
    joined = join_segments(tables, [int(table["step"][0]) for table in tables], keep_start=True)
    return _course(joined["step"] * trajectory.timestep_fs * 1e-3, joined["pe_eV"], joined["temp_K"])


def _course(time_ps: NDArray, potential_eV: NDArray, temperature_K: NDArray) -> Course:
    """Return a course of finite rows, one for each time; a kick writes two."""
    finite = np.isfinite(time_ps) & np.isfinite(potential_eV) & np.isfinite(temperature_K)
    times, first = np.unique(time_ps[finite], return_index=True)
    return Course(times, potential_eV[finite][first], temperature_K[finite][first])
