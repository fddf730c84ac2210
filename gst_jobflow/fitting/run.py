"""Run pacemaker: fit, continue an interrupted fit, upfit, and convert the potential for LAMMPS."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.fitting.active_set import check_active_set_possible, make_active_set
from gst_jobflow.fitting.config import ActiveSetAtoms, CoreRepulsion, FitConfig, render_input, to_yaml
from gst_jobflow.fitting.files import (
    CONTINUED_FILE,
    INPUT_FILE,
    LINEAR_DONE_FILE,
    LINEAR_PROGRESS_FILE,
    OUTPUT_FILE,
    POTENTIAL_FILE,
    REQUEST_FILE,
    START_FILE,
    TEST_FILE,
    TRAIN_FILE,
)
from gst_jobflow.fitting.frame import LabelledStructure, to_dataframe, weighted, write_pckl
from gst_jobflow.fitting.parse import count_functions, load_yaml, read_metric_rows
from gst_jobflow.fitting.programs import pacemaker_command, run_pacemaker
from gst_jobflow.fitting.progress import fit_is_finished, iterations_before
from gst_jobflow.fitting.start import check_start, start_text

logger = logging.getLogger(__name__)

# files of a run of pacemaker, removed before the next run so that nothing old is taken for its own
_PRODUCTS = (
    "*metrics.txt",
    "*_pred.pckl.gzip",
    "*_data_info.pckl.gzip",
    "*potential*.yaml",
    "output_potential.*",
    "*.yaml.part",
    "log.txt",
    LINEAR_PROGRESS_FILE,
    LINEAR_DONE_FILE,
)

# shape of the potential with all its functions
_TARGET_FILE = "target_potential.yaml"


@dataclass(frozen=True)
class FitFiles:
    """Results of a fit.

    Attributes
    ----------
    iterations_before
        Iterations of the interrupted runs that this one continued.
    wall_s
        Wall time of all these runs, s.
    """

    directory: Path
    input_yaml: Path
    yaml: Path
    yace: Path
    asi: Path
    iterations_before: int
    wall_s: float


def run_fit(
    runner: PacemakerRunner,
    config: FitConfig,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure] | None,
    reference_energies: Mapping[str, float],
    directory: Path,
    *,
    initial_potential: Path | None = None,
    continue_from: Path | None = None,
) -> FitFiles:
    """Fit a potential in `directory` and convert it for LAMMPS.

    Parameters
    ----------
    initial_potential
        The `.yaml` of a finished potential to start from (upfit). All its coefficients are fitted further; with
        `ladder_step` missing functions are added. A linear potential may start a fit of more densities.
    continue_from
        Directory of an interrupted run of the same fit (may be `directory`), to continue with the remaining
        iterations. BFGS restarts with a fresh Hessian, so the path differs from that of an uninterrupted fit. A
        finished fit in `directory` is only converted.

    Raises
    ------
    DataError
        A label cannot be fitted, or an element has fewer atoms than functions.
    InputError
        The start does not belong to this fit.
    RunError
        A program fails; `failure_class` says how.
    """
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    train = _checked_and_weighted(config, train, test)
    request = _request(config, train, test, reference_energies, initial_potential)
    begin = _Begin(initial_potential)
    if continue_from is not None:
        _check_same_fit(continue_from, request)
        if Path(continue_from).resolve() == directory and fit_is_finished(directory, has_test=bool(test)):
            return _finish(runner, config, directory, _seconds_spent(directory))
        begin = _interrupted(continue_from, initial_potential)
    left, begin = _left(config, begin, continue_from)
    _write_start(begin.potential, config, directory)
    _write_inputs(left, train, test, reference_energies, directory)
    _write_request(request, begin, directory)
    started, command = time.monotonic(), _command(runner, left, goes_on=begin.potential is not None)
    run_pacemaker(runner, command, directory, OUTPUT_FILE, config.backend.gpu)
    return _finish(runner, config, directory, begin.wall_s + time.monotonic() - started)


def _checked_and_weighted(
    config: FitConfig, train: Sequence[LabelledStructure], test: Sequence[LabelledStructure] | None
) -> list[LabelledStructure]:
    """Return the training set with its weights in the loss, after all checks of the data."""
    check_elements(config.elements, [*train, *(test or ())])
    chosen = weighted(train, config.weights, config.seed)
    check_elements_are_trained(chosen, test)
    check_active_set_possible(config, chosen)
    return chosen


class _Begin(NamedTuple):
    """Potential that a run of the optimiser begins with, and the iterations and seconds spent on it before."""

    potential: Path | None
    iterations: int = 0
    wall_s: float = 0.0


def _left(config: FitConfig, begin: _Begin, interrupted: Path | None) -> tuple[FitConfig, _Begin]:
    """Return the configuration of the iterations that are left.

    A ladder has all iterations on each rung, so a new run does not subtract those of the interrupted rung.
    """
    if begin.potential is not None:
        check_start(begin.potential, config)
    has_ladder = config.optimizer.ladder_step is not None
    climbs = has_ladder and (begin.potential is None or not _has_all_functions(begin.potential, config, interrupted))
    if climbs:
        return config, begin._replace(iterations=0)
    left = max(1, config.optimizer.maxiter - begin.iterations)
    optimizer = config.optimizer.model_copy(update={"maxiter": left, "ladder_step": None})
    return config.model_copy(update={"optimizer": optimizer}), begin


def _write_start(start: Path | None, config: FitConfig, directory: Path) -> None:
    """Write the potential to start from, then remove old files: a kill in between loses no iteration."""
    if start is None:
        (directory / START_FILE).unlink(missing_ok=True)
    else:
        write_text(directory / START_FILE, start_text(start, config), durable=False)
    _clean(directory)


def _write_request(request: dict[str, Any], begin: _Begin, directory: Path) -> None:
    """Write what a continuation compares with, and the iterations and seconds it adds to."""
    write_text(directory / REQUEST_FILE, json.dumps(request, indent=1, sort_keys=True), durable=False)
    before = {"iterations_before": begin.iterations, "wall_s_before": begin.wall_s}
    write_text(directory / CONTINUED_FILE, json.dumps(before), durable=False)


def _command(runner: PacemakerRunner, config: FitConfig, goes_on: bool) -> list[str | Path]:
    """Return the program of the solver and its arguments."""
    if config.solver == "linear":
        return [runner.python, Path(__file__).with_name("linear_program.py"), str(runner.threads)]
    start = ["-ip" if config.optimizer.ladder_step else "-p", START_FILE] if goes_on else []
    return [*pacemaker_command(runner), INPUT_FILE, *start]


def convert(
    runner: PacemakerRunner, directory: Path, atoms: ActiveSetAtoms = "well_fitted", wall_s: float = 0.0
) -> FitFiles:
    """Make `.yace` and `.asi` (active set) of the finished fit in `directory`.

    Raises
    ------
    RunError
        There is no finished fit, or a program fails.
    """
    potential = directory / POTENTIAL_FILE
    if not potential.is_file():
        raise RunError(f"no {POTENTIAL_FILE} in {directory}", "continue the fit", "missing_output")
    yace, asi = potential.with_suffix(".yace"), potential.with_suffix(".asi")
    yace.unlink(missing_ok=True)
    asi.unlink(missing_ok=True)
    run_pacemaker(runner, [runner.pace_yaml2yace, potential.name], directory, "pace_yaml2yace.out", None)
    make_active_set(runner, directory, atoms)
    for made in (yace, asi):
        if not made.is_file() or made.stat().st_size == 0:
            raise RunError(f"{made.name} was not written in {directory}", "see the *.out files there", "missing_output")
    return FitFiles(
        directory=directory,
        input_yaml=directory / INPUT_FILE,
        yaml=potential,
        yace=yace,
        asi=asi,
        iterations_before=iterations_before(directory),
        wall_s=wall_s,
    )


def check_elements(elements: Sequence[str], items: Sequence[LabelledStructure]) -> None:
    """Refuse labels with elements that the potential is not for."""
    for item in items:
        foreign = sorted(set(item.atoms.get_chemical_symbols()) - set(elements))
        if foreign:
            raise DataError(
                f"label {item.label_id} holds {', '.join(foreign)}, but the potential is for {', '.join(elements)}",
                "add the element to the fit, or leave the structure out",
            )


def check_elements_are_trained(train: Sequence[LabelledStructure], test: Sequence[LabelledStructure] | None) -> None:
    """Refuse an empty training set, and a test set with an element that the training set lacks."""

    def elements(items: Sequence[LabelledStructure]) -> set[str]:
        return {symbol for item in items for symbol in set(item.atoms.get_chemical_symbols())}

    if not train:
        raise DataError("the training set is empty", "gst dataset show says what the dataset holds")
    if only_tested := sorted(elements(test or ()) - elements(train)):
        raise DataError(
            f"{', '.join(only_tested)} is in the test set but not in the training set",
            "make the dataset with another seed of the split, or label more structures with it",
        )


def _finish(runner: PacemakerRunner, config: FitConfig, directory: Path, wall_s: float) -> FitFiles:
    """Replace pacemaker's core by the requested one, and convert the potential."""
    potential = directory / POTENTIAL_FILE
    if isinstance(config.radial.repulsion, CoreRepulsion) and potential.is_file():
        write_text(potential, with_core(potential.read_text(), config.radial.repulsion), durable=False)
    return convert(runner, directory, config.active_set, wall_s)


def with_core(text: str, core: CoreRepulsion) -> str:
    """Return a potential's YAML with range and width of the core set for every pair; idempotent."""

    def clamped(match: re.Match[str]) -> str:
        return f"r_in: {min(max(float(match[1]), core.r_in_min_A), core.r_in_max_A):.12g}"

    text = re.sub(r"\br_in: ([-+.0-9eE]+)", clamped, text)
    return re.sub(r"\bdelta_in: [-+.0-9eE]+", f"delta_in: {core.width_A:.12g}", text)


def _shape_of(config: FitConfig) -> dict[str, Any]:
    """Return the settings that shape the fit; those of computing and converting may change in a continuation."""
    return config.model_dump(mode="json", exclude={"backend", "active_set"})


def _request(
    config: FitConfig,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure] | None,
    reference_energies: Mapping[str, float],
    initial_potential: Path | None,
) -> dict[str, Any]:
    """Return what identifies this fit, to compare it with an interrupted one."""

    def digest(items: Sequence[LabelledStructure] | None) -> str:
        rows = [[item.label_id, float(item.energy_eV), float(item.weight)] for item in items or ()]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    start = None if initial_potential is None else hashlib.sha256(Path(initial_potential).read_bytes()).hexdigest()
    return {
        "config": _shape_of(config),
        "train": digest(train),
        "test": digest(test),
        "reference_energies": {symbol: float(reference_energies[symbol]) for symbol in sorted(reference_energies)},
        "initial_potential": start,
    }


def _check_same_fit(directory: Path, request: Mapping[str, Any]) -> None:
    path = directory / REQUEST_FILE
    if not path.is_file():
        raise InputError(f"{directory} holds no interrupted fit ({REQUEST_FILE} is missing)", "start a new fit")
    before = json.loads(path.read_text())
    # fields that an earlier version did not write get their defaults
    before["config"] = _shape_of(FitConfig.model_validate(before["config"]))
    changed = sorted(key for key in request if before.get(key) != request[key])
    if changed:
        raise InputError(
            f"the interrupted fit in {directory} differs in {', '.join(changed)}",
            "continue it with the same input, or start a new fit; for other weights use initial_potential",
        )


def _interrupted(directory: Path, initial_potential: Path | None) -> _Begin:
    """Return the potential of the last iteration of an interrupted run; skip files that a kill cut off."""
    spent_s, before = _seconds_spent(directory), iterations_before(directory)
    rows = read_metric_rows(directory / "metrics.txt")
    for path in _newest_first(directory.glob("interim_potential_[0-9]*.yaml")):
        if any(_is_of(path, shape) for shape in _shape_files(directory)):
            return _Begin(path, before + (int(rows[-1]["iter_num"]) if rows else 0), spent_s)
        logger.warning("skipped %s: it is cut off", path)
    # killed before its first iteration
    start = directory / START_FILE
    return _Begin(start if start.is_file() else initial_potential, before, spent_s)


def _shape_files(directory: Path) -> list[Path]:
    """Return files of which one has the same functions as the interim potential.

    For a ladder these are the current rung, whose first iteration may not be done, and the rung below.
    """
    rung = directory / "current_extended_potential.yaml"
    below = directory.glob("interim_potential_ladder_step_*.yaml")
    return [rung if rung.is_file() else directory / _TARGET_FILE, *_newest_first(below)[:1]]


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: -path.stat().st_mtime_ns)


def _is_of(path: Path, shape: Path) -> bool:
    """Return whether a potential is complete, compared with one of the same functions."""
    try:
        return _same_shape(load_yaml(path), load_yaml(shape))
    except DataError as error:
        logger.warning("cannot compare %s with %s: %s", path, shape, error)
        return False


def _has_all_functions(start: Path, config: FitConfig, interrupted: Path | None) -> bool:
    """Return whether the starting potential already has all functions: pacemaker's ladder would then not fit."""
    if interrupted is not None and (interrupted / _TARGET_FILE).is_file():
        return _same_shape(load_yaml(start), load_yaml(interrupted / _TARGET_FILE))
    n_elements = len(config.elements)
    n_blocks = n_elements * 2 ** (n_elements - 1)
    # pacemaker gives each block the same number
    most = config.functions.number_of_functions_per_element * n_elements // n_blocks * n_blocks
    return count_functions(start).n_functions >= most


def _same_shape(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two potentials have the same functions; pacemaker changes the order of blocks."""
    shapes = [
        sorted((block["speciesblock"], len(block.get("nbody") or [])) for block in content["species"])
        for content in (one, other)
    ]
    return shapes[0] == shapes[1]


def _seconds_spent(directory: Path) -> float:
    """Return the wall time of an interrupted fit and of those before it, s, up to its last iteration."""
    started, last = directory / CONTINUED_FILE, directory / "metrics.txt"
    if not started.is_file():
        return 0.0
    before = json.loads(started.read_text()).get("wall_s_before", 0.0)
    return before + (max(0.0, last.stat().st_mtime - started.stat().st_mtime) if last.is_file() else 0.0)


def _clean(directory: Path) -> None:
    for pattern in _PRODUCTS:
        for path in directory.glob(pattern):
            if path.name != START_FILE:
                path.unlink()
    shutil.rmtree(directory / "report", ignore_errors=True)


def _write_inputs(
    config: FitConfig,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure] | None,
    reference_energies: Mapping[str, float],
    directory: Path,
) -> None:
    write_pckl(to_dataframe(train, reference_energies), directory / TRAIN_FILE)
    (directory / TEST_FILE).unlink(missing_ok=True)
    if test:
        write_pckl(to_dataframe(test, reference_energies), directory / TEST_FILE)
    content = render_input(config, TRAIN_FILE, TEST_FILE if test else None, reference_energies)
    write_text(directory / INPUT_FILE, to_yaml(content), durable=False)
