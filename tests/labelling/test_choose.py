"""Backends by name: options are checked, and what changes the physics is another fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from gst_jobflow.errors import InputError
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.settings import Project


@pytest.fixture
def plain(tmp_path: Path) -> Project:
    (tmp_path / "gst.yaml").write_text("vasp: {command: srun vasp_std}\n")
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


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vsp", {}, "did you mean 'vasp'"),
        ("tblite", {"electronic_temperature": 300}, "did you mean 'electronic_temperature_K'"),
        ("vasp", {"encut": 500}, "encut_eV"),
        ("vasp", {"encut_eV": -1}, "encut_eV"),
        ("vasp", {"functional": "LDA"}, "functional.*PBEsol"),
        ("tblite", {"functional": "PBE"}, "no option 'functional'"),
        ("ase", {}, "which calculator.*mace"),
        ("ase", {"calculator": "mase"}, "did you mean 'mace'.*package.module:Name"),
        ("ase", {"calculator": "ase.calculators.emt:EMT", "model": 1}, "parameters.model"),
        ("ase", {"calculator": "ase.calculators.emt:EMT", "threads": 0}, "threads"),
    ],
)
def test_what_does_not_fit_is_named(plain: Project, name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        backend_of(name, plain, options)
