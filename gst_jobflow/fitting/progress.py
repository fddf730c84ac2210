"""Progress and ending of a fit, read from its own files; cheap, and safe while it runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow.fitting.files import (
    CONTINUED_FILE,
    GRACE_REQUEST_FILE,
    INPUT_FILE,
    LINEAR_DONE_FILE,
    LINEAR_PROGRESS_FILE,
    OUTPUT_FILE,
    POTENTIAL_FILE,
    TEST_FILE,
)
from gst_jobflow.fitting.parse import read_metric_rows


def progress(directory: Path) -> dict[str, Any]:
    """Return the progress of the fit in `directory`.

    Returns
    -------
    dict
        `stage` (`waiting`, `preparing`, `fitting`, `predicting`, `converting`, `finished`), `iteration` and
        `max_iterations` (with those of continued runs; structures for the linear solver), `loss`, `rmse`
        {train,test} {energy_meV_per_atom, force_meV_per_A}, `n_functions`, `time_left_s` (until all iterations are
        done; first an upper bound, since TensorFlow's tracing counts as iterations). Unknown numbers are None.
    """
    if (directory / GRACE_REQUEST_FILE).is_file():
        from gst_jobflow.fitting.grace import grace_progress

        return grace_progress(directory)
    before = iterations_before(directory)
    rows = {
        "train": read_metric_rows(directory / "metrics.txt"),
        "test": read_metric_rows(directory / "test_metrics.txt"),
    }
    last = rows["train"][-1] if rows["train"] else None
    stage = _stage(directory, started=last is not None)
    done, asked = _counted(directory, before, last)
    return {
        "stage": stage,
        "iteration": done,
        "max_iterations": asked,
        "loss": last["loss"] if last else None,
        "rmse": {
            split: {"energy_meV_per_atom": 1e3 * r[-1]["rmse_epa"], "force_meV_per_A": 1e3 * r[-1]["rmse_f_comp"]}
            for split, r in rows.items()
            if r
        },
        "n_functions": int(last["nfuncs"]) if last else None,
        "time_left_s": _time_left_s(directory, before, done, asked) if stage == "fitting" else None,
    }


def _counted(directory: Path, before: int, last: dict[str, float] | None) -> tuple[int | None, int | None]:
    """Return the iterations done and requested; for the linear solver, structures."""
    linear = _linear_progress(directory)
    if linear is not None:
        return int(linear["structures"]), int(linear["of"])
    return before + int(last["iter_num"]) if last else None, _asked_iterations(directory, before)


def _linear_progress(directory: Path) -> dict[str, Any] | None:
    path = directory / LINEAR_PROGRESS_FILE
    return json.loads(path.read_text()) if path.is_file() else None


def _time_left_s(directory: Path, before: int, done: int | None, asked: int | None) -> float | None:
    started = directory / CONTINUED_FILE
    table = directory / (LINEAR_PROGRESS_FILE if _linear_progress(directory) else "metrics.txt")
    if done is None or asked is None or done <= before or not (started.is_file() and table.is_file()):
        return None
    spent = table.stat().st_mtime - started.stat().st_mtime
    return max(0.0, spent / (done - before) * (asked - done))


def iterations_before(directory: Path) -> int:
    """Return the iterations of the interrupted runs that the fit in `directory` continues."""
    path = directory / CONTINUED_FILE
    return int(json.loads(path.read_text())["iterations_before"]) if path.is_file() else 0


def _fit_section(directory: Path) -> dict[str, Any]:
    import yaml

    return yaml.safe_load((directory / INPUT_FILE).read_text())["fit"]


def _asked_iterations(directory: Path, before: int) -> int | None:
    """Return the requested iterations; None before there is an input, and for a ladder, which has them on each rung."""
    if not (directory / INPUT_FILE).is_file():
        return None
    section = _fit_section(directory)
    return None if "ladder_step" in section else before + int(section["maxiter"])


def _stage(directory: Path, started: bool) -> str:
    if (directory / "output_potential.asi").is_file():
        return "finished"
    if fit_is_finished(directory, has_test=(directory / TEST_FILE).is_file()):
        return "converting"
    if (directory / POTENTIAL_FILE).is_file():
        return "predicting"
    if started or (directory / LINEAR_PROGRESS_FILE).is_file():
        return "fitting"
    return "preparing" if (directory / INPUT_FILE).is_file() else "waiting"


def fit_is_finished(directory: Path, has_test: bool) -> bool:
    """Return whether the solver wrote its last file; pacemaker's is a figure of the final predictions."""
    if not (directory / POTENTIAL_FILE).is_file():
        return False
    last = "test_E-dE-nn.png" if has_test else "train_E-dE-nn.png"
    return (directory / LINEAR_DONE_FILE).is_file() or (directory / "report" / last).is_file()


@dataclass(frozen=True)
class FitEnding:
    """Whether the optimiser converged (None: unknown), and why it ended."""

    converged: bool | None
    reason: str


# status of scipy's optimisers when a callback stops them, as early stopping does
_STOPPED_EARLY = 99
_RESULT = re.compile(r"Optimization result\(success=(\w+), status=(\w+), message=(.*), nfev=")


def how_it_ended(directory: Path) -> FitEnding:
    """Return how the optimiser of the fit in `directory` ended, from pacemaker's output."""
    if (directory / LINEAR_DONE_FILE).is_file():
        found = json.loads((directory / LINEAR_DONE_FILE).read_text())
        reason = "solved by least squares"
        if found["rank"] < found["n_functions"]:
            reason += f"; the data determine {found['rank']} of {found['n_functions']} coefficients"
        return FitEnding(True, reason)
    output = directory / OUTPUT_FILE
    results = _RESULT.findall(output.read_text(errors="replace")) if output.is_file() else []
    if not results:
        return FitEnding(None, "not known")
    success, status, message = results[-1]
    if success == "True":
        return FitEnding(True, "the optimiser's tolerance was reached")
    if status == str(_STOPPED_EARLY):
        return FitEnding(True, "stopped early: the loss no longer fell")
    if status == "1":
        asked = iterations_before(directory) + int(_fit_section(directory)["maxiter"])
        return FitEnding(False, f"all {asked} iterations were used")
    return FitEnding(False, message.strip().rstrip("."))
