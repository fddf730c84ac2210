"""How far a running job is, in a few words, from the files in its launch directory."""

from __future__ import annotations

from pathlib import Path


def detail(name: str, directory: Path) -> str:
    """Words on the progress of the job that runs in `directory`; empty where there is nothing to say yet."""
    if name.startswith("label"):
        return _labels(directory)
    for kind, tell in (("fit", _fit), ("md", _dynamics)):
        for folder in directory.glob(f"{kind}-*"):
            return tell(folder)
    return ""


def _labels(directory: Path) -> str:
    begun = len(list(directory.glob("label-*")))
    return f"structure {begun}" if begun else ""


def _fit(directory: Path) -> str:
    from gst_jobflow.fitting.run import progress

    now = progress(directory)
    if now["iteration"] is None:
        return str(now["stage"])
    words = f"{now['stage']}, iteration {now['iteration']} of at most {now['max_iterations']}"
    train = now["rmse"].get("train")
    if train:
        words += f", {train['energy_meV_per_atom']:.0f} meV/atom, {train['force_meV_per_A']:.0f} meV/Å"
    return words


def _dynamics(directory: Path) -> str:
    from gst_jobflow.dynamics.deck import SERIES_FILE
    from gst_jobflow.dynamics.series import read_series

    tables = sorted(directory.glob(f"segment_*/{SERIES_FILE}"))
    if not tables:
        return ""
    series = read_series(tables[-1])
    if not len(series["time_ps"]):
        return ""
    return f"{series['time_ps'][-1]:.1f} ps, {series['temp_K'][-1]:.0f} K"
