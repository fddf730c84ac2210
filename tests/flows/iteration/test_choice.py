"""What is chosen among candidates: with real grades and energies by LAMMPS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Potential, Structure
from gst_jobflow.documents.base import now
from gst_jobflow.flows.iteration.candidates import make_structures
from gst_jobflow.flows.iteration.choice import Choice, choose_structures, composition_of, largest_grades
from gst_jobflow.flows.iteration.sources import StoredSource
from gst_jobflow.selection.random_search import RandomSearchPlan, draw_cells
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of, structure_document
from tests.dynamics.conftest import engine
from tests.flows.test_robustness import stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.dynamics.engine import LammpsEngine

__all__ = ["engine"]
pytestmark = pytest.mark.mongo
FORMULAS = ["SbTe", "Sb2Te3"]


@pytest.fixture
def candidates(results: Results) -> list[Structure]:
    plan = RandomSearchPlan(compositions=FORMULAS, cells=16, n_atoms=(10, 14), min_distance_A=(1.6, 2.6))
    documents = [structure_document(cell.atoms, "hard_sphere") for cell in draw_cells(plan)]
    results.add_many(documents)
    return list(results.get_many(Structure, [each.id for each in documents]))


@pytest.mark.parametrize("by", ["diverse", "farthest", "random"])
def test_the_number_is_dealt_out_over_compositions_whatever_the_order(
    results: Results, candidates: list[Structure], by: str
) -> None:
    choice = Choice(number=5, by=by)  # type: ignore[arg-type]
    chosen = choose_structures(results, candidates, choice, None, 1, FORMULAS)
    counts = sorted(sum(composition_of(each, FORMULAS) == formula for each in chosen) for formula in FORMULAS)
    assert counts == [2, 3]
    again = choose_structures(results, [*reversed(candidates), *candidates], choice, None, 1, FORMULAS)
    assert [each.id for each in again] == [each.id for each in chosen]


def test_without_a_number_all_are_chosen_once(results: Results, candidates: list[Structure]) -> None:
    chosen = choose_structures(results, candidates * 2, Choice(), None, 1, FORMULAS)
    assert sorted(each.id for each in chosen) == sorted({each.id for each in candidates})


def test_of_near_duplicates_one_is_chosen(results: Results, candidates: list[Structure]) -> None:
    atoms = atoms_of(candidates[0], results.artifacts)
    atoms.positions += np.random.default_rng(1).normal(scale=0.001, size=atoms.positions.shape)
    twin = structure_document(atoms, "hard_sphere")
    results.add(twin)
    chosen = choose_structures(results, [*candidates, twin], Choice(near_duplicates_A=0.05), None, 1)
    assert len(chosen) == len(candidates)


def test_structures_stored_after_an_iteration_began_are_not_its_candidates(
    project: Project, results: Results, candidates: list[Structure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    source = StoredSource(where=["config_type=hard_sphere"])
    began = now().isoformat()
    time.sleep(0.01)
    atoms = atoms_of(candidates[0], results.artifacts)
    atoms.rattle(0.1, seed=1)
    later = structure_document(atoms, "hard_sphere")
    results.add(later)
    make = make_structures.original
    assert set(make(source, 0, 1, [], None, began)["structure_ids"]) == {each.id for each in candidates}
    assert later.id in make(source, 0, 1, [], None, now().isoformat())["structure_ids"]


@pytest.mark.lammps
def test_windows_of_grade_and_energy_keep_what_is_inside(
    project: Project, results: Results, candidates: list[Structure], engine: LammpsEngine, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("pyace")
    monkeypatch.setenv("GST_PROJECT", str(project.root))
    potential = results.get(Potential, stored(results, tmp_path / "hard", "hard", 6.0))
    grades = dict(zip([each.id for each in candidates], largest_grades(results, candidates, potential), strict=True))
    middle = float(np.median(list(grades.values())))
    chosen = choose_structures(results, candidates, Choice(gamma=(middle, 1e9)), potential, 1)
    assert {each.id for each in chosen} == {id for id, gamma in grades.items() if gamma >= middle}
    by_gamma = choose_structures(results, candidates, Choice(number=4, by="gamma"), potential, 1, FORMULAS)
    assert len({each.id for each in by_gamma}) == 4
    low = choose_structures(results, candidates, Choice(energy_window_eV=0.5), potential, 1, FORMULAS)
    all_of_them = choose_structures(results, candidates, Choice(energy_window_eV=1e6), potential, 1, FORMULAS)
    assert 2 <= len(low) < len(all_of_them) == len(candidates)


def test_a_window_that_falls_is_refused() -> None:
    with pytest.raises((InputError, ValueError), match="no window"):
        Choice(gamma=(25, 2))
