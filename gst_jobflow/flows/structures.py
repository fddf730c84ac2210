"""Jobs that make structures and store them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Structure
from gst_jobflow.selection.failures import FailureFrames, failed_runs, failure_documents
from gst_jobflow.store.atoms import store_family
from gst_jobflow.store.context import job_results
from gst_jobflow.structures.families import CrystalSpec, crystal_family, hard_sphere_family
from gst_jobflow.structures.hard_sphere import HardSphereSpec


@dataclass
class HardSphereMaker(Maker):
    """Make hard-sphere random structures, several of each specification.

    Examples
    --------
    >>> spec = HardSphereSpec(formula="GeTe", n_atoms=32, density_g_cm3=(5.4, 6.2))
    >>> structures = HardSphereMaker(specs=[spec], n_each=10).make()
    """

    name: str = "hard-sphere structures"
    specs: list[HardSphereSpec] = field(default_factory=list)
    n_each: int = 1
    iteration: int = 0
    n_chunks: int = 1
    tags: list[str] = field(default_factory=list)

    @job
    def make(self) -> dict[str, Any]:
        """Return `structure_ids`, and the same in `chunks` for as many labelling jobs."""
        family = hard_sphere_family(self.specs, self.n_each)
        results = job_results()
        return _stored(*store_family(results, family, "hard_sphere", self.iteration, self.tags), self.n_chunks)


@dataclass
class CrystalMaker(Maker):
    """Make strained and rattled crystals.

    Examples
    --------
    >>> spec = CrystalSpec(kind="rocksalt", formula="Ge1Sb2Te4", repeat=(2, 2, 2), rattles_A=(0.1, 0.3))
    >>> structures = CrystalMaker(specs=[spec]).make()
    """

    name: str = "crystal structures"
    specs: list[CrystalSpec] = field(default_factory=list)
    iteration: int = 0
    n_chunks: int = 1
    tags: list[str] = field(default_factory=list)

    @job
    def make(self) -> dict[str, Any]:
        """Return `structure_ids`, and the same in `chunks` for as many labelling jobs."""
        family = (item for spec in self.specs for item in crystal_family(spec))
        results = job_results()
        return _stored(*store_family(results, family, "crystal", self.iteration, self.tags), self.n_chunks)


@in_category("md")
@dataclass
class FailureFramesMaker(Maker):
    """Make structures of the last sound frames before the failures of a robustness study, with their gamma.

    Examples
    --------
    >>> structures = FailureFramesMaker(frames=FailureFrames(number=3), iteration=2).make(study_id)  # doctest: +SKIP
    """

    name: str = "frames before failures"
    frames: FailureFrames = field(default_factory=FailureFrames)
    iteration: int = 0
    n_chunks: int = 1
    tags: list[str] = field(default_factory=list)

    @job
    def make(self, study_id: str, potential_ids: list[str] | None = None) -> dict[str, Any]:
        """Return `structure_ids` (none where all runs survived), and the same in `chunks` for labelling jobs.

        Only the failures of the given potentials are taken; None: of all in the study.
        """
        results = job_results()
        runs = failed_runs(results, study_id, potential_ids or [])
        settings = find_project().settings
        documents = failure_documents(results, settings, runs, self.frames, self.tags, self.iteration, cores())
        return _stored(documents, *results.add_many(documents), self.n_chunks)


def _stored(documents: list[Structure], new: int, known: int, n_chunks: int) -> dict[str, Any]:
    return {**dealt_out(documents, n_chunks), "new": new, "known": known}


def dealt_out(documents: Iterable[Structure], n_chunks: int) -> dict[str, Any]:
    """Return `structure_ids`, and the same in `chunks`: by size and in turn, so that jobs cost about the same."""
    by_size = sorted(documents, key=lambda document: (-document.n_atoms, document.id))
    ids = list(dict.fromkeys(document.id for document in by_size))
    return {"structure_ids": ids, "chunks": [ids[start::n_chunks] for start in range(n_chunks)]}
