"""The job of a random structure search: draw, relax under pressure, choose, store."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from jobflow import Maker, job

from gst_jobflow.analysis.soap import SoapOptions, mean_spectrum
from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.dynamics.relax import relax
from gst_jobflow.dynamics.work import NOT_MEASURED, expected_speed
from gst_jobflow.selection.random_search import (
    RandomCell,
    RandomSearchPlan,
    SearchCandidate,
    candidates_of,
    choose_candidates,
    draw_cells,
)
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.context import continuation, job_deadline, job_results, work_directory
from gst_jobflow.store.work import Allotment, ExpectedCost


@dataclass(frozen=True)
class RelaxationsWork:
    """All relaxations of a search, each on one core, with as many steps as they may take."""

    plan: RandomSearchPlan
    potential_id: str

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the most that they cost, at the speed of molecular dynamics."""
        plan = self.plan
        atom_steps = plan.cells * sum(plan.n_atoms) / 2 * plan.relax.steps
        work = f"{plan.cells:,} cells of {plan.n_atoms[0]}-{plan.n_atoms[1]} atoms × up to {plan.relax.steps:,} steps"
        speed = expected_speed(self.potential_id, allotment)
        if speed is None:
            return allotment.expected(work, NOT_MEASURED)
        hours = atom_steps * speed.core_us * 1e-6 / 3600
        return allotment.expected(work, speed.basis, hours, hours / allotment.cores, 0.0)


@in_category("md")
@dataclass
class RandomSearchMaker(Maker):
    """Relax random cells under pressure with a potential, and choose structures for labels by `n_chunks` jobs.

    Examples
    --------
    >>> maker = RandomSearchMaker(plan=RandomSearchPlan(compositions=["Sb2Te3"], cells=100, number=20))
    >>> submit(maker.make(potential_id), find_project())  # doctest: +SKIP
    """

    name: str = "random search"
    plan: RandomSearchPlan = field(default_factory=RandomSearchPlan)
    iteration: int = 0
    tags: list[str] = field(default_factory=list)
    n_chunks: int = 1

    def work(self, potential_id: str) -> RelaxationsWork:
        """Return the relaxations of :meth:`make`."""
        return RelaxationsWork(self.plan, potential_id)

    @job
    def make(self, potential_id: str) -> dict[str, Any]:
        """Search; a job that is killed or stopped by its walltime goes on with the cells that are left.

        Returns `structure_ids` of the chosen structures, the same in `chunks` for labelling jobs; `cells` by how their
        relaxation ended, `chosen` by kind and by composition.
        """
        results, settings = job_results(), find_project().settings
        directory = work_directory(results, "random-search")
        cells = draw_cells(self.plan)
        relaxed = relax(
            lammps_engine(settings, n_ranks=1),
            link_potential(results, results.get(Potential, potential_id), directory),
            [cell.atoms for cell in cells],
            [cell.pressure_GPa for cell in cells],
            self.plan.relax,
            directory,
            cores(),
            job_deadline(settings),
        )
        if any(each is None for each in relaxed):
            return continuation(self.make(potential_id))
        describe = partial(mean_spectrum, options=SoapOptions(species=True), elements=self.plan.elements)
        chosen = choose_candidates(candidates_of(cells, relaxed, self.plan.on_the_way), self.plan, describe)
        rows = [
            {"cell": number, "formula": cell.formula, "n_atoms": len(cell.atoms), "pressure_GPa": cell.pressure_GPa,
             "state": each.state, "reason": each.reason, "steps": each.steps}
            for number, (cell, each) in enumerate(zip(cells, relaxed, strict=True))
            if each is not None
        ]  # fmt: skip
        (directory / "cells.json").write_text(json.dumps(rows, indent=1) + "\n")
        ids = self._store(results, potential_id, cells, chosen)
        return {
            "structure_ids": ids,
            "chunks": [ids[start :: self.n_chunks] for start in range(self.n_chunks)],
            "cells": dict(Counter(row["state"] for row in rows)),
            "chosen": dict(Counter(each.kind for each in chosen)),
            "chosen_by_composition": dict(Counter(each.formula for each in chosen)),
            "file": results.artifacts.put(directory / "cells.json").model_dump(mode="json"),
        }

    def _store(
        self, results: Results, potential_id: str, cells: list[RandomCell], chosen: list[SearchCandidate]
    ) -> list[str]:
        documents = []
        for each in chosen:
            source = {
                "builder": "random_search", "potential_id": potential_id, "seed": self.plan.seed, "cell": each.cell,
                "kind": each.kind, "step": each.step, "pressure_GPa": each.pressure_GPa,
                "enthalpy_eV": each.enthalpy_eV if each.enthalpy_eV == each.enthalpy_eV else None,
            }  # fmt: skip
            # frames of one cell are on one side of a split
            group = structure_document(cells[each.cell].atoms, "rss").id
            documents.append(
                structure_document(
                    each.atoms, "rss", source=source, group=group, iteration=self.iteration,
                    tags=[*self.tags, f"rss {each.kind}"],
                )
            )  # fmt: skip
        results.add_many(documents)
        return list(dict.fromkeys(document.id for document in documents))
