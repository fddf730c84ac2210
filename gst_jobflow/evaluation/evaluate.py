"""Evaluate potentials on labels: errors and speed, in one study."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gst_jobflow.base.errors import DataError, MissingProgramError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.settings import Settings
from gst_jobflow.base.words import counted
from gst_jobflow.documents import ArtifactRef, Dataset, Member, Potential, Speed, Study, derive_id, now
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import (
    OWN_KINDS,
    check_knows_elements,
    link_other,
    link_potential,
    plugin_kind,
)
from gst_jobflow.evaluation.errors import Residuals, fitted_zero, group_rows, zero_of
from gst_jobflow.evaluation.labels import EvaluationSet
from gst_jobflow.evaluation.predict import Predicted, by_calculator, by_pyace, predict
from gst_jobflow.evaluation.speed import measure, measure_in_python
from gst_jobflow.store import Results

DATA_PREFIX = "evaluation-"


def evaluate(
    results: Results,
    settings: Settings,
    potentials: Sequence[Potential],
    chosen: EvaluationSet,
    *,
    name: str = "",
    with_speed: bool = True,
    cores: int = 1,
    tell: Callable[[str], None] = lambda text: None,
) -> Study:
    """Evaluate potentials on the same labels, and store the study.

    With speed, time all in LAMMPS on one rank or, if LAMMPS cannot run one of them, all by pyace in ASE, so that
    numbers compare; else show what the fits measured. `tell` is called with lines on the progress. Raises InputError if
    a potential lacks an element of the labels, or as :func:`predict_labels`.
    """
    for potential in potentials:
        check_knows_elements(potential, chosen.elements, "choose labels of its elements: gst query labels -w formula=…")
    rows: list[dict[str, Any]] = []
    files: list[ArtifactRef] = []
    evaluators: dict[str, str] = {}
    in_lammps = all(potential.kind != "grace/fs" for potential in potentials)
    for potential in potentials:
        tell(f"{potential.name}: {counted(len(chosen.atoms), 'structure')}, {int(chosen.n_atoms.sum()):,} atoms")
        found = predict_labels(results, settings, potential, chosen, cores)
        evaluators[potential.id] = found.evaluator
        speed = _speed(results, settings, potential, tell, in_lammps) if with_speed else potential.speed
        head = {"potential": potential.name, "potential_id": potential.id}
        rows += [
            {**head, **row, **(_speed_columns(speed) if row["group"] == "all" else {})}
            for row in group_rows(chosen, found.residuals)
        ]
        files.append(results.artifacts.put_bytes(_data_of(chosen, found), f"{DATA_PREFIX}{potential.id}.npz"))
    rows.sort(key=lambda row: row["group"] != "all")
    study = _study(name or chosen.name, potentials, chosen, rows, files, evaluators)
    results.add(study)
    return study


@dataclass(frozen=True)
class PredictedLabels:
    """Labels beside predictions: energies per atom without free atoms (n_structures,), forces (sum of n_atoms, 3)."""

    energies_ref_eV: np.ndarray
    energies_eV: np.ndarray
    forces_ref_eV_A: np.ndarray
    forces_eV_A: np.ndarray
    evaluator: str

    @property
    def residuals(self) -> Residuals:
        """Return prediction minus label."""
        return Residuals(self.energies_eV - self.energies_ref_eV, self.forces_eV_A - self.forces_ref_eV_A)


def predict_labels(
    results: Results, settings: Settings, potential: Potential, chosen: EvaluationSet, cores: int = 1
) -> PredictedLabels:
    """Predict labels by a potential, whose elements are known to suffice.

    Raises as :func:`gst_jobflow.evaluation.predict.predict`.
    """
    with tempfile.TemporaryDirectory(prefix="gst_evaluate_") as folder:
        predicted = _predict(results, settings, potential, chosen, cores, Path(folder))
    references, source = _references(results, potential, chosen, predicted.energies_eV)
    return PredictedLabels(
        (chosen.energies_eV - zero_of(chosen, references)) / chosen.n_atoms,
        predicted.energies_eV / chosen.n_atoms,
        np.concatenate(chosen.forces_eV_A),
        predicted.forces_eV_A,
        f"{predicted.evaluator}; energy zero: {source}",
    )


def _data_of(chosen: EvaluationSet, found: PredictedLabels) -> bytes:
    """Return the data of the figures."""
    forces = found.forces_ref_eV_A
    arrays: dict[str, Any] = {
        "energy_ref": found.energies_ref_eV,
        "energy_pred": found.energies_eV,
        "config_type": np.array(chosen.config_types),
        "min_distance_A": chosen.min_distances_A,
        "n_atoms": chosen.n_atoms,
        "name": np.array(chosen.label_ids),
        "split": np.full(len(chosen.atoms), "evaluated"),
        "force_ref": forces.ravel(),
        "force_pred": found.forces_eV_A.ravel(),
        "force_config_type": np.repeat(chosen.config_types, 3 * chosen.n_atoms),
        "force_split": np.full(forces.size, "evaluated"),
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def _predict(
    results: Results, settings: Settings, potential: Potential, chosen: EvaluationSet, cores: int, folder: Path
) -> Predicted:
    if potential.kind == "ace":
        return predict(settings, link_potential(results, potential, folder), chosen.atoms, cores)
    if potential.kind not in OWN_KINDS:
        plugin, files = plugin_kind(potential.kind), link_other(results, potential, folder)
        return by_calculator(plugin.calculator(files, potential.elements), chosen.atoms)
    file = _file_of_pyace(results, potential, folder)
    return by_pyace(pacemaker_runner(settings).python, str(file), chosen.atoms, cores, potential.kind)


def _file_of_pyace(results: Results, potential: Potential, folder: Path) -> Path:
    """Link the file that pyace reads into `folder` under its name, whose suffix tells the kind."""
    ref = potential.artifacts.yace if potential.kind == "ace" else potential.artifacts.yaml
    if ref is None:
        raise DataError(f"potential {potential.id} has lost its file", "gst db check")
    return results.artifacts.fetch(ref, folder)


def _references(
    results: Results, potential: Potential, chosen: EvaluationSet, predicted_eV: np.ndarray
) -> tuple[dict[str, float], str]:
    """Return the energies of free atoms that the potential leaves out, eV, and their source."""
    why = "since the potential was imported"
    if potential.dataset_id is not None:
        dataset = results.get(Dataset, potential.dataset_id)
        if dataset.fingerprint == chosen.fingerprint:
            return dataset.reference_energies_eV, "of its dataset"
        why = "which are of another method than those of its dataset"
    return fitted_zero(chosen, predicted_eV), f"fitted to these labels, {why}"


def _speed(
    results: Results, settings: Settings, potential: Potential, tell: Callable[[str], None], in_lammps: bool
) -> Speed | None:
    if not in_lammps and potential.kind not in OWN_KINDS:
        tell(f"speed of {potential.name} not measured: LAMMPS cannot run all of these, and pyace cannot run it")
        return None
    if not in_lammps:
        with tempfile.TemporaryDirectory(prefix="gst_evaluate_") as name:
            file = _file_of_pyace(results, potential, Path(name))
            return measure_in_python(pacemaker_runner(settings).python, file, potential.elements, potential.kind)
    try:
        engine = lammps_engine(settings, n_ranks=1)
    except MissingProgramError as err:
        tell(f"speed not measured: {err.message}")
        return None
    with tempfile.TemporaryDirectory(prefix="gst_evaluate_") as folder:
        return measure(engine, link_potential(results, potential, Path(folder)))


def _speed_columns(speed: Speed | None) -> dict[str, Any]:
    if speed is None:
        return {"us_per_atom_step": None}
    return {
        "us_per_atom_step": speed.us_per_atom_step,
        "ranks": speed.ranks,
        "speed_atoms": speed.n_atoms,
        "timed_by": "pyace in ASE" if speed.pair_style.endswith("pyace in ASE") else "LAMMPS",
    }


def _study(
    name: str,
    potentials: Sequence[Potential],
    chosen: EvaluationSet,
    rows: list[dict[str, Any]],
    files: list[ArtifactRef],
    evaluators: dict[str, str],
) -> Study:
    members = [Member(collection="potentials", id=each.id, role="evaluated") for each in potentials]
    if chosen.dataset_id is not None:
        members.append(Member(collection="datasets", id=chosen.dataset_id, role="labels"))
    plan = {
        "labels": chosen.name,
        "fingerprint": chosen.fingerprint,
        "n_structures": len(chosen.atoms),
        "n_atoms": int(chosen.n_atoms.sum()),
        "evaluators": evaluators,
        "potentials": [
            {
                "name": each.name,
                "id": each.id,
                "kind": each.kind,
                "n_densities": each.n_densities,
                "n_functions": each.n_functions,
                "cutoff_A": each.cutoff_A,
            }
            for each in potentials
        ],
    }
    # an own name makes another study, else nobody would find the evaluation by it
    named = [name] if name != chosen.name else []
    return Study(
        id=derive_id("evaluation", plan, rows, *named),
        name=name,
        kind="evaluation",
        state="finished",
        plan=plan,
        members=members,
        table=rows,
        files=files,
        finished_at=now(),
    )
