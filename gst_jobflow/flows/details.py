"""Describe the progress of a running job in a few words, from the files in its launch directory."""

from __future__ import annotations

from pathlib import Path

from gst_jobflow.base.words import number
from gst_jobflow.dynamics.deck import SERIES_FILE
from gst_jobflow.dynamics.series import read_series
from gst_jobflow.fitting.files import LINEAR_PROGRESS_FILE
from gst_jobflow.fitting.progress import progress
from gst_jobflow.flows.aimd_run import last_energies


def detail(name: str, directory: Path) -> str:
    """Describe the progress of the job that runs in `directory`; empty if it has none yet."""
    if name.startswith("label"):
        return _labels(directory)
    for kind, tell in (("fit", _fit), ("md", _dynamics), ("aimd", _aimd)):
        for folder in directory.glob(f"{kind}-*"):
            return tell(folder)
    return ""


def _labels(directory: Path) -> str:
    begun = len(list(directory.glob("label-*")))
    return f"structure {begun}" if begun else ""


def _fit(directory: Path) -> str:
    now = progress(directory)
    words = [str(now["stage"])]
    if now["iteration"] is not None:
        linear = (directory / LINEAR_PROGRESS_FILE).is_file()
        what, of = ("structure", "of") if linear else ("iteration", "of at most")
        most = f" {of} {now['max_iterations']}" if now["max_iterations"] else ""
        words.append(f"{what} {now['iteration']}{most}")
    if now["loss"] is not None:
        words.append(f"loss {now['loss']:.3g}")
    train = now["rmse"].get("train")
    if train:
        energy, force = number(train["energy_meV_per_atom"], 3), number(train["force_meV_per_A"], 3)
        words.append(f"{energy} meV/atom, {force} meV/Å")
    if now["time_left_s"] is not None:
        words.append(f"{_clock(now['time_left_s'])} left")
    return ", ".join(words)


def _clock(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}:{minutes:02d} h" if hours else f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"


def _dynamics(directory: Path) -> str:
    tables = sorted(directory.glob(f"segment_*/{SERIES_FILE}"))
    if not tables:
        return ""
    series = read_series(tables[-1])
    if not len(series["time_ps"]):
        return ""
    return f"{series['time_ps'][-1]:.1f} ps, {series['temp_K'][-1]:.0f} K"


def _aimd(directory: Path) -> str:
    row = last_energies(directory)
    return f"{row['time_ps']:.3f} ps, {row['temperature_K']:.0f} K, {row['wall_s']:.1f} s a step" if row else ""
