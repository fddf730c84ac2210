"""Errors on any labels, grouped; speed beside them; a page that shows both."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Potential, Study
from gst_jobflow.evaluation.errors import Residuals, fitted_zero, group_rows, zero_of
from gst_jobflow.evaluation.evaluate import _references, _study
from gst_jobflow.evaluation.labels import EvaluationSet, of_query
from gst_jobflow.evaluation.speed import speed_cell
from gst_jobflow.fitting.maker import FitMaker
from gst_jobflow.importing.potential import PotentialImport, import_potential
from gst_jobflow.store import Results
from tests.cli.test_main import gst
from tests.fitting.conftest import tiny_config
from tests.fitting.stored import teacher_dataset
from tests.flows.conftest import results, run  # noqa: F401

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

LINEAR = tiny_config(n_densities=1, maxiter=1).as_linear()


def a_set(n_structures: int = 20) -> EvaluationSet:
    atoms = [Atoms("Te2" if k % 2 else "SbTe", positions=[[0, 0, 0], [0, 0, 3]], cell=[9] * 3, pbc=True)
             for k in range(n_structures)]  # fmt: skip
    return EvaluationSet(
        name="s",
        fingerprint="f",
        label_ids=[str(k) for k in range(n_structures)],
        atoms=atoms,
        energies_eV=np.zeros(n_structures),
        forces_eV_A=[np.zeros((2, 3))] * n_structures,
        config_types=["crystal" if k < 15 else "rss" for k in range(n_structures)],
        formulas=["Te" if k % 2 else "SbTe" for k in range(n_structures)],
        iterations=[k % 3 for k in range(n_structures)],
        min_distances_A=np.linspace(2.0, 4.0, n_structures),
    )


def test_errors_are_those_of_the_structures_of_each_group():
    chosen = a_set()
    energy = np.where(np.arange(20) < 15, 0.001, -0.004)
    forces = np.repeat(energy[:, None, None], 2, axis=1).repeat(3, axis=2).reshape(-1, 3)
    rows = group_rows(chosen, Residuals(energy, forces))
    by = {(row["group"], row["value"]): row for row in rows}
    assert by["config_type", "crystal"]["energy_rmse_meV_per_atom"] == pytest.approx(1.0)
    assert by["config_type", "rss"]["force_mae_meV_per_A"] == pytest.approx(4.0)
    assert by["all", ""]["energy_max_meV_per_atom"] == pytest.approx(4.0)
    assert by["all", ""]["force_rmse_meV_per_A"] == pytest.approx(np.sqrt((15 + 5 * 16) / 20))
    for kind in ("config_type", "composition", "iteration", "min_distance_A"):
        assert sum(row["n_structures"] for row in rows if row["group"] == kind) == 20


def test_the_same_evaluation_is_found_by_each_name_that_it_is_given():
    chosen = a_set()
    unnamed, again, named, other = (_study(name, [], chosen, [], [], {}) for name in ("s", "s", "mine", "other"))
    assert unnamed.id == again.id
    assert len({unnamed.id, named.id, other.id}) == 3


def test_the_zero_of_energy_of_an_imported_potential_is_fitted():
    chosen = a_set()
    counts = np.array([[atoms.get_chemical_symbols().count(e) for e in ("Sb", "Te")] for atoms in chosen.atoms])
    predicted = -counts @ [1.5, 2.5]
    zero = fitted_zero(chosen, predicted)
    assert zero == pytest.approx({"Sb": 1.5, "Te": 2.5})
    np.testing.assert_allclose(zero_of(chosen, zero) + predicted, chosen.energies_eV, atol=1e-12)


def test_the_zero_of_energy_is_not_that_of_another_method():
    """Total energies of two methods are off by tens of eV an atom, which says nothing of a potential."""
    chosen, references = a_set(), {"Sb": -100.0, "Te": -200.0}
    counts = np.array([[atoms.get_chemical_symbols().count(e) for e in ("Sb", "Te")] for atoms in chosen.atoms])
    predicted = -counts @ [1.5, 2.5]
    potential = SimpleNamespace(dataset_id="d")

    def zero(fingerprint: str) -> tuple[dict[str, float], str]:
        found = SimpleNamespace(fingerprint=fingerprint, reference_energies_eV=references)
        return _references(SimpleNamespace(get=lambda *_: found), potential, chosen, predicted)

    assert zero(chosen.fingerprint) == (references, "of its dataset")
    fitted, why = zero("vasp:another")
    assert fitted == pytest.approx({"Sb": 1.5, "Te": 2.5})
    assert "another method" in why


@pytest.mark.parametrize(("elements", "number"), [(["Ge", "Sb", "Te"], 448), (["Sb", "Te"], 427), (["Si"], 512)])
def test_the_timed_cell_has_every_element(elements, number):
    atoms = speed_cell(elements)
    assert set(atoms.get_chemical_symbols()) == set(elements) and len(atoms) == number


@pytest.mark.mongo
@pytest.mark.pacemaker
def test_the_command_measures_errors_and_writes_a_page(run, results: Results, project: Project):  # noqa: F811
    dataset = teacher_dataset(results)
    made = run(FitMaker(potential_name="mine", config=LINEAR, measure_speed=False).make(dataset.id))["fit"]
    mine = results.get(Potential, made["potential_id"])
    yace = results.artifacts.path(mine.artifacts.yace)
    import_potential(results, PotentialImport(Path(yace), "theirs"))
    command = ["-p", str(project.root), "evaluate"]
    done = gst(*command, "mine", "--json", "--no-speed")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # what pyace predicts is what the fit predicted
    overall = found["rows"][0]
    assert overall["energy_rmse_meV_per_atom"] == pytest.approx(mine.rmse["test"].energy_meV_per_atom, rel=1e-6)
    assert overall["force_max_meV_per_A"] == pytest.approx(mine.max_error["test"].force_meV_per_A, rel=1e-6)
    page = Path(found["page"]).read_text()
    assert "By config type" in page and "Parity plot of forces" in page
    done = gst(*command, "mine", "theirs", "-w", "config_type=crystal", "--no-speed", "--name", "both")
    assert done.returncode == 0, done.stderr
    study = next(results.find(Study, {"name": "both"}))
    assert f"both-{study.id[:8]}.html" in done.stdout
    one, other = study.table[:2]
    assert one["force_rmse_meV_per_A"] == pytest.approx(other["force_rmse_meV_per_A"])
    for named in (dataset.id, dataset.name):
        done = gst(*command, "mine", "theirs", "--dataset", named, "--split", "all", "--no-speed", "--json")
        assert done.returncode == 0, done.stderr
        assert [row["potential_id"] for row in json.loads(done.stdout)["rows"][:2]] == [
            mine.id,
            study.table[1]["potential_id"],
        ]
    # a zero that is fitted to the labels leaves no larger errors
    assert other["energy_rmse_meV_per_atom"] <= one["energy_rmse_meV_per_atom"]
    assert "imported" in study.plan["evaluators"][study.table[1]["potential_id"]]
    for words, said in (
        (["mine", "--split", "tset"], "did you mean 'test'"),
        (["theirs"], "do not share a dataset"),
        (["mine", "--dataset", "nothing"], "no dataset 'nothing'"),
        (["mine", "-w", "config_type=aimd"], "no converged label"),
        (["mine", "-w", "tags=nobody"], "no converged label"),
        (["mine", "-w", "tgas=nobody"], "did you mean 'tags'"),
        (["nobody"], "no potential 'nobody'"),
    ):
        done = gst(*command, *words)
        assert done.returncode == 1 and said in done.stderr, done.stderr


@pytest.mark.mongo
def test_labels_are_chosen_by_their_structures(results: Results):  # noqa: F811
    teacher_dataset(results, number=8)
    chosen = [found["_id"] for found in results.database["structures"].find().sort("_id", 1).limit(3)]
    results.database["structures"].update_many({"_id": {"$in": chosen}}, {"$addToSet": {"tags": "mine"}})
    found = of_query(results, ["tags=mine", "n_atoms>0"])
    labels = results.database["labels"].find({"structure_id": {"$in": chosen}})
    assert found.label_ids == sorted(label["_id"] for label in labels)
    with pytest.raises(InputError, match="no converged label"):
        of_query(results, ["tags=mine state=failed"])


@pytest.mark.mongo
def test_labels_of_two_methods_do_not_mix(results: Results):  # noqa: F811
    teacher_dataset(results, number=8)
    one = results.database["labels"].find_one({})
    results.database["labels"].insert_one({**one, "_id": "x" * 32, "fingerprint": "other:1"})
    with pytest.raises(InputError, match="2 methods"):
        of_query(results, ["config_type=crystal,rss"])
