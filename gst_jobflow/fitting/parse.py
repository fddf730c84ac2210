"""Errors of a finished fit by split and config_type, and the composition of its potential.

Numbers come from prediction files and `metrics.txt`; pacemaker appends several runs to its log.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import DataError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.documents import Errors, Rmse, RmseOfType

SPLITS = ("train", "test")
PARITY_FILE = "parity.npz"
# metrics.txt has all digits; TensorFlow may sum in another order in the fit than in the prediction
_METRICS_RELATIVE_TOLERANCE = 1e-6


class FitMetrics(StrictModel):
    """Errors by split (`train`, `test`), overall and by config_type.

    All structures count the same in energies and all components in forces, whatever their weights in the fit.
    """

    rmse: dict[str, Rmse]
    mae: dict[str, Errors]
    rmse_by_config_type: dict[str, dict[str, RmseOfType]]
    max_error: dict[str, Errors]


@dataclass(frozen=True)
class Predictions:
    """Reference and prediction for each structure of one split.

    Attributes
    ----------
    names, config_types
        Label id and config_type, shape (n_structures,).
    n_atoms
        Shape (n_structures,).
    energy_ref_eV_per_atom, energy_pred_eV_per_atom
        Energies relative to free atoms, shape (n_structures,).
    forces_ref_eV_A, forces_pred_eV_A
        All atoms of all structures in order, shape (sum of n_atoms, 3).
    """

    names: np.ndarray
    config_types: np.ndarray
    n_atoms: np.ndarray
    energy_ref_eV_per_atom: np.ndarray
    energy_pred_eV_per_atom: np.ndarray
    forces_ref_eV_A: np.ndarray
    forces_pred_eV_A: np.ndarray


class PotentialSummary(StrictModel):
    """Composition of a potential, read from its `.yaml`."""

    elements: tuple[str, ...]
    n_densities: int = Field(description="the largest of the elements")
    n_functions: int
    n_functions_per_element: dict[str, int]
    n_parameters: int = Field(description="coefficients of functions and of radial functions")
    cutoff_A: float
    versions: dict[str, str] = Field(default_factory=dict)


def read_metric_rows(path: Path) -> list[dict[str, float]]:
    """Return the complete rows of a metrics table of pacemaker, oldest first; none without a file."""
    if not path.is_file():
        return []
    text = path.read_text()
    lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
    if not lines:
        return []
    names = lines[0].split()
    rows = [line.split() for line in lines[1:]]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows if len(row) == len(names)]


def read_metrics(directory: Path) -> dict[str, dict[str, float]]:
    """Return the last rows of `metrics.txt` and `test_metrics.txt` (eV, Å) by split.

    Raises
    ------
    DataError
        There is no row for the training set.
    """
    tables = {"train": "metrics.txt", "test": "test_metrics.txt"}
    rows = {split: read_metric_rows(directory / name) for split, name in tables.items()}
    if not rows["train"]:
        raise DataError(f"no iteration in {directory / 'metrics.txt'}", "run the fit again; see its pacemaker.out")
    return {split: found[-1] for split, found in rows.items() if found}


def read_predictions(directory: Path) -> dict[str, Predictions]:
    """Return pacemaker's predictions after the fit, by split; `test` only if the fit had a test set.

    Raises
    ------
    DataError
        A file is missing or cut off, or a prediction is not finite.
    """
    found = {"train": _read_split(directory / "train_pred.pckl.gzip")}
    if (directory / "test.pckl.gzip").is_file() or (directory / "test_pred.pckl.gzip").is_file():
        found["test"] = _read_split(directory / "test_pred.pckl.gzip")
    return found


def _read_split(path: Path) -> Predictions:
    import pandas as pd

    again = "the fit has not finished: continue it"
    if not path.is_file():
        raise DataError(f"no predictions in {path}", again)
    try:
        frame = pd.read_pickle(path, compression="gzip")
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} is cut off or unreadable: {error}", again) from error
    needed = {"name", "config_type", "energy_corrected", "energy_pred", "forces", "forces_pred"}
    if missing := needed - set(frame.columns):
        raise DataError(f"{path} has no column {', '.join(sorted(missing))}", "fit with a dataframe of this package")
    n_atoms = frame["forces"].map(len).to_numpy(dtype=int)
    predictions = Predictions(
        names=frame["name"].to_numpy(dtype=str),
        config_types=frame["config_type"].to_numpy(dtype=str),
        n_atoms=n_atoms,
        energy_ref_eV_per_atom=frame["energy_corrected"].to_numpy(dtype=float) / n_atoms,
        energy_pred_eV_per_atom=frame["energy_pred"].to_numpy(dtype=float) / n_atoms,
        forces_ref_eV_A=np.concatenate(frame["forces"].to_list()),
        forces_pred_eV_A=np.concatenate(frame["forces_pred"].to_list()),
    )
    finite = np.isfinite(predictions.energy_pred_eV_per_atom).all() and np.isfinite(predictions.forces_pred_eV_A).all()
    if not finite:
        raise DataError(f"{path} holds predictions that are not finite", "fit again with fewer functions or more data")
    return predictions


def fit_metrics(predictions: Mapping[str, Predictions]) -> FitMetrics:
    """Return RMSE, MAE and largest errors by split, and RMSE by config_type.

    Energy errors are per atom, averaged over structures. Force errors are averaged over the three components of all
    atoms, as in pacemaker's `rmse_f_comp` and in tables of the literature.
    """
    found: dict[str, dict[str, Any]] = {key: {} for key in FitMetrics.model_fields}
    for split, those in predictions.items():
        everything = np.ones(len(those.names), dtype=bool)
        found["rmse"][split], found["mae"][split], found["max_error"][split] = _errors(those, everything)
        found["rmse_by_config_type"][split] = {}
        for config_type in sorted(set(those.config_types.tolist())):
            chosen = those.config_types == config_type
            rmse = _errors(those, chosen)[0].model_dump()
            found["rmse_by_config_type"][split][config_type] = RmseOfType(**rmse, n_structures=int(chosen.sum()))
    return FitMetrics(**found)


def _errors(those: Predictions, chosen: np.ndarray) -> tuple[Rmse, Errors, Errors]:
    """Return RMSE, MAE and largest error (meV/atom, meV/Å) of those structures; `chosen` has shape (n_structures,)."""
    energy = 1e3 * (those.energy_pred_eV_per_atom - those.energy_ref_eV_per_atom)[chosen]
    force = 1e3 * (those.forces_pred_eV_A - those.forces_ref_eV_A)[np.repeat(chosen, those.n_atoms)]
    rmse = Rmse(energy_meV_per_atom=np.sqrt(np.mean(energy**2)), force_meV_per_A=np.sqrt(np.mean(force**2)))
    mae = Errors(energy_meV_per_atom=np.mean(np.abs(energy)), force_meV_per_A=np.mean(np.abs(force)))
    largest = Errors(energy_meV_per_atom=np.max(np.abs(energy)), force_meV_per_A=np.max(np.abs(force)))
    return rmse, mae, largest


def evaluate_directory(directory: Path) -> FitMetrics:
    """Return the errors of a finished fit, checked against pacemaker's own.

    Raises
    ------
    DataError
        A file is missing, or the two disagree.
    """
    metrics = fit_metrics(read_predictions(directory))
    check_against_pacemaker(metrics, read_metrics(directory), _optimizer_used_all_iterations(directory))
    return metrics


def check_against_pacemaker(
    metrics: FitMetrics, last_rows: Mapping[str, Mapping[str, float]], used_all_iterations: bool
) -> None:
    """Compare our overall RMSE with the last rows of pacemaker's tables.

    Weights do not enter pacemaker's RMSE, so both are the same number. The test row is skipped if the optimiser stopped
    early: pacemaker writes it for the last coefficients tried, which may be one step beyond the potential's.

    Raises
    ------
    DataError
        They differ by more than rounding.
    """
    for split, row in last_rows.items():
        if split not in metrics.rmse or (split == "test" and not used_all_iterations):
            continue
        theirs = 1e3 * row["rmse_epa"], 1e3 * row["rmse_f_comp"]
        # the absolute part, in meV, is for perfect fits
        compare_rmse(split, metrics.rmse[split], theirs, "pacemaker", _METRICS_RELATIVE_TOLERANCE, absolute=1e-6)


def compare_rmse(
    split: str, ours: Errors, theirs: tuple[float, float], program: str, relative: float, absolute: float = 0.0
) -> None:
    """Refuse RMSE of energies (meV/atom) and forces (meV/Å) that differ from a program's own.

    Raises
    ------
    DataError
        One differs by more than `relative` of the program's and `absolute` together.
    """
    found = ours.energy_meV_per_atom, ours.force_meV_per_A
    for what, mine, other in zip(("energy RMSE, meV/atom", "force RMSE, meV/Å"), found, theirs, strict=True):
        if abs(mine - other) > relative * abs(other) + absolute:
            raise DataError(
                f"{split} {what}: predictions give {mine:.6g}, {program}'s table {other:.6g}",
                "the files are of different runs: fit again in an empty directory",
            )


def _optimizer_used_all_iterations(directory: Path) -> bool:
    import yaml

    rows = read_metric_rows(directory / "metrics.txt")
    asked = yaml.safe_load((directory / "input.yaml").read_text())["fit"]["maxiter"]
    return bool(rows) and int(rows[-1]["iter_num"]) == int(asked)


def write_parity(predictions: Mapping[str, Predictions], path: Path) -> Path:
    """Save the data of parity plots and return the path.

    The file holds `energy_ref`, `energy_pred` (eV/atom), `config_type`, `split`, `name`, one entry a structure, and
    `force_ref`, `force_pred` (eV/Å), `force_config_type`, `force_split`, one entry a force component.
    """
    parts = list(predictions.items())
    arrays = {
        "energy_ref": [p.energy_ref_eV_per_atom for _, p in parts],
        "energy_pred": [p.energy_pred_eV_per_atom for _, p in parts],
        "config_type": [p.config_types for _, p in parts],
        "name": [p.names for _, p in parts],
        "split": [np.full(len(p.names), split) for split, p in parts],
        "force_ref": [p.forces_ref_eV_A.ravel() for _, p in parts],
        "force_pred": [p.forces_pred_eV_A.ravel() for _, p in parts],
        "force_config_type": [np.repeat(p.config_types, 3 * p.n_atoms) for _, p in parts],
        "force_split": [np.full(3 * p.n_atoms.sum(), split) for split, p in parts],
    }
    with replacing(path, durable=False) as part:
        np.savez_compressed(part, **{name: np.concatenate(pieces) for name, pieces in arrays.items()})
    return path


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a potential's `.yaml`.

    Raises
    ------
    DataError
        The file cannot be read or is no potential, as after a kill while it was written.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read as a potential: {error}", "give the .yaml that a fit wrote") from error
    blocks = content.get("species") if isinstance(content, dict) else None
    if not isinstance(blocks, list) or not all(isinstance(b, dict) and "speciesblock" in b for b in blocks):
        raise DataError(f"{path} is not a potential of pacemaker", "give the .yaml that a fit wrote")
    return content


def count_functions(path: Path) -> PotentialSummary:
    """Return the composition of a potential; radial coefficients of A–B and B–A are the same and count once.

    Raises
    ------
    DataError
        The file is not a whole potential.
    """
    content = load_yaml(path)
    blocks = {tuple(str(block["speciesblock"]).split()): block for block in content["species"]}
    densities = {key[0]: int(block["ndensityi"]) for key, block in blocks.items() if len(key) == 1}
    pairs = {key: block for key, block in blocks.items() if len(key) <= 2 and "rcutij" in block}
    if not densities or not pairs or any(key[0] not in densities for key in blocks):
        raise DataError(f"{path} is not a whole potential: a block of an element is missing", "give a finished one")
    functions = {element: 0 for element in sorted(densities)}
    for key, block in blocks.items():
        functions[key[0]] += len(block.get("nbody") or [])
    radial = {tuple(sorted(key)): np.size(block.get("radcoefficients") or []) for key, block in pairs.items()}
    metadata = content.get("metadata") or {}
    return PotentialSummary(
        elements=tuple(functions),
        n_densities=max(densities.values()),
        n_functions=sum(functions.values()),
        n_functions_per_element=functions,
        n_parameters=sum(n * densities[element] for element, n in functions.items()) + sum(radial.values()),
        cutoff_A=max(float(block["rcutij"]) for block in pairs.values()),
        versions={str(k): str(v) for k, v in metadata.items() if str(k).endswith("_version")},
    )
