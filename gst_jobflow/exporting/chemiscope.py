"""Write a dataset as a map of its structures, a file that chemiscope.org opens.

The format is that of chemiscope 1 (Fraux, Cersonsky and Ceriotti, J. Open Source Softw. 5, 2117, 2020): JSON with
`meta`, `structures`, `properties` of each structure, and `settings` of the first view.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from ase import Atoms
from ase.data import chemical_symbols

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.base.atomic import replacing
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Settings
from gst_jobflow.datasets.members import read_members
from gst_jobflow.datasets.read import MemberRow, stream_rows
from gst_jobflow.documents import Dataset, Potential
from gst_jobflow.dynamics.potential_files import check_knows_elements
from gst_jobflow.evaluation.evaluate import predict_labels
from gst_jobflow.evaluation.labels import EvaluationSet
from gst_jobflow.exporting.targets import check_target
from gst_jobflow.store import Results
from gst_jobflow.structures.composition import parse_formula, reduced_formula

MOST_STRUCTURES = 5000
"""Structures of a map by default; a browser shows them without delay."""
MOST_ATOMS = 1_000_000
"""Atoms of a map; its file then has about 30 MB, and a browser needs a few GB."""
_ENDINGS = (".json", ".json.gz")
_COMPONENTS = 3
# chemiscope 1.1 takes words for categories only if there are at most so many
_MOST_WORDS = 20
# of positions and cells, which are only shown
_DIGITS = 4

Progress = Callable[[str, int, int], None]
Properties = dict[str, dict[str, Any]]


def write_map(
    results: Results,
    settings: Settings,
    dataset: Dataset,
    target: Path,
    *,
    potential: Potential | None = None,
    split: str | None = None,
    most: int = MOST_STRUCTURES,
    force: bool = False,
    cores: int = 1,
    progress: Progress = lambda what, done, total: None,
) -> int:
    """Write structures of a dataset, properties of their labels and a map by SOAP to one file; return their number.

    Parameters
    ----------
    target
        Ends in `.json` or `.json.gz`.
    potential
        Also show its errors.
    split
        `train` or `test`; None: both.
    most
        Draw so many structures of a larger dataset; see `stream_rows`.
    force
        Replace an existing file.

    Raises
    ------
    InputError
        The target does not fit, the potential lacks an element, or there are too few structures or too many atoms.
    DataError
        A label or structure is missing or incomplete; nothing is written.
    """
    _check_target(target, force)
    if potential is not None:
        check_knows_elements(potential, dataset.elements, "name a potential of the dataset's elements, or none")
    rows = _rows(results, dataset, split, most, progress)
    atoms = [row.labelled(dataset).atoms for row in rows]
    properties = {**_map(atoms, dataset.elements, cores, progress), **_of_labels(rows, dataset)}
    properties["member"] = _places(results, dataset, rows)
    if potential is not None:
        properties |= _errors(results, settings, potential, _labels(rows, atoms, dataset), cores)
    meta = {"name": dataset.name, "description": _description(dataset, len(rows), potential)}
    _write(target, meta, atoms, properties, "energy" if potential is None else "force error")
    return len(rows)


def _check_target(target: Path, force: bool) -> None:
    if not target.name.endswith(_ENDINGS):
        raise InputError(f"{target.name}: chemiscope opens .json and .json.gz", "name the map so: -o map.json.gz")
    check_target(target, force)


def _rows(results: Results, dataset: Dataset, split: str | None, most: int, progress: Progress) -> list[MemberRow]:
    total = min(most, dataset.n_members if split is None else dataset.counts.get(split, 0))
    if total < _COMPONENTS:
        raise InputError(f"{total} structures make no map", f"take {_COMPONENTS} or more of dataset {dataset.id}")
    rows: list[MemberRow] = []
    n_atoms = 0
    for row in stream_rows(results, dataset, split, lambda done: progress("structures", done, total), most):
        n_atoms += len(row.numbers)
        if n_atoms > MOST_ATOMS:
            raise InputError(
                f"a map of {total:,} structures has more than {MOST_ATOMS:,} atoms, too many for a browser",
                f"take fewer structures: --most {max(_COMPONENTS, len(rows))}",
            )
        rows.append(row)
    return rows


def _map(structures: Sequence[Atoms], elements: Sequence[str], cores: int, progress: Progress) -> Properties:
    """Return the principal components of the structures' mean SOAP spectra."""
    from sklearn.decomposition import PCA

    describe = partial(mean_spectrum, options=SoapOptions(species=True), elements=sorted(elements))
    spectra = []
    with ThreadPoolExecutor(cores) as pool:
        for spectrum in pool.map(lambda each: describe(_in_a_cell(each)), structures):
            spectra.append(spectrum)
            progress("described", len(spectra), len(structures))
    # a large decomposition is approximate and draws numbers: the same ones each time
    model = PCA(n_components=_COMPONENTS, random_state=0)
    components = model.fit_transform(np.array(spectra)).T
    about = "principal component of mean SOAP spectra, {:.1%} of their variance"
    return {
        f"PC {number}": _property(values.tolist(), about.format(share))
        for number, (values, share) in enumerate(zip(components, _shares(model), strict=True), 1)
    }


def _property(values: list[Any], description: str = "", units: str = "") -> dict[str, Any]:
    found = {"values": values, "units": units, "description": description}
    return {key: value for key, value in found.items() if key == "values" or value}


def _shares(model: Any) -> np.ndarray:
    # of structures that are all alike there is no variance to share
    return np.nan_to_num(model.explained_variance_ratio_)


def _in_a_cell(atoms: Atoms) -> Atoms:
    """Return atoms with a cell, which molecules may lack."""
    if atoms.cell.volume > 0:
        return atoms
    boxed = atoms.copy()
    boxed.center(vacuum=1.0)
    return boxed


def _of_labels(rows: Sequence[MemberRow], dataset: Dataset) -> Properties:
    """Return what labels and structures are known by."""
    n_atoms = np.array([len(row.numbers) for row in rows])
    symbols = [[chemical_symbols[number] for number in row.numbers] for row in rows]
    free = np.array([sum(dataset.reference_energies_eV[each] for each in names) for names in symbols])
    energy = (np.array([row.energy_eV for row in rows]) - free) / n_atoms
    force = [float(np.linalg.norm(row.forces_eV_A, axis=1).max()) for row in rows]
    volume = np.array([abs(np.linalg.det(row.cell_A)) for row in rows]) / n_atoms
    return {
        "energy": _property(energy.tolist(), "label, relative to the reference energies of the dataset", "eV/atom"),
        "largest force": _property(force, "label, on one atom", "eV/Å"),
        "volume": _property(volume.tolist(), "of the cell", "Å³/atom"),
        "atoms": _property(n_atoms.tolist()),
        "iteration": _property([row.iteration for row in rows], "of the training protocol"),
        "config type": _property([row.config_type for row in rows]),
        "composition": _property(_common([reduced_formula(parse_formula("".join(names))) for names in symbols])),
        "split": _property([row.split for row in rows], "side of the dataset"),
    }


def _common(words: Sequence[str]) -> list[str]:
    """Return words of which the rarer ones are "other" if there are too many."""
    counts = Counter(words)
    kept = set(counts) if len(counts) <= _MOST_WORDS else {word for word, _ in counts.most_common(_MOST_WORDS - 1)}
    return [word if word in kept else "other" for word in words]


def _places(results: Results, dataset: Dataset, rows: Sequence[MemberRow]) -> dict[str, Any]:
    """Return the way back to the labels, whose ids are too many for words."""
    wanted = {row.label_id for row in rows}
    ids = (member["label_id"] for member in read_members(results.artifacts, dataset))
    found = {id: line for line, id in enumerate(ids, 1) if id in wanted}
    about = f"line of gst dataset show {dataset.id} --members, which has the ids of label and structure"
    return _property([found[row.label_id] for row in rows], about)


def _labels(rows: Sequence[MemberRow], atoms: list[Atoms], dataset: Dataset) -> EvaluationSet:
    return EvaluationSet(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        label_ids=[row.label_id for row in rows],
        atoms=atoms,
        energies_eV=np.array([row.energy_eV for row in rows]),
        forces_eV_A=[row.forces_eV_A for row in rows],
        config_types=[row.config_type for row in rows],
        formulas=[each.get_chemical_formula() for each in atoms],
        iterations=[row.iteration for row in rows],
        min_distances_A=np.full(len(rows), np.nan),
        dataset_id=dataset.id,
    )


def _errors(
    results: Results, settings: Settings, potential: Potential, labels: EvaluationSet, cores: int
) -> Properties:
    found = predict_labels(results, settings, potential, labels, cores)
    energies = 1e3 * found.residuals.energy_eV_per_atom
    forces = np.split(1e3 * found.residuals.forces_eV_A, np.cumsum(labels.n_atoms)[:-1])
    rms = [float(np.sqrt(np.mean(each**2))) for each in forces]
    return {
        "energy error": _property(energies.tolist(), f"{potential.name} minus label; {found.evaluator}", "meV/atom"),
        "force error": _property(
            rms, f"root mean square of {potential.name} minus label, over force components", "meV/Å"
        ),
    }


def _description(dataset: Dataset, n_structures: int, potential: Potential | None) -> str:
    shown = f"{n_structures:,} of {dataset.n_members:,} labels of dataset {dataset.id}, method {dataset.fingerprint}."
    more = "" if potential is None else f" Errors of potential {potential.name} ({potential.id})."
    return f"{shown}{more} Map: principal components of mean SOAP spectra with elements told apart."


def _structure(atoms: Atoms) -> dict[str, Any]:
    x, y, z = np.round(atoms.positions, _DIGITS).T.tolist()
    found = {"size": len(atoms), "names": atoms.get_chemical_symbols(), "x": x, "y": y, "z": z}
    cell = np.round(atoms.cell.array, _DIGITS).ravel().tolist()
    return found | ({"cell": cell} if atoms.cell.volume > 0 else {})


def _write(target: Path, meta: dict[str, str], atoms: Sequence[Atoms], properties: Properties, colour: str) -> None:
    """Write the file; its first view is coloured by the property `colour`."""
    axes = {"x": {"property": "PC 1"}, "y": {"property": "PC 2"}, "color": {"property": colour}}
    view = {"target": "structure", "map": {**axes, "symbol": "config type"}, "structure": [{"unitCell": True}]}
    content = {
        "meta": meta,
        "structures": [_structure(each) for each in atoms],
        "properties": {name: {"target": "structure", **each} for name, each in properties.items()},
        "settings": view,
    }
    data = orjson.dumps(content)
    with replacing(target) as part:
        part.write_bytes(gzip.compress(data, mtime=0) if target.suffix == ".gz" else data)
