"""Read the data of a report on labels; forces are streamed, so 10^5 labels fit in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets.duplicates import NearDuplicate, near_duplicates
from gst_jobflow.datasets.references import least_squares
from gst_jobflow.datasets.table import CategoricalColumn, Members, texts_of
from gst_jobflow.documents import Structure, unpack
from gst_jobflow.labelling.cost import CostModel, fitted
from gst_jobflow.report.words import FIRST_PRINCIPLES
from gst_jobflow.store import Results
from gst_jobflow.store.query import label_filters
from gst_jobflow.structures.composition import parse_formula

Progress = Callable[[str, int, int], None]
Sizes = tuple[float, float | None]
"""Volume per atom, Å³, and closest contact, Å, of a structure."""

_BATCH = 500
FORCE_EDGES_eV_A = np.logspace(-4, 3, 281)
"""Bins of force magnitudes, 40 a decade: quantiles are accurate to 3 %."""
OUTLIER_SCORE = 8.0
"""Robust z-score above which a label counts as an outlier."""
_FEWEST_ALIKE = 8
_SMALLEST_SPREAD = {"energy": 2e-3, "force": 0.05}
_OUTLIERS_KEPT = 50
MOST_COMPARED = 5_000
"""Most labels of a method for which near-duplicates are computed by default."""
TOLERANCE_A = 0.01
_SAMPLED = 20_000
_LABEL_FIELDS = (
    "structure_id", "fingerprint", "state", "failure_class", "reason", "formula", "config_type", "n_atoms", "energy_eV",
    "max_force_eV_A", "wall_s",
)  # fmt: skip


@dataclass(frozen=True)
class Columns(Members):
    """Converged labels of one method, in the order of the structure ids, as members of a dataset.

    Also the wall time of each, the volume of an atom, and the closest contact; shapes (n,).
    """

    wall_s: np.ndarray
    volume_A3: np.ndarray
    min_distance_A: np.ndarray


@dataclass
class Outlier:
    """A label far from the median of its formula and config_type."""

    label_id: str
    structure_id: str
    formula: str
    config_type: str
    what: str
    value: float
    median: float
    score: float


@dataclass
class MethodData:
    """All labels of one method.

    Attributes
    ----------
    states, failures
        Number of labels by state, and of unconverged ones by (class, reason).
    references_eV
        Energy of an atom of each element, from least squares over the converged labels.
    force_counts
        Number of atoms in each bin of `FORCE_EDGES_eV_A`, by config_type.
    near
        Near-duplicates among the converged labels; None: not computed.
    """

    fingerprint: str
    method: dict[str, Any]
    columns: Columns
    states: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    references_eV: dict[str, float] = field(default_factory=dict)
    force_counts: dict[str, np.ndarray] = field(default_factory=dict)
    outliers: list[Outlier] = field(default_factory=list)
    n_outliers: int = 0
    near: list[NearDuplicate] | None = None
    wall_s: float = 0.0
    cost: CostModel = field(default_factory=lambda: CostModel(2.0))

    @property
    def relative_eV(self) -> np.ndarray:
        """Return energies per atom less atomic reference energies, shape (n,)."""
        return self.columns.energies_eV - reference_eV(self.columns.formulas, self.references_eV)


@dataclass
class MethodDifference:
    """Differences between two methods on a set of structures."""

    n_structures: int = 0
    n_components: int = 0
    energy_rmse_meV: float = 0.0
    energy_worst_meV: float = 0.0
    force_rmse_meV_A: float = 0.0
    force_mae_meV_A: float = 0.0


@dataclass
class Comparison:
    """Two methods on the same structures.

    `energy` (n, 2) eV/atom, less atomic reference energies of each method, of `config_types` (n,); `force` (m, 2) eV/Å
    is a sample of components, of `force_config_types` (m,). Errors cover all components.
    """

    reference: str
    other: str
    errors: MethodDifference
    by_config_type: dict[str, MethodDifference]
    energy: np.ndarray
    config_types: np.ndarray
    force: np.ndarray
    force_config_types: np.ndarray


@dataclass
class LabelData:
    """Data of the report; methods in descending order of their number of labels."""

    methods: list[MethodData]
    comparisons: list[Comparison]
    n_structures: int
    where: list[str] = field(default_factory=list)


def collect_labels(
    results: Results,
    where: Sequence[str] = (),
    fingerprints: Sequence[str] = (),
    reference: str | None = None,
    near_duplicates_A: float | None = None,
    progress: Progress | None = None,
) -> LabelData:
    """Read labels, and compare methods on the structures that they share.

    Parameters
    ----------
    where
        Conditions on structures, and on labels, as `label_filters` takes them.
    fingerprints
        Fingerprints of methods, or their beginnings; empty: all.
    reference
        Method to compare with; None: the first-principles one with most labels.
    near_duplicates_A
        Tolerance; None: `TOLERANCE_A` for up to `MOST_COMPARED` labels of a method.
    progress
        Called with a text, the number done and the total.

    Raises
    ------
    InputError
        No label matches, or a fingerprint matches no method or several.
    """
    tell = progress or (lambda *_: None)
    known = sorted(results.database["labels"].distinct("fingerprint"))
    chosen = [_full(text, known) for text in fingerprints] or known
    wanted = None if reference is None else _full(reference, known)
    of_labels, of_structures = label_filters(where, Structure)
    structures = _structures(results, of_structures) if of_structures else None
    methods = [_method(results, fingerprint, of_labels, structures, tell) for fingerprint in chosen]
    methods = sorted((each for each in methods if each.states), key=lambda each: -sum(each.states.values()))
    if not methods:
        raise InputError("no label matches", "gst query labels lists labels; gst submit label makes some")
    for each in methods:
        _add_numbers(results, each, near_duplicates_A, tell)
    pairs = _pairs(methods, wanted)
    comparisons = [found for one, other in pairs if (found := compare(results, one, other, tell)) is not None]
    ids = np.unique(np.concatenate([each.columns.structure_ids for each in methods]))
    return LabelData(methods, comparisons, len(ids), list(where))


def _full(text: str, known: list[str]) -> str:
    found = [fingerprint for fingerprint in known if fingerprint == text] or [
        fingerprint for fingerprint in known if fingerprint.startswith(text)
    ]
    if len(found) != 1:
        which = "several methods match" if found else "no method matches"
        raise InputError(f"{which} '{text}'", f"methods with labels: {', '.join(known) or 'none'}")
    return found[0]


def _structures(results: Results, where: dict[str, Any]) -> dict[bytes, Sizes]:
    """Return volume per atom and closest contact of matching structures by id."""
    found = results.database["structures"].find(where, {"volume_per_atom_A3": 1, "min_distance_A": 1})
    return {each["_id"].encode(): (each["volume_per_atom_A3"], each.get("min_distance_A")) for each in found}


def _method(
    results: Results,
    fingerprint: str,
    of_labels: dict[str, Any],
    structures: dict[bytes, Sizes] | None,
    tell: Progress,
) -> MethodData:
    labels, where = results.database["labels"], {"$and": [{"fingerprint": fingerprint}, of_labels]}
    total = labels.count_documents(where)
    one = labels.find_one({"fingerprint": fingerprint}, {"method": 1})
    data = MethodData(fingerprint, one["method"] if one else {}, _columns([], {}))
    parts: list[dict[str, Any]] = []
    for done, label in enumerate(labels.find(where, _LABEL_FIELDS).batch_size(_BATCH * 4), 1):
        tell("labels", done, total)
        if structures is not None and label["structure_id"].encode() not in structures:
            continue
        data.states[label["state"]] += 1
        data.wall_s += label["wall_s"]
        if label["state"] == "converged":
            parts.append(label)
        else:
            data.failures[label["failure_class"], label["reason"]] += 1
    if structures is None:
        structures = {}
        for ids in batches((label["structure_id"] for label in parts), _BATCH):
            structures |= _structures(results, {"_id": {"$in": ids}})
    parts.sort(key=lambda label: label["structure_id"])
    data.columns = _columns(parts, structures)
    return data


def _columns(labels: list[dict[str, Any]], structures: dict[bytes, Sizes]) -> Columns:
    # the label of a missing structure still counts; without contacts its distance None becomes NaN
    of = [structures.get(label["structure_id"].encode(), (np.nan, np.nan)) for label in labels]
    return Columns(
        **vars(Members.of_labels(labels)),
        wall_s=np.array([label["wall_s"] for label in labels], dtype=float),
        volume_A3=np.array([volume for volume, _ in of], dtype=float),
        min_distance_A=np.array([distance for _, distance in of], dtype=float),
    )


def _add_numbers(results: Results, data: MethodData, near_duplicates_A: float | None, tell: Progress) -> None:
    columns = data.columns
    if not len(columns):
        return
    data.references_eV = least_squares(columns)
    timed = columns.wall_s > 0
    data.cost = fitted(columns.n_atoms[timed].astype(float), columns.wall_s[timed], 2.0)
    found = outliers(columns, data.relative_eV)
    data.outliers, data.n_outliers = found[:_OUTLIERS_KEPT], len(found)
    data.force_counts = _force_counts(results, columns, tell)
    if near_duplicates_A is not None or len(columns) <= MOST_COMPARED:
        data.near = near_duplicates(
            results, columns, near_duplicates_A or TOLERANCE_A, lambda done, of: tell("compared", done, of)
        )


def reference_eV(formulas: CategoricalColumn, references_eV: dict[str, float]) -> np.ndarray:
    """Return the mean atomic reference energy of each row's formula, eV, shape (n,)."""
    of = []
    for word in formulas.known:
        counts = parse_formula(word)
        of.append(sum(counts[symbol] * references_eV[symbol] for symbol in counts) / sum(counts.values()))
    return np.array(of)[formulas.codes] if len(formulas.codes) else np.array([])


def outliers(columns: Columns, relative_eV: np.ndarray) -> list[Outlier]:
    """Return labels with an unusual energy or largest force for their formula and config_type, farthest first.

    Unusual is more than `OUTLIER_SCORE` robust standard deviations (1.4826 MAD) from the median of at least eight
    labels; forces are compared by their logarithm. An outlier deserves a look; it need not be wrong.
    """
    found: list[Outlier] = []
    kinds = columns.formulas.codes.astype(np.int64) * len(columns.config_types.known) + columns.config_types.codes
    for kind in np.unique(kinds):
        rows = np.flatnonzero(kinds == kind)
        if len(rows) < _FEWEST_ALIKE:
            continue
        forces = np.log(np.maximum(columns.max_forces_eV_A[rows], 1e-6))
        for what, values in (("energy", relative_eV[rows]), ("force", forces)):
            finite = np.isfinite(values)
            median = float(np.median(values[finite])) if finite.any() else np.nan
            spread = 1.4826 * float(np.median(np.abs(values[finite] - median))) if finite.any() else np.nan
            scores = np.abs(values - median) / max(spread, _SMALLEST_SPREAD[what])
            back = np.exp if what == "force" else np.asarray
            for place in np.flatnonzero(finite & (scores > OUTLIER_SCORE)):
                found.append(
                    Outlier(
                        label_id=columns.label_ids[rows[place]].decode(),
                        structure_id=columns.structure_ids[rows[place]].decode(),
                        formula=columns.formulas.known[columns.formulas.codes[rows[place]]],
                        config_type=columns.config_types.known[columns.config_types.codes[rows[place]]],
                        what=what,
                        value=float(back(values[place])),
                        median=float(back(median)),
                        score=float(scores[place]),
                    )
                )
    return sorted(found, key=lambda each: (-each.score, each.label_id))


def _force_counts(results: Results, columns: Columns, tell: Progress) -> dict[str, np.ndarray]:
    """Count atoms by magnitude of force and config_type."""
    counts = {name: np.zeros(len(FORCE_EDGES_eV_A) - 1, dtype=np.int64) for name in columns.config_types.counts()}
    for done, (row, forces) in enumerate(_forces(results, columns.label_ids), 1):
        tell("forces", done, len(columns))
        sizes = np.clip(np.linalg.norm(forces, axis=1), FORCE_EDGES_eV_A[0], FORCE_EDGES_eV_A[-1])
        name = columns.config_types.known[columns.config_types.codes[row]]
        counts[name] += np.histogram(sizes, FORCE_EDGES_eV_A)[0]
    return counts


def _forces(results: Results, label_ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield row and forces (N, 3) eV/Å of each label, in the order of the ids."""
    rows = iter(range(len(label_ids)))
    for part in batches(rows, _BATCH):
        ids = texts_of(label_ids[part])
        found = {
            each["_id"]: each["forces"]
            for each in results.database["labels"].find({"_id": {"$in": ids}, "forces": {"$ne": None}}, {"forces": 1})
        }
        for row, id in zip(part, ids, strict=True):
            if id not in found:
                raise DataError(f"label {id} was deleted meanwhile", "run the same command again")
            yield row, unpack(found[id], 3)


def quantile_eV_A(counts: np.ndarray, share: float) -> float | None:
    """Return the quantile `share` of force magnitudes; None without atoms."""
    total = counts.sum()
    if not total:
        return None
    place = int(np.searchsorted(np.cumsum(counts), share * total))
    return float(np.sqrt(FORCE_EDGES_eV_A[place] * FORCE_EDGES_eV_A[place + 1]))


def _pairs(methods: list[MethodData], reference: str | None) -> list[tuple[MethodData, MethodData]]:
    """Return (reference, other) of every comparison."""
    if len(methods) < 2:
        return []
    ranks = list(FIRST_PRINCIPLES)

    def order(each: MethodData) -> tuple[int, int]:
        code = str(each.method.get("code", "")).lower()
        return (ranks.index(code) if code in ranks else len(ranks), -len(each.columns))

    first = next((each for each in methods if each.fingerprint == reference), None)
    if reference is not None and first is None:
        raise InputError(f"no selected label is of {reference}", "choose another --reference, or other structures")
    first = first or min(methods, key=order)
    return [(first, other) for other in methods if other is not first]


def compare(results: Results, one: MethodData, other: MethodData, tell: Progress | None = None) -> Comparison | None:
    """Compare two methods on structures with converged labels of both; None without any.

    Atomic reference energies, from least squares over these structures for each method, are subtracted, so arbitrary
    zeros of energy cancel. What remains is the difference that a fit would see.
    """
    _, mine, theirs = np.intersect1d(
        one.columns.structure_ids, other.columns.structure_ids, assume_unique=True, return_indices=True
    )
    if not len(mine):
        return None
    pair = [(one.columns, mine), (other.columns, theirs)]
    members = [columns.take(rows) for columns, rows in pair]
    energy = np.stack([m.energies_eV - reference_eV(m.formulas, least_squares(m)) for m in members], axis=1)
    types = one.columns.config_types[mine]
    sums = {name: np.zeros(3) for name in types.counts()}
    random, share = np.random.default_rng(0), _SAMPLED / (3 * one.columns.n_atoms[mine].sum())
    sample, sample_types = [np.empty((0, 2))], [np.empty(0, dtype=np.int64)]
    streams = [_forces(results, columns.label_ids[rows]) for columns, rows in pair]
    for done, ((place, first), (_, second)) in enumerate(zip(*streams, strict=True), 1):
        if tell is not None:
            tell("compared forces", done, len(mine))
        difference = second - first
        sums[types.known[types.codes[place]]] += (
            difference.size, float((difference**2).sum()), float(np.abs(difference).sum())
        )  # fmt: skip
        drawn = random.random(difference.size) < share
        sample.append(np.stack([first.ravel()[drawn], second.ravel()[drawn]], axis=1))
        sample_types.append(np.full(int(drawn.sum()), types.codes[place]))
    names = np.array(types.list())
    gaps_meV = 1e3 * (energy[:, 1] - energy[:, 0])
    by_type = {name: _errors(gaps_meV[names == name], total) for name, total in sums.items()}
    return Comparison(
        one.fingerprint, other.fingerprint, _errors(gaps_meV, np.sum(list(sums.values()), axis=0)), by_type, energy,
        names, np.concatenate(sample), np.array(types.known)[np.concatenate(sample_types)],
    )  # fmt: skip


def _errors(gaps_meV: np.ndarray, sums: np.ndarray) -> MethodDifference:
    components, squares, absolute = sums
    return MethodDifference(
        n_structures=len(gaps_meV),
        n_components=int(components),
        energy_rmse_meV=float(np.sqrt(np.mean(gaps_meV**2))),
        energy_worst_meV=float(np.abs(gaps_meV).max()),
        force_rmse_meV_A=1e3 * float(np.sqrt(squares / max(components, 1))),
        force_mae_meV_A=1e3 * float(absolute / max(components, 1)),
    )
