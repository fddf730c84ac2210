"""Check that LAMMPS predicts what the fit predicted."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.documents import LammpsCheck
from gst_jobflow.dynamics import log as lammps_log
from gst_jobflow.dynamics.deck import PairStyle, PotentialFiles
from gst_jobflow.dynamics.engine import LOG_FILE, LammpsEngine
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.single_point import LammpsSinglePoint, single_points
from gst_jobflow.evaluation.speed import measure
from gst_jobflow.fitting.parse import Predictions, load_yaml

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.base.settings import Settings
    from gst_jobflow.datasets.read import LabelledStructure
    from gst_jobflow.fitting.run import FitFiles

logger = logging.getLogger(__name__)

N_STRUCTURES = 5
STYLES: tuple[PairStyle, ...] = ("recursive", "extrapolation")
# Both evaluate the same functions in double precision; observed differences are 1e-9 meV/atom and 1e-6 meV/Å. The
# limits allow for other compilers and splines, and are far below the error of any potential: larger differences mean
# another potential, another order of elements or another evaluator.
ENERGY_LIMIT_MEV_PER_ATOM = 0.01
FORCE_LIMIT_MEV_PER_A = 0.1
FORCE_LIMIT_RELATIVE = 1e-5


def check_and_time(
    settings: Settings, check: Callable[[LammpsEngine], LammpsCheck], timed: PotentialFiles | None
) -> dict[str, Any]:
    """Return the check of a fit in LAMMPS on one rank, and the speed of `timed`; without LAMMPS only say so.

    Raises
    ------
    RunError
        As `check`.
    """
    try:
        engine = lammps_engine(settings, n_ranks=1)
    except MissingProgramError as err:
        return {"lammps_check": LammpsCheck(state="not_checked", reason=err.message)}
    found: dict[str, Any] = {"lammps_check": check(engine)}
    if timed is not None:
        found["speed"] = measure(engine, timed)
    return found


def check_in_lammps(
    engine: LammpsEngine, files: FitFiles, items: Sequence[LabelledStructure], predictions: Predictions
) -> LammpsCheck:
    """Compare energies and forces of a few small structures, with both pair styles.

    Parameters
    ----------
    items
        Structures of one split, in any order. Skipped are those that the fit left out, and those with atoms inside a
        core that was added after the fit.
    predictions
        The fit's predictions for them.

    Raises
    ------
    RunError
        They differ (class ``mismatch``), or LAMMPS fails.
    """
    content = load_yaml(files.yaml)
    elements = sorted({str(block["speciesblock"]).split()[0] for block in content["species"]})
    paths = {name: str(getattr(files, name)) for name in ("yace", "yaml", "asi")}
    potential = PotentialFiles(elements=elements, **paths)
    return check_styles_in_lammps(engine, potential, STYLES, items, predictions, _reach_of_core_A(files.yaml))


def check_styles_in_lammps(
    engine: LammpsEngine,
    potential: PotentialFiles,
    styles: Sequence[PairStyle],
    items: Sequence[LabelledStructure],
    predictions: Predictions,
    core_A: float = 0.0,
) -> LammpsCheck:
    """Compare as :func:`check_in_lammps`, with pair styles of a potential; `core_A` is the reach of a core, Å."""
    predicted = set(predictions.names.tolist())
    chosen = _choose([item for item in items if item.label_id in predicted], core_A)
    if not chosen:
        reason = "every structure has atoms inside the core, which was added after the fit"
        return LammpsCheck(state="not_checked", reason=reason)
    worst = np.zeros(2)
    with tempfile.TemporaryDirectory(prefix="gst_check_") as folder:
        for style in styles:
            found = single_points(engine, potential, [item.atoms for item in chosen], Path(folder) / style, style)
            worst = np.maximum(worst, _differences(style, chosen, found, predictions))
        version = lammps_log.version((Path(folder) / styles[0] / LOG_FILE).read_text())
    return LammpsCheck(
        state="passed",
        n_structures=len(chosen),
        styles=[potential.style] if potential.style else ["pace recursive", "pace/extrapolation"],
        max_energy_difference_meV_per_atom=float(worst[0]),
        max_force_difference_meV_per_A=float(worst[1]),
        version=version,
    )


def _choose(items: Sequence[LabelledStructure], core_A: float) -> list[LabelledStructure]:
    """Return the smallest structures without atoms inside the core."""
    by_size = sorted(items, key=lambda item: (len(item.atoms), item.label_id))
    chosen = []
    for item in by_size:
        if core_A == 0 or _closest_A(item.atoms, core_A) >= core_A:
            chosen.append(item)
        if len(chosen) == N_STRUCTURES:
            break
    return chosen


def _closest_A(atoms: Atoms, within_A: float) -> float:
    from matscipy.neighbours import neighbour_list

    return float(min(neighbour_list("d", atoms, within_A), default=within_A))


def _reach_of_core_A(yaml: Path) -> float:
    """Return the largest distance at which a core acts, Å; 0 without a core."""
    return max((float(block.get("r_in") or 0) for block in load_yaml(yaml)["species"]), default=0.0)


def _differences(
    style: str, chosen: Sequence[LabelledStructure], found: Sequence[LammpsSinglePoint], predictions: Predictions
) -> np.ndarray:
    """Return the largest differences in energy (meV/atom) and force (meV/Å).

    Raises
    ------
    RunError
        A difference is too large for rounding and splines.
    """
    starts = np.concatenate([[0], np.cumsum(predictions.n_atoms)])
    place = {name: index for index, name in enumerate(predictions.names.tolist())}
    worst = np.zeros(2)
    for item, point in zip(chosen, found, strict=True):
        index = place[item.label_id]
        forces = predictions.forces_pred_eV_A[starts[index] : starts[index + 1]]
        energy = 1e3 * abs(point.energy_eV / len(item.atoms) - predictions.energy_pred_eV_per_atom[index])
        force = 1e3 * np.abs(point.forces_eV_A - forces).max()
        limit = FORCE_LIMIT_MEV_PER_A + FORCE_LIMIT_RELATIVE * 1e3 * np.abs(forces).max()
        # not (<=): nan must not pass
        if not (energy <= ENERGY_LIMIT_MEV_PER_ATOM and force <= limit):
            raise RunError(
                f"LAMMPS ({style}) and the fit differ by {energy:.3g} meV/atom and {force:.3g} meV/Å for label "
                f"{item.label_id}",
                "the potential was not stored; see that LAMMPS is as new as what fitted it: gst doctor",
                "mismatch",
            )
        worst = np.maximum(worst, [energy, force])
    return worst
