"""The demo's plans, and its flow before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.devices.cell import device_counts
from gst_jobflow.flows.demo import DemoMaker, DemoPlan
from gst_jobflow.flows.presets import SIZES, demo_backend, demo_plan
from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend
from gst_jobflow.labelling.backend import free_atom_energies
from gst_jobflow.structures.contacts import min_distance
from gst_jobflow.structures.families import crystal_family, hard_sphere_family


@pytest.mark.parametrize("size", SIZES)
def test_a_plan_survives_the_database(size: str) -> None:
    plan = demo_plan(size, "tblite")
    assert DemoPlan.model_validate(plan.model_dump(mode="json", exclude_none=True)) == plan


def test_the_standard_plan_is_what_the_page_says() -> None:
    plan = demo_plan("standard", "tblite")
    assert plan.fit.embedding.n_densities == 3
    assert sum(device_counts(plan.cell).values()) == 1008
    assert [operation.kind for operation in plan.operations] == ["HOLD", "RESET", "SET", "RESET"]
    with pytest.raises(InputError, match="standard"):
        demo_plan("stendard", "tblite")


@pytest.mark.parametrize("size", SIZES)
def test_all_structures_of_a_plan_can_be_made(size: str) -> None:
    plan = demo_plan(size, "tblite")
    made = [atoms for atoms, _ in hard_sphere_family(plan.hard_sphere, plan.n_each)]
    made += [atoms for spec in plan.crystals for atoms, _ in crystal_family(spec)]
    assert len(made) >= 16
    assert all(min_distance(atoms) > 1.5 for atoms in made)


def test_with_labels_of_cp2k_the_cells_are_small() -> None:
    plan = demo_plan("standard", "cp2k")
    made = [atoms for atoms, _ in hard_sphere_family(plan.hard_sphere, plan.n_each)]
    made += [atoms for spec in plan.crystals for atoms, _ in crystal_family(spec)]
    assert len(made) == 71 and max(map(len, made)) == 14
    assert plan.cell.lattice_scale == 1.0, "PBE's lattice is within two per cent of the measured one"
    assert DemoPlan.model_validate(plan.model_dump(mode="json", exclude_none=True)) == plan


def test_the_flow_distributes_labels_and_ends_with_the_page() -> None:
    plan = demo_plan("standard", "tblite")
    maker = DemoMaker(plan)
    flow = maker.make(tblite_backend())
    names = [job.name for job, _ in flow.iterflow()]
    assert sum(name.startswith("label") for name in names) == 2 * plan.label_jobs
    assert names[-1] == "page"
    for name in ("dataset", "fit", "barrier melt-quench", "device cell", "1 HOLD", "2 RESET", "3 SET", "4 RESET"):
        assert names.count(name) == 1
    assert maker.study().plan["cell"]["formula"] == "Ge1Sb2Te4"


def test_reference_energies_belong_to_the_method_of_the_labels() -> None:
    assert set(free_atom_energies(tblite_backend(), ["Ge", "Sb", "Te"])) == {"Ge", "Sb", "Te"}
    unknown = AseBackend(name="lj", calculator="ase.calculators.lj:LennardJones", package="ase")
    with pytest.raises(InputError, match="free-atom energy of Ge"):
        free_atom_energies(unknown, ["Ge"])


def test_labels_of_the_demo_are_of_its_elements_in_a_project_about_others(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text("material: cr-sb-te\ncp2k: {command: cp2k.psmp}\n")
    for labels in ("cp2k", "vasp"):
        assert demo_backend(labels, Project(tmp_path)).known_elements() == ["Ge", "Sb", "Te"]
