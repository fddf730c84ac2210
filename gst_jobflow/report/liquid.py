"""Read the liquid structure of runs for figures, and that of frames from first principles beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

import numpy as np

from gst_jobflow.analysis.averages import BlockMean
from gst_jobflow.analysis.distributions import Pair
from gst_jobflow.analysis.plan import formula_of
from gst_jobflow.analysis.reference_frames import ReferenceSource, find_reference_frames
from gst_jobflow.analysis.series import FRAMES, Series, newest
from gst_jobflow.analysis.validation import LocalStructure, local_structure
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.words import counted
from gst_jobflow.documents import Study, Trajectory
from gst_jobflow.report.figures.analysis import LiquidStructure
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.structures.composition import parse_formula, reduced_formula

_MOST_FRAMES = 50
_MOST_ANALYSED = 3


def liquid_structures(
    results: Results, steps: Sequence[tuple[str, Trajectory]], source: ReferenceSource | None = None
) -> tuple[list[LiquidStructure], str]:
    """Return the liquid structure of runs with the analysis ``liquid``, and of first principles beside them.

    Beside each composition stand the labelled frames that `source` names. Without it, up to three analysed runs or
    analysed sets of frames from first principles count, else the labelled structures of config type aimd.

    Returns
    -------
    list of LiquidStructure
        Empty if no run has the analysis.
    str
        What stands beside the runs, or why nothing does and what to do about it.

    Raises
    ------
    InputError
        `source` names frames that do not fit.
    DataError
        A file is gone.
    """
    there = [each for name, run in steps if (each := _of_document(results, name, run)) is not None]
    with_potential = {_formula(results, run): run for _, run in steps if run.potential_id and newest(run, "liquid")}
    said = []
    for formula, run in with_potential.items():
        beside, sentence = _first_principles(results, formula, run, source)
        there += beside
        said.append(sentence)
    return there, " ".join(said)


def _first_principles(
    results: Results, formula: str, run: Trajectory, source: ReferenceSource | None
) -> tuple[list[LiquidStructure], str]:
    """Return what stands beside a run, and a sentence on it or on why there is nothing."""
    if source is not None:
        return _of_frames(results, formula, run, source)
    documents = _from_first_principles(results, formula)
    analysed = (_of_document(results, f"{each.name} (first principles)", each) for each in documents)
    if beside := list(islice((each for each in analysed if each is not None), _MOST_ANALYSED)):
        return beside, f"First principles of {formula}: {', '.join(each.made_of[0] for each in beside)}."
    try:
        return _of_frames(results, formula, run, ReferenceSource(where=["config_type=aimd", f"composition={formula}"]))
    except (InputError, DataError) as err:
        return [], f"No first principles: {err.message} ({err.fix})."


def _formula(results: Results, run: Trajectory) -> str:
    return reduced_formula(parse_formula(formula_of(results, run)))


def _from_first_principles(results: Results, formula: str) -> Iterator[Trajectory | Study]:
    """Yield analysed runs from first principles of a composition, and studies of stored frames of such runs."""
    where = {"potential_id": None, "formula": formula, f"analysis.{FRAMES}": {"$exists": True}}
    yield from results.find(Trajectory, where, [("created_at", -1)])
    for study in results.find(Study, {"kind": "analysis", "state": "finished"}, [("created_at", -1)]):
        first = next((member.id for member in study.members if member.collection == "structures"), None)
        wanted = {"_id": first, "config_type": "aimd", "formula": formula}
        if first is not None and results.database["structures"].find_one(wanted, {"_id": 1}) is not None:
            yield study


def _of_document(results: Results, title: str, run: Trajectory | Study) -> LiquidStructure | None:
    series = newest(run, "liquid")
    if series is None or not series.steps:
        return None
    chosen = series.steps[:: max(1, len(series.steps) // _MOST_FRAMES)]
    frames = [series.arrays(results.artifacts, step) for step in chosen]
    names = [name for name in frames[0] if name.startswith(("rdf.", "angles.", "altbc."))]
    curves = {name: np.mean([frame[name] for frame in frames], axis=0) for name in names}
    first_principles = isinstance(run, Study) or run.potential_id is None
    return LiquidStructure(title, curves, first_principles, (f"{run.collection}/{run.id}",), _means(series))


def _means(series: Series) -> dict[str, tuple[float, float]]:
    """Return mean and standard error of each number of a series; NaN where they cannot be told."""
    found = {}
    for name in series.numbers:
        blocks = BlockMean()
        for value in series.column(name)[1]:
            blocks.add(value)
        mean = blocks.mean()
        found[name] = (float(mean.value), float(mean.error))
    return found


def _of_frames(
    results: Results, formula: str, run: Trajectory, source: ReferenceSource
) -> tuple[list[LiquidStructure], str]:
    """Return the structure of labelled frames, analysed with the bonds of a run's analysis, and what they are."""
    reference = find_reference_frames(results, source, [formula])[formula].thinned(_MOST_FRAMES)
    series = newest(run, "liquid")
    assert series is not None  # the caller has looked
    longest_A = series.described["parameters"]["bonds_A"]
    bonds = tuple((pair, math.nan if end is None else end) for pair, end in longest_A.items())
    ids = tuple(map(tuple, reference.runs))
    found = _averaged(results, ids, bonds, series.anion)
    means = {name: (float(mean.value), float(mean.error)) for name, mean in found.numbers().items()}
    curves = {name: mean.value for name, mean in found.curves().items()} | found.axes
    at_K = "temperature unknown" if reference.temperature_K is None else f"{reference.temperature_K:.0f} K"
    number = counted(reference.n_frames, "frame")
    made_of = [f"structures/{id}" for each in ids for id in each]
    said = (
        f"First principles of {formula}: {number} of {counted(len(ids), 'run')}, {at_K}, method "
        f"{reference.fingerprint}, {made_of[0]}{' and others' if len(made_of) > 1 else ''}."
    )
    return [LiquidStructure(f"{formula}, first principles ({number})", curves, True, made_of, means)], said


@lru_cache(maxsize=8)
def _averaged(
    results: Results, runs: tuple[tuple[str, ...], ...], bonds: tuple[tuple[str, float], ...], anion: str
) -> LocalStructure:
    """Average stored frames, which never change; several figures and runs share them."""
    longest_A: dict[Pair, float] = {}
    for pair, end in bonds:
        one, _, other = pair.partition("-")
        longest_A[one, other] = end
    return local_structure([[load_atoms(results, id) for id in run] for run in runs], longest_A, anion)
