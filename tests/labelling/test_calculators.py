"""Calculators by name, entry point or import path; what a model is, is in the fingerprint and where it lies is not."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.settings import Project
from gst_jobflow.labelling import calculator_process, calculators
from gst_jobflow.labelling.ase_calculator import AseBackend, KnownCalculator
from gst_jobflow.labelling.backend import checked_label
from gst_jobflow.labelling.calculators import calculator_backend
from gst_jobflow.labelling.choose import backend_of

EMT_PATH = "ase.calculators.emt:EMT"
MODEL = """
import json, os
from pathlib import Path
from ase.calculators.lj import LennardJones

LOADED = 0

def trained(model, device="cpu", shift=0.0):
    '''A pair potential whose parameters stand in a file, as a model's weights do.'''
    global LOADED
    LOADED += 1
    values = json.loads(Path(model).read_text())
    print("loaded", LOADED, "in", os.getpid(), flush=True)
    return LennardJones(**values)
"""


@pytest.fixture
def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "gst.yaml").write_text("")
    return Project(tmp_path)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of no distribution, importable here and in children."""
    (tmp_path / "trained_model.py").write_text(textwrap.dedent(MODEL))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)
    return "trained_model:trained"


def weights(path: Path, epsilon: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"sigma": 2.3, "epsilon": {epsilon}, "rc": 6.0}}')
    return path


def test_any_calculator_labels_by_its_import_path(project: Project, copper: Atoms, tmp_path: Path) -> None:
    backend = backend_of("ase", project, {"calculator": EMT_PATH, "parameters": {"asap_cutoff": True}})
    label = checked_label(backend, copper, tmp_path / "run")
    reference = copper.copy()
    reference.calc = EMT(asap_cutoff=True)
    assert label.converged, label.reason
    assert label.energy_eV == pytest.approx(reference.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(label.forces_eV_A, reference.get_forces(), atol=1e-9)
    method = backend.method()
    assert (method.code, method.version) == ("emt", importlib.metadata.version("ase"))
    plain = backend_of("ase", project, {"calculator": EMT_PATH}).method()
    assert plain.fingerprint() != method.fingerprint()


def test_an_element_that_the_calculator_lacks_fails_one_label(project: Project, copper: Atoms, tmp_path: Path) -> None:
    backend = backend_of("ase", project, {"calculator": EMT_PATH})
    label = checked_label(backend, bulk("GeTe", "rocksalt", a=6.0), tmp_path / "a")
    assert (label.failure_class, "Ge" in label.reason) == ("crash", True)
    assert checked_label(backend, copper, tmp_path / "b").converged


@pytest.mark.parametrize("fields", [{}, {"reuse": False}, {"isolate": False}])
@pytest.mark.parametrize(
    ("parameters", "error", "words"),
    [
        ({"modle": 1}, InputError, "unexpected keyword argument 'modle'"),
        ({"model": "of-the-web"}, MissingProgramError, "FileNotFoundError.*of-the-web"),
    ],
)
def test_a_calculator_that_cannot_be_made_is_no_failed_label(
    module: str,
    copper: Atoms,
    tmp_path: Path,
    parameters: dict[str, Any],
    error: type[Exception],
    words: str,
    fields: dict[str, Any],
) -> None:
    """It would fail for every structure, and says nothing of any."""
    backend = calculator_backend(module, {"parameters": parameters, **fields})
    with pytest.raises(error, match=words):
        checked_label(backend, copper, tmp_path / "run")


def test_calculators_of_one_name_in_two_modules_or_packages_are_two_methods() -> None:
    one, other, another = (
        AseBackend(name="pbe", calculator=path, package=package).method().fingerprint()
        for path, package in (("lab.pbe:model", "ase"), ("lab.scan:model", "ase"), ("theirs.pbe:model", "ase"))
    )
    assert len({one, other, another}) == 3


def test_weights_are_identified_by_content_not_place(module: str, tmp_path: Path) -> None:
    def fingerprint(file: Path, **parameters: Any) -> str:
        return calculator_backend(module, {"parameters": {"model": str(file), **parameters}}).method().fingerprint()

    one = fingerprint(weights(tmp_path / "a" / "m.json"))
    assert fingerprint(weights(tmp_path / "b" / "other.json")) == one
    assert fingerprint(weights(tmp_path / "a" / "m.json"), device="cuda") == one
    assert fingerprint(weights(tmp_path / "a" / "m.json"), shift=1.0) != one
    assert fingerprint(weights(tmp_path / "c" / "m.json", epsilon=0.2)) != one
    # a folder is a model, too
    folder = fingerprint(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    assert fingerprint(tmp_path / "d") == folder != one
    weights(tmp_path / "a" / "m.json", epsilon=0.3)
    assert fingerprint(tmp_path / "a") != folder


def test_a_model_is_loaded_once_and_a_file_that_changes_is_another_method(
    module: str, copper: Atoms, tmp_path: Path
) -> None:
    file = weights(tmp_path / "m.json")
    backend = calculator_backend(module, {"parameters": {"model": str(file)}})
    labels = [checked_label(backend, copper, tmp_path / name) for name in ("a", "b")]
    assert [label.converged for label in labels] == [True, True], labels[0].reason
    said = [(tmp_path / name / "calculator.log").read_text() for name in ("a", "b")]
    assert said[0].startswith("loaded 1") and said[1] == ""
    before = backend.method().fingerprint()
    file.unlink()
    with pytest.raises(MissingProgramError, match="no weights in "):
        backend.method()
    weights(file, epsilon=0.5)
    assert backend.method().fingerprint() != before


def test_a_model_whose_weights_changed_is_loaded_again(module: str, copper: Atoms, tmp_path: Path) -> None:
    file = weights(tmp_path / "m.json")
    backend = calculator_backend(module, {"parameters": {"model": str(file)}})
    first = checked_label(backend, copper, tmp_path / "a").energy_eV
    weights(file, epsilon=0.2)
    assert checked_label(backend, copper, tmp_path / "b").energy_eV == pytest.approx(2 * first)


def test_packages_offer_calculators_by_entry_points(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    point = importlib.metadata.EntryPoint("emt-of-a-package", EMT_PATH, "gst_jobflow.calculators")
    monkeypatch.setattr(calculators, "offered", lambda kind: {point.name: point})
    by_name = backend_of("emt-of-a-package", project)
    assert by_name.method() == backend_of("ase", project, {"calculator": "emt-of-a-package"}).method()
    assert by_name.calculator == EMT_PATH
    with pytest.raises(InputError, match="did you mean 'emt-of-a-package'"):
        backend_of("emt-of-package", project)
    assert any(line.startswith("emt-of-a-package (ase") for line in calculators.found())


def test_missing_parts_have_a_remedy(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = KnownCalculator("no_such_module.calculators:thing", "no-such-distribution")
    monkeypatch.setitem(calculators.KNOWN, "absent", known)
    with pytest.raises(MissingProgramError, match="pip install no-such-distribution"):
        calculator_backend("absent", {})
    assert "no absent (pip install no-such-distribution)" in calculators.found()
    with pytest.raises(MissingProgramError, match="no such file"):
        calculator_backend(module, {"parameters": {"model": "./nothing.json"}})
    # a bare word is the name of a model
    assert calculator_backend(module, {"parameters": {"model": "medium"}}).weights == {}


def test_each_thread_uses_its_own_process(module: str, copper: Atoms, tmp_path: Path) -> None:
    """A model is loaded once for each label that runs at a time, also where threads come and go."""
    backend = calculator_backend(module, {"parameters": {"model": str(weights(tmp_path / "m.json"))}})
    meeting = threading.Barrier(2)

    def label(place: str) -> str:
        meeting.wait(60)
        assert checked_label(backend, copper, tmp_path / place).converged
        return (tmp_path / place / "calculator.log").read_text()

    said: list[str] = []
    for first, second in (("a", "b"), ("c", "d")):
        # each pool is the threads of one job
        with ThreadPoolExecutor(2) as pool:
            said += pool.map(label, (first, second))
    loaded = {text.split()[-1] for text in said if text}
    assert 1 <= len(loaded) <= 2 and said[2:] == ["", ""]


def test_an_idle_process_is_replaced(
    module: str, copper: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = calculator_backend(module, {"parameters": {"model": str(weights(tmp_path / "m.json"))}})
    taken = []
    plain = calculator_process.CalculatorProcess.ask

    def tired_once(self: Any, *arguments: Any) -> Any:
        taken.append(self)
        if len(taken) == 1:
            return calculator_process.Reply(None, returncode=calculator_process._TIRED)
        return plain(self, *arguments)

    monkeypatch.setattr(calculator_process.CalculatorProcess, "ask", tired_once)
    assert checked_label(backend, copper, tmp_path / "run").converged
    assert len(taken) == 2 and taken[0] is not taken[1]
    taken[0].close()
