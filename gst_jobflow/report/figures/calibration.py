"""Draw how well k-bar tells known crystals from liquids and glasses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gst_jobflow.analysis.soap import PUBLISHED_CUTOFF, Calibration
from gst_jobflow.report.palette import METHODS
from gst_jobflow.report.plot_types import Axes, Figure
from gst_jobflow.report.style import GREY, WIDE_IN, canvas, styled

_BINS = 120


@styled
def k_bar_roc(calibrations: Mapping[str, Calibration], values: Mapping[str, Mapping[str, NDArray]]) -> Figure | None:
    """Return the ROC of each setting as a PNG, with the published cut-off of 0.57 marked on each curve.

    Parameters
    ----------
    calibrations
        By setting, see `calibrate`.
    values
        k-bar by setting and by what the frames are: histograms of the setting with the largest area are shown.
    """
    if not calibrations:
        return None
    figure = canvas(WIDE_IN, 3.6)
    roc, histogram = figure.subplots(1, 2)
    for (name, found), colour in zip(calibrations.items(), METHODS, strict=False):
        roc.plot(found.disorder_taken, found.crystal_found, color=colour, label=f"{name}: area {found.area:.3f}")
        crystal, disorder = found.published
        roc.plot([disorder], [crystal], "o", color=colour, markeredgecolor="white", ms=8, zorder=3, clip_on=False)
    roc.plot([], [], "o", color=GREY, label=f"at the published {PUBLISHED_CUTOFF:g}")
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    roc.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="disorder taken for crystal", ylabel="crystal found")
    roc.set_title("ROC of k-bar on known frames")
    roc.legend(loc="lower right")
    name, best = max(calibrations.items(), key=lambda each: each[1].area)
    _histograms(histogram, values[name])
    histogram.axvline(best.best, color="black", lw=1, label=f"best cut-off, {best.best:.3f}")
    histogram.axvline(PUBLISHED_CUTOFF, color=GREY, lw=1, ls="--", label=f"published, {PUBLISHED_CUTOFF:g}")
    histogram.set(xlabel="k-bar", yticks=[], title=name)
    histogram.legend(loc="upper left", fontsize=8)
    return figure


def _histograms(axes: Axes, of_frames: Mapping[str, NDArray]) -> None:
    low = min(PUBLISHED_CUTOFF - 0.02, *(float(each.min()) for each in of_frames.values()))
    edges = np.linspace(low, 1.0, _BINS + 1).tolist()
    for (name, each), colour in zip(of_frames.items(), METHODS, strict=False):
        axes.hist(each, edges, density=True, histtype="stepfilled", alpha=0.25, color=colour, label=name)
        axes.hist(each, edges, density=True, histtype="step", color=colour)
