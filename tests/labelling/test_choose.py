"""Backends by name: options are checked, and what changes the physics is another fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.labelling.choose import backend_of, check_labels, known_backends
from gst_jobflow.structures.material import MATERIALS, shipped_material


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    # its version is not asked for, so it need not be there
    (tmp_path / "gst.yaml").write_text("vasp: {command: srun vasp_std}\ncp2k: {command: cp2k.psmp}\n")
    return Project(tmp_path)


def test_an_option_that_changes_the_physics_changes_the_fingerprint(plain: Project) -> None:
    default, hot = backend_of("tblite", plain), backend_of("tblite", plain, {"electronic_temperature_K": 2000})
    patient = backend_of("tblite", plain, {"max_iterations": 500})
    assert default.method().fingerprint() != hot.method().fingerprint()
    assert default.method().fingerprint() == patient.method().fingerprint()


def test_another_functional_is_one_option(plain: Project) -> None:
    pbe, pbesol = backend_of("vasp", plain), backend_of("vasp", plain, {"functional": "PBEsol"})
    assert pbe.settings.command == "srun vasp_std"
    assert pbe.method().fingerprint() != pbesol.method().fingerprint()


def test_a_command_with_cores_needs_their_number(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text("vasp: {command: 'srun --exact -n {cores} vasp_std'}\n")
    backend = backend_of("vasp", Project(tmp_path), {"cores": 8})
    assert backend.settings.full_command == "srun --exact -n 8 vasp_std"
    with pytest.raises(InputError, match="set cores=8"):
        backend_of("vasp", Project(tmp_path))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vsp", {}, "did you mean 'vasp'"),
        ("tblite", {"electronic_temperature": 300}, "did you mean 'electronic_temperature_K'"),
        ("vasp", {"encut": 500}, "encut_eV"),
        ("vasp", {"encut_eV": -1}, "encut_eV"),
        ("vasp", {"functional": "LDA"}, "functional.*PBEsol"),
        ("tblite", {"functional": "PBE"}, "no option 'functional'"),
        ("tblite", {"threads": 0}, "tblite: threads"),
        ("tblite", {"bounds": {"lower_eV": 1}}, "did you mean 'lower_eV_per_atom'"),
        ("ase", {}, "no calculator is chosen.*mace"),
        ("ase", {"calculator": "mase"}, "did you mean 'mace'.*package.module:Name"),
        ("ase", {"calculator": "ase.calculators.emt:EMT", "model": 1}, "parameters.model"),
        ("ase", {"calculator": "ase.calculators.emt:EMT", "threads": 0}, "threads"),
    ],
)
def test_wrong_options_are_named(plain: Project, name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        backend_of(name, plain, options)


@pytest.mark.parametrize("name", ["vasp", "cp2k", "tblite"])
def test_the_floor_and_the_bounds_that_errors_name_can_be_set_and_keep_the_rest(plain: Project, name: str) -> None:
    before = backend_of(name, plain)
    options = {"floor_A": 0.5, "bounds": {"max_force_eV_A": 90, "free_atom_eV": {"In": -50.0}}}
    found = backend_of(name, plain, options)
    assert (found.floor_A, found.bounds.max_force_eV_A) == (0.5, 90)
    assert found.bounds.free_atom_eV == {**before.bounds.free_atom_eV, "In": -50.0}


def test_adding_an_element_keeps_the_known_ones(plain: Project) -> None:
    indium = backend_of("cp2k", plain, {"kinds": {"In": {"potential": "GTH-PBE-q13"}}})
    assert indium.known_elements() == ["Ge", "In", "Sb", "Te"]
    wide = backend_of("cp2k", plain, {"kinds": {"Te": {"basis": "TZVP-MOLOPT-SR-GTH"}}})
    assert wide.settings.kinds["Te"].potential == "GTH-PBE-q6"
    vasp = backend_of("vasp", plain, {"potcars": {"In": "In_d"}, "potcar_titles": {"In": "PAW_PBE In_d 06Sep2000"}})
    assert vasp.known_elements() == ["Ge", "In", "Sb", "Te"]


def test_another_parametrisation_needs_bounds_of_its_own(plain: Project) -> None:
    with pytest.raises(InputError, match="no free-atom energies for GFN2-xTB"):
        backend_of("tblite", plain, {"parametrisation": "GFN2-xTB"})
    found = backend_of("tblite", plain, {"parametrisation": "GFN2-xTB", "bounds": {"free_atom_eV": {"Te": -90.0}}})
    assert found.bounds.free_atom_eV == {"Te": -90.0}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"vaps": {"ispin": 2}}, "material: labels: no label backend 'vaps' .did you mean 'vasp'"),
        ({"vasp": {"isspin": 2}}, "material: labels.vasp: settings: unknown key 'isspin' .*did you mean 'ispin'"),
        ({"vasp": {"potcars": ["Sb"]}}, "material: labels.vasp: settings.potcars"),
        ({"cp2k": {"kinds": {"Sb": {"potentail": "GTH"}}}}, "labels.cp2k.*did you mean 'potential'"),
        ({"tblite": {"electronic_temperature": 300}}, "labels.tblite has no option .*electronic_temperature_K"),
        ({"mace": {"thraeds": 2}}, "labels.mace has no option 'thraeds'"),
        ({"vasp": {"floor_A": -1}}, "labels.vasp: floor_A"),
    ],
)
def test_label_settings_of_a_material_that_no_backend_has_are_named(labels: dict[str, Any], words: str) -> None:
    material = shipped_material("sb-te").model_copy(update={"labels": labels})
    with pytest.raises(InputError, match=words):
        check_labels(material)


def test_a_misspelt_backend_of_the_material_makes_no_labels_with_default_settings(plain: Project) -> None:
    material = shipped_material("sb-te").model_copy(update={"labels": {"vaps": {"ispin": 2}}})
    with pytest.raises(InputError, match="no label backend 'vaps'"):
        backend_of("vasp", plain, material=material)


@pytest.mark.parametrize("name", MATERIALS.names())
def test_label_settings_of_shipped_materials_are_known(name: str) -> None:
    material = shipped_material(name)
    check_labels(material)
    assert material.labels.keys() <= set(known_backends())
