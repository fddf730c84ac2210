"""Run gracemaker, and continue an interrupted fit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import InputError, MissingProgramError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.datasets.read import LabelledStructure
from gst_jobflow.documents import Errors
from gst_jobflow.fitting import grace
from gst_jobflow.fitting.config import to_yaml
from gst_jobflow.fitting.files import GRACE_REQUEST_FILE, INPUT_FILE, TRAIN_FILE
from gst_jobflow.fitting.frame import to_dataframe, weighted, write_pckl
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.fitting.parse import compare_rmse
from gst_jobflow.fitting.programs import run_pacemaker
from gst_jobflow.fitting.run import check_elements, check_elements_are_trained

_EACH = "checkpoint.epoch_"
# the magic number that ends a table of TensorFlow (tensorflow/core/lib/io/format.h)
_END_OF_INDEX = (0xDB4775248B80FB57).to_bytes(8, "little")


@dataclass(frozen=True)
class GraceFiles:
    """Results of a fit: its model, everything that gracemaker printed, and the wall time of all its runs."""

    directory: Path
    model: Path
    output: str
    wall_s: float


def gracemaker(runner: PacemakerRunner) -> Path:
    """Return the program gracemaker, which tensorpotential installs beside pacemaker.

    Raises
    ------
    MissingProgramError
        It is missing.
    """
    program = runner.pacemaker.parent / "gracemaker"
    if not program.is_file():
        raise MissingProgramError(f"there is no gracemaker in {program.parent}", "run scripts/install_pacemaker")
    return program


def run_grace(
    runner: PacemakerRunner,
    config: GraceConfig,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    reference_energies: Mapping[str, float],
    directory: Path,
) -> GraceFiles:
    """Fit in `directory`, or continue the interrupted fit there from its last checkpoint.

    BFGS then restarts with a fresh Hessian, so the path differs from that of an uninterrupted fit.

    Raises
    ------
    DataError
        A label cannot be fitted.
    InputError
        The directory holds another fit.
    RunError
        gracemaker fails.
    """
    program = gracemaker(runner)
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    check_elements(config.elements, [*train, *test])
    train = weighted(train, config.weights, config.seed)
    check_elements_are_trained(train, test)
    done_file, model = directory / grace.DONE_FILE, grace.folder(directory, config.seed) / "FS_model.yaml"
    before, spent_s, restart = _interrupted(directory, config, [item.label_id for item in train])
    if not done_file.is_file():
        write_pckl(grace.with_weights(to_dataframe(train, reference_energies)), directory / TRAIN_FILE)
        left = max(1, config.maxiter - before)
        (directory / INPUT_FILE).write_text(to_yaml(grace.render_grace_input(config, left)))
        _write_request(directory, config, train, before, spent_s)
        begin = time.monotonic()
        run_pacemaker(runner, [program, "-sf", *restart, INPUT_FILE], directory, grace.OUTPUT_FILE, config.gpu)
        if not model.is_file():
            raise RunError(
                f"gracemaker wrote no {model.name}", f"see {directory / grace.OUTPUT_FILE}", "missing_output"
            )
        spent_s += time.monotonic() - begin
        done_file.write_text(json.dumps({"wall_s": spent_s}))
        for path in _checkpoints(directory, config).glob(f"{_EACH}*"):
            path.unlink()
    output = (directory / grace.OUTPUT_FILE).read_text(errors="replace")
    return GraceFiles(directory, model, output, float(json.loads(done_file.read_text())["wall_s"]))


def _interrupted(directory: Path, config: GraceConfig, names: list[str]) -> tuple[int, float, list[str]]:
    """Return the iteration of the newest whole checkpoint, the seconds until then, and the options to continue it."""
    path = directory / GRACE_REQUEST_FILE
    if not path.is_file():
        return 0, 0.0, []
    request = json.loads(path.read_text())
    if request["config"] != config.model_dump(mode="json") or request["names"] != names:
        raise InputError(f"{directory} holds another fit", "fit in an empty directory")
    spent_s = float(request["wall_s_before"])
    for iteration, index, options in _restarts(directory, config):
        if iteration and _is_whole(index):
            return iteration, spent_s + max(0.0, index.stat().st_mtime - path.stat().st_mtime), options
    return 0, spent_s, []


def _restarts(directory: Path, config: GraceConfig) -> Iterator[tuple[int, Path, list[str]]]:
    """Yield iteration, index and options of each checkpoint, newest first."""
    folder = _checkpoints(directory, config)
    numbers = [int(path.stem.rpartition("_")[2]) for path in folder.glob(f"{_EACH}*.index")]
    for number in sorted(numbers, reverse=True):
        yield number, folder / f"{_EACH}{number}.index", ["-rs", f".epoch_{number}"]
    # earlier versions kept only the newest
    if not numbers and (rows := grace.read_grace_rows(directory, config.seed)):
        last = int(rows[-1]["epoch"]) // grace.CHECKPOINT_EVERY * grace.CHECKPOINT_EVERY
        yield last, folder / "checkpoint.index", ["-rl"]


def _checkpoints(directory: Path, config: GraceConfig) -> Path:
    return grace.folder(directory, config.seed) / "checkpoints"


def _is_whole(index: Path) -> bool:
    """Return whether a checkpoint was written to its end; TensorFlow writes its index last."""
    return index.is_file() and index.read_bytes().endswith(_END_OF_INDEX)


def _write_request(
    directory: Path, config: GraceConfig, train: Sequence[LabelledStructure], before: int, spent_s: float
) -> None:
    content: dict[str, Any] = {
        "config": config.model_dump(mode="json"),
        "names": [item.label_id for item in train],
        "iterations_before": before,
        "wall_s_before": spent_s,
    }
    write_text(directory / GRACE_REQUEST_FILE, json.dumps(content), durable=False)


def check_export(rows: Sequence[Mapping[str, float]], ours: Errors, asked: int) -> None:
    """Compare the exported potential's training errors with gracemaker's last row.

    An optimiser that ended early may have tried one more step: its last row is then not of the potential.

    Raises
    ------
    DataError
        They differ by more than 1 %.
    """
    if not rows or int(rows[-1]["epoch"]) < asked:
        return
    theirs = 1e3 * rows[-1]["rmse/depa"], 1e3 * rows[-1]["rmse/f_comp"]
    compare_rmse("train", ours, theirs, "gracemaker", relative=0.01)
