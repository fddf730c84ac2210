"""Fit a linear ACE by least squares: `python linear_program.py THREADS`, in the directory of a fit.

Needs pacemaker's package, but neither TensorFlow nor gst_jobflow; reads and writes the same files as pacemaker. Blocks
of the design matrix of `pyace.linearacefit` are folded into one triangular matrix (QR), so memory does not grow with
the number of structures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from pyace import ACEBBasisSet, ACEBEvaluator, ACECalculator, create_multispecies_basis_config
from pyace.atomicenvironment import aseatoms_to_atomicenvironment
from pyace.linearacefit import LinearACEDataset

BLOCK_BYTES = 256 << 20
PROGRESS_FILE, DONE_FILE = "linear_progress.json", "linear_fit.json"


def main(threads: int) -> None:
    """Fit, and write the files that pacemaker would."""
    content = yaml.safe_load(Path("input.yaml").read_text())
    configuration = create_multispecies_basis_config(content["potential"])
    basis = ACEBBasisSet(configuration)
    train = pd.read_pickle(content["data"]["filename"], compression="gzip")
    loss = content["fit"]["loss"]
    triangle, target = fold(basis, train, float(loss["kappa"]), threads)
    coefficients, rank = solve(triangle, target, float(loss["L2_coeffs"]))
    basis.basis_coeffs = coefficients
    solved = basis.to_BBasisConfiguration()
    solved.save("output_potential.yaml")
    write_predictions(basis, train, loss, "train_pred.pckl.gzip", "metrics.txt")
    # pace_activeset reads the training set by this name
    train.to_pickle("fitting_data_info.pckl.gzip", compression="gzip", protocol=4)
    if "test_filename" in content["data"]:
        test = pd.read_pickle(content["data"]["test_filename"], compression="gzip")
        write_predictions(basis, test, loss, "test_pred.pckl.gzip", "test_metrics.txt")
    write(DONE_FILE, json.dumps({"rank": rank, "n_functions": len(coefficients)}))


def design_blocks(
    basis: ACEBBasisSet, frame: pd.DataFrame, threads: int
) -> Iterator[tuple[pd.DataFrame, LinearACEDataset]]:
    """Yield parts of the training set with their design matrices of about `BLOCK_BYTES` each."""
    n_functions = LinearACEDataset(basis, None).nfunc
    rows = (3 * frame["ase_atoms"].map(len) + 1).cumsum()
    number = (rows * n_functions * 8 // BLOCK_BYTES).to_numpy()
    done = 0
    for place in np.unique(number):
        part = frame[number == place].reset_index(drop=True)
        dataset = LinearACEDataset(basis, part)
        dataset.construct_design_matrix(max_workers=threads)
        yield part, dataset
        done += len(part)
        write(PROGRESS_FILE, json.dumps({"structures": done, "of": len(frame), "time": time.time()}))


def fold(basis: ACEBBasisSet, frame: pd.DataFrame, kappa: float, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return R (n, n) and Q^T y (n,) of the weighted rows; the weights are those of pacemaker's loss.

    The loss is (1 - kappa) * sum w_E (dE / atoms)^2 + kappa * sum w_F dF^2. The w_E of structures and the w_F of atoms
    are proportional to the column `w_factor` and add up to 1 each.
    """
    norms = weight_norms(frame)
    folded: np.ndarray | None = None
    for part, dataset in design_blocks(basis, frame, threads):
        weight_E, weight_F = weights(part, norms)
        scale = np.sqrt(np.concatenate([(1 - kappa) * weight_E, kappa * np.repeat(weight_F, 3)]))
        rows = np.column_stack([dataset.get_design_matrix(), dataset.get_target_vector()]) * scale[:, None]
        folded = np.asarray(np.linalg.qr(rows if folded is None else np.vstack([folded, rows]), mode="r"))
    assert folded is not None  # a fit has a training set
    n_functions = folded.shape[1] - 1
    return folded[:n_functions, :n_functions], folded[:n_functions, n_functions]


def weight_norms(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the sums of `w_factor` over structures and over atoms."""
    factor = frame["w_factor"].to_numpy(dtype=float)
    return float(factor.sum()), float((factor * frame["ase_atoms"].map(len)).sum())


def weights(frame: pd.DataFrame, norms: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return w_E (n_structures,) and w_F (n_atoms,) of pacemaker's loss."""
    factor = frame["w_factor"].to_numpy(dtype=float)
    return factor / norms[0], np.repeat(factor, frame["ase_atoms"].map(len)) / norms[1]


def solve(triangle: np.ndarray, target: np.ndarray, penalty: float) -> tuple[np.ndarray, int]:
    """Return the coefficients c that minimise |R c - y|^2 + penalty |c|^2, and the rank of R."""
    n = triangle.shape[1]
    rows = np.vstack([triangle, np.sqrt(penalty) * np.eye(n)])
    coefficients, _, _, _ = np.linalg.lstsq(rows, np.concatenate([target, np.zeros(n)]), rcond=None)
    return coefficients, int(np.linalg.matrix_rank(triangle))


def write_predictions(basis: ACEBBasisSet, frame: pd.DataFrame, loss: dict[str, float], file: str, table: str) -> None:
    """Write predictions and a row of metrics for a set, as pacemaker does."""
    evaluator = ACEBEvaluator(basis)
    calculator = ACECalculator(evaluator)
    energies, forces = [], []
    for atoms in frame["ase_atoms"]:
        environment = aseatoms_to_atomicenvironment(
            atoms, cutoff=basis.cutoffmax, elements_mapper_dict=basis.elements_to_index_map
        )
        calculator.compute(environment)
        energies.append(float(np.sum(calculator.energies)))
        forces.append(np.array(calculator.forces))
    made = frame.drop(columns="ase_atoms").assign(energy_pred=energies, forces_pred=forces)
    made.to_pickle(file, compression="gzip", protocol=4)
    n_atoms = frame["ase_atoms"].map(len).to_numpy()
    energy = (np.array(energies) - frame["energy_corrected"].to_numpy(dtype=float)) / n_atoms
    force = np.concatenate(forces) - np.concatenate(frame["forces"].to_list())
    weight_E, weight_F = weights(frame, weight_norms(frame))
    of_energy = (1 - loss["kappa"]) * (weight_E @ energy**2)
    of_forces = loss["kappa"] * (weight_F @ (force**2).sum(axis=1))
    row: dict[str, Any] = {
        "iter_num": 1,
        "loss": float(of_energy + of_forces + loss["L2_coeffs"] * np.sum(np.square(basis.basis_coeffs))),
        "rmse_epa": float(np.sqrt(np.mean(energy**2))),
        "rmse_f_comp": float(np.sqrt(np.mean(force**2))),
        "nfuncs": len(basis.basis_coeffs),
    }
    write(table, " ".join(row) + "\n" + " ".join(repr(value) for value in row.values()) + "\n")


def write(name: str, text: str) -> None:
    """Write a file in one step, so that no reader sees half of it."""
    part = Path(f".{name}.part")
    part.write_text(text)
    part.replace(name)


if __name__ == "__main__":
    main(int(sys.argv[1]))
