"""Frames of dynamics from first principles in the database, with which amorphous cells are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.datasets.members import load_members
from gst_jobflow.documents import Dataset, Structure
from gst_jobflow.selection.sample import Request, evenly, find_runs, sample
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located
from gst_jobflow.store.query import make_query
from gst_jobflow.structures.composition import parse_formula, reduced_formula

_EVERY_PS = 1e-6
"""Below the timestep, so all frames are taken."""
_FIELDS = {"group": 1, "formula": 1, "n_atoms": 1, "density_g_cm3": 1, "source": 1}


class ReferenceFrames(StrictModel):
    """Labelled frames of one composition.

    `runs` holds the ids of structures by run, each in order of time.
    """

    formula: str
    fingerprint: str = Field(description="Method of their labels")
    runs: list[list[str]]
    n_atoms: list[int] = Field(description="Sizes of the cells")
    density_g_cm3: float = Field(description="Mean density")
    temperature_K: float | None = Field(None, description="Mean temperature where it was measured")

    @property
    def n_frames(self) -> int:
        """Number of frames of all runs."""
        return sum(len(run) for run in self.runs)

    def thinned(self, number: int) -> ReferenceFrames:
        """Return at most `number` frames, evenly from each run; of more runs than that, evenly some."""
        runs = evenly(self.runs, min(number, len(self.runs)))
        each = number // len(runs)
        return self.model_copy(update={"runs": [evenly(run, min(each, len(run))) for run in runs]})


class ReferenceSource(StrictModel):
    """Where reference frames are looked for: trajectories, datasets, and conditions on stored structures.

    Of datasets, and where nothing is named, frames of config type `aimd` count.
    """

    trajectories: list[str] = Field(default_factory=list, description="First-principles runs: ids or names")
    datasets: list[str] = Field(default_factory=list, description="Ids or names; their frames of config type aimd")
    where: list[str] = Field(default_factory=list, description="Conditions as in gst query structures")
    after_ps: float = Field(0.0, ge=0, description="Skip this time at the start of each trajectory")
    fingerprint: str | None = Field(None, description="Method of the labels, where frames have several")


def find_reference_frames(
    results: Results, source: ReferenceSource, compositions: Sequence[str]
) -> dict[str, ReferenceFrames]:
    """Find the reference frames of each composition; of all that there are, where none is named.

    Raises InputError if a composition has no frames, a run is of another one, or the labels are of several methods.
    """
    wanted = {reduced_formula(parse_formula(formula)): formula for formula in compositions}
    temperatures = _frames_of_runs(results, source, wanted)
    ids = {*temperatures, *_frames_of_datasets(results, source), *_frames_by_query(results, source)}
    documents = {each["_id"]: each for each in _documents(results, ids, wanted)}
    fingerprint, labelled = _labelled(results, source.fingerprint, list(documents))
    by_formula: dict[str, list[dict[str, Any]]] = {}
    for id in labelled:
        by_formula.setdefault(documents[id]["formula"], []).append(documents[id])
    missing = [formula for reduced, formula in wanted.items() if reduced not in by_formula]
    if missing or not by_formula:
        raise InputError(
            f"no labelled reference frames{' of ' if missing else ''}{', '.join(missing)}",
            "name them by --trajectory, --dataset or --where; gst submit aimd or gst structures import makes some",
        )
    return {
        wanted.get(formula, formula): _of_formula(wanted.get(formula, formula), found, fingerprint, temperatures)
        for formula, found in sorted(by_formula.items())
    }


def _of_formula(
    formula: str, found: list[dict[str, Any]], fingerprint: str, temperatures: Mapping[str, float | None]
) -> ReferenceFrames:
    runs: dict[str, list[dict[str, Any]]] = {}
    for document in sorted(found, key=_order):
        runs.setdefault(document["group"], []).append(document)
    known_K = [kelvin for each in found if (kelvin := temperatures.get(each["_id"])) is not None]
    return ReferenceFrames(
        formula=formula,
        fingerprint=fingerprint,
        runs=[[each["_id"] for each in run] for run in runs.values()],
        n_atoms=sorted({each["n_atoms"] for each in found}),
        density_g_cm3=float(np.mean([each["density_g_cm3"] for each in found])),
        temperature_K=float(np.mean(known_K)) if len(known_K) == len(found) else None,
    )


def _order(document: Mapping[str, Any]) -> tuple[str, str, float, str]:
    """Return a key that sorts frames by time: those of a file as they stand in it, others by run and step.

    Imported frames may each be a group of their own; in any other order blocks of them would look independent.
    """
    source = document.get("source", {})
    file = str(source.get("file", ""))
    return file, "" if file else document["group"], source.get("step", source.get("index", 0)), document["_id"]


def _frames_of_runs(results: Results, source: ReferenceSource, wanted: Mapping[str, str]) -> dict[str, float | None]:
    """Return the frames of first-principles runs with their temperatures, K."""
    found: dict[str, float | None] = {}
    for text in source.trajectories:
        for run in find_runs(results, text):
            if run.potential_id is not None:
                raise InputError(
                    f"trajectory {run.name} is dynamics with potential {run.potential_id}, not from first principles",
                    "name a run of gst submit aimd",
                )
            if wanted and run.formula not in wanted:
                raise InputError(
                    f"trajectory {run.name} is of {run.formula}, not of {', '.join(wanted.values())}",
                    "name runs of the compositions to validate, or add its own to --compositions",
                )
            for stage in sample(results, [run], Request(_EVERY_PS, source.after_ps)):
                found |= {str(pick.found.structure_id): pick.temperature_K for pick in stage.picks}
    return found


def _frames_of_datasets(results: Results, source: ReferenceSource) -> list[str]:
    found: list[str] = []
    for text in source.datasets:
        members = load_members(results, get_located(results, Dataset, text))
        is_aimd = np.array([kind == "aimd" for kind in members.config_types.list()], dtype=bool)
        ids = [id.decode() for id in members.structure_ids[is_aimd].tolist()]
        if not ids:
            raise InputError(f"dataset {text} has no frames of config type aimd", "select frames by --where")
        found += ids
    return found


def _frames_by_query(results: Results, source: ReferenceSource) -> list[str]:
    """Return the structures of `where`; without any source those of config type `aimd`."""
    conditions = source.where or ([] if source.trajectories or source.datasets else ["config_type=aimd"])
    if not conditions:
        return []
    return [each["_id"] for each in make_query("structures", conditions).cursor(results.database, {"_id": 1})]


def _documents(results: Results, ids: Iterable[str], wanted: Mapping[str, str]) -> list[dict[str, Any]]:
    where: dict[str, Any] = {"_id": {"$in": sorted(ids)}, **({"formula": {"$in": list(wanted)}} if wanted else {})}
    return list(results.database[Structure.collection].find(where, _FIELDS))


def _labelled(results: Results, fingerprint: str | None, ids: list[str]) -> tuple[str, list[str]]:
    """Return the method of the frames' labels, and the frames that have a converged label of it."""
    where: dict[str, Any] = {"structure_id": {"$in": ids}, "state": "converged"}
    methods: dict[str, list[str]] = {}
    for label in results.database["labels"].find(where, {"structure_id": 1, "fingerprint": 1}):
        methods.setdefault(label["fingerprint"], []).append(label["structure_id"])
    matching = sorted(method for method in methods if method.startswith(fingerprint or ""))
    if len(matching) > 1:
        raise InputError(
            f"labels of the reference frames are of {len(matching)} methods: {', '.join(matching)}",
            "choose one with --fingerprint",
        )
    if fingerprint is not None and not matching:
        raise InputError(
            f"no reference frame has a label of method {fingerprint}",
            f"their methods: {', '.join(sorted(methods)) or 'none'}",
        )
    return (matching[0], methods[matching[0]]) if matching else ("", [])
