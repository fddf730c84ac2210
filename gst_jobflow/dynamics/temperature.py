"""Equilibrated temperatures of a run, without the spikes right after velocity changes.

A kick puts all of its energy into motion. Within some tenths of a picosecond about half of it goes into the bonds, so
the temperature right after a kick is not that of the material. The equilibrated temperature is the mean over the second
half of an interval between two kicks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gst_jobflow.dynamics.series import Table
from gst_jobflow.dynamics.stages import KICK_INTERVAL_PS, Cool, Protocol, Pulse, steps_in


def equilibrated_K(series: Table, kicks: Table, protocol: Protocol) -> tuple[float | None, float | None]:
    """Return the highest and the last equilibrated temperature in K; None if the series is too coarse.

    `series` and `kicks` are those of `read_series` and `read_kicks`, joined over segments. The last temperature of a
    cooling belongs to the interval before its last kick, which sets the end temperature.
    """
    means = [mean for span in _second_halves(protocol) if (mean := _mean_K(series, kicks, *span)) is not None]
    return (max(means), means[-1]) if means else (None, None)


def _second_halves(protocol: Protocol) -> Iterator[tuple[float, int]]:
    """Yield middle and last step of each interval between kicks; without kicks, of each 2 ps."""
    for stage, (first, last) in zip(protocol.stages, protocol.boundaries(), strict=True):
        every = last - first
        if isinstance(stage, Pulse | Cool):
            every = steps_in(stage.every_ps, protocol.timestep_fs, "every_ps")
        elif every:
            every = min(every, max(1, round(KICK_INTERVAL_PS * 1e3 / protocol.timestep_fs)))
        for end in range(first + every, last + 1, every) if every else ():
            yield end - every / 2, end


def _mean_K(series: Table, kicks: Table, middle: float, end: int) -> float | None:
    inside = (series["step"] > middle) & (series["step"] < end)
    values = series["temp_K"][inside].tolist()
    kicked = kicks["step"] == end
    # two rows of the series may have the step of a kick; the log of kicks has the temperature before it
    at_end = kicks["temp_before_K"][kicked] if kicked.any() else series["temp_K"][series["step"] == end][:1]
    finite = [value for value in [*values, *at_end.tolist()] if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None
