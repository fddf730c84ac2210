"""Real tblite, in this process and in a child."""

from __future__ import annotations

import json
import os
import pickle
import textwrap

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend
from gst_jobflow.labelling.backend import Bounds, checked_label

pytest.importorskip("tblite")
MODULE = "crashing_calculator"


@pytest.fixture
def gete() -> Atoms:
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.fixture
def crashing(tmp_path, monkeypatch):
    """Return a maker of backends whose calculator does something bad, importable in the child too."""
    (tmp_path / f"{MODULE}.py").write_text(
        textwrap.dedent(
            """
            import os, signal, time
            import numpy as np
            from ase.calculators.calculator import Calculator

            class Bad(Calculator):
                implemented_properties = ["energy", "forces"]

                def calculate(self, *args, **kwargs):
                    what = self.parameters["what"]
                    if what == "segfault":
                        os.kill(os.getpid(), signal.SIGSEGV)
                    if what == "hang":
                        time.sleep(600)
                    if what == "fault":
                        raise KeyError("not foreseen")
                    if what == "nan":
                        self.results = {"energy": float("nan"), "forces": np.zeros((8, 3))}
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path)

    def make(what: str, **fields) -> AseBackend:
        return AseBackend(name="bad", calculator=f"{MODULE}:Bad", package="ase", parameters={"what": what}, **fields)

    return make


def test_isolated_and_in_process_give_the_same_label(gete, tmp_path):
    inside = checked_label(tblite_backend(isolate=False), gete, tmp_path / "a")
    outside = checked_label(tblite_backend(), gete, tmp_path / "b")
    # threads may sum in another order; both are the same code on the same numbers
    assert outside.energy_eV == pytest.approx(inside.energy_eV, abs=1e-6)
    np.testing.assert_allclose(outside.forces_eV_A, inside.forces_eV_A, atol=1e-6)
    np.testing.assert_allclose(outside.stress_eV_A3, inside.stress_eV_A3, atol=1e-8)
    assert -80 < inside.energy_eV / len(gete) < -74


def test_forces_and_stress_are_derivatives_of_the_energy(gete, tmp_path):
    backend = tblite_backend(isolate=False, accuracy=0.01)
    label = checked_label(backend, gete, tmp_path)
    step = 0.01

    def energy(shift=0.0, strain=0.0) -> float:
        moved = gete.copy()
        moved.positions[0, 0] += shift
        moved.set_cell(moved.cell.array * np.array([1 + strain, 1, 1]), scale_atoms=True)
        return checked_label(backend, moved, tmp_path).energy_eV

    force = -(energy(shift=step) - energy(shift=-step)) / (2 * step)
    stress = (energy(strain=1e-3) - energy(strain=-1e-3)) / 2e-3 / gete.cell.volume
    # the third-order error of a 0.01 Å step is about 1e-3 eV/Å for bonds this stiff
    assert label.forces_eV_A[0, 0] == pytest.approx(force, abs=5e-3)
    assert label.stress_eV_A3[0] == pytest.approx(stress, abs=1e-3)


def test_an_unconverged_scf_is_a_failed_label(gete, tmp_path):
    label = checked_label(tblite_backend(max_iterations=2, isolate=False), gete, tmp_path)
    assert (label.converged, label.failure_class) == (False, "not_converged")
    assert label.energy_eV is None


def test_an_energy_out_of_bounds_is_unphysical(gete, tmp_path):
    absolute = Bounds()  # tblite's energies are absolute ones of -77 eV/atom: these bounds refuse them
    label = checked_label(tblite_backend(bounds=absolute, isolate=False), gete, tmp_path)
    assert label.failure_class == "unphysical"


def test_the_convergence_path_is_not_in_the_fingerprint_and_the_physics_is():
    one = tblite_backend().method().fingerprint()
    path = tblite_backend(max_iterations=500, mixer_damping=0.1, isolate=False, threads=2, floor_A=2.0)
    assert path.method().fingerprint() == one
    assert tblite_backend(electronic_temperature_K=600).method().fingerprint() != one
    assert tblite_backend(accuracy=0.1).method().fingerprint() != one


def test_backends_survive_json_and_pickle():
    backend = tblite_backend(floor_A=1.5)
    stored = json.loads(json.dumps(backend, cls=MontyEncoder))
    assert MontyDecoder().process_decoded(stored) == backend
    assert pickle.loads(pickle.dumps(backend)) == backend


@pytest.mark.parametrize(
    ("what", "failure_class", "words"),
    [("segfault", "crash", "signal 11"), ("fault", "crash", "not foreseen"), ("nan", "unphysical", "finite")],
)
def test_a_crash_in_the_child_is_a_failed_label(crashing, gete, tmp_path, what, failure_class, words):
    label = checked_label(crashing(what), gete, tmp_path / "run")
    assert (label.failure_class, label.converged) == (failure_class, False)
    assert words in label.reason


def test_a_hang_ends_at_the_wall_limit(crashing, gete, tmp_path):
    label = checked_label(crashing("hang", wall_limit_s=2.0), gete, tmp_path / "run")
    assert label.failure_class == "timeout" and "2 s" in label.reason


@pytest.mark.parametrize(
    "fields",
    [
        {"package": "no-such-package"},
        {"calculator": "no_such_module:Calculator"},
        {"calculator": "tblite.ase:NoSuchClass", "isolate": False},
    ],
)
def test_a_missing_calculator_names_the_way_out(gete, tmp_path, fields):
    backend = AseBackend(**{"name": "x", "calculator": "tblite.ase:TBLite", "package": "tblite", **fields})
    with pytest.raises(MissingProgramError, match="pip install"):
        checked_label(backend, gete, tmp_path)


def test_settings_that_contradict_are_refused():
    with pytest.raises(ValidationError, match="both in parameters and in options"):
        AseBackend(name="x", calculator="a:B", package="ase", parameters={"a": 1}, options={"a": 2})
    with pytest.raises(InputError, match="GFN2"):
        tblite_backend("GFN2-xTB")
    with pytest.raises(ValidationError, match="wall_limit_s"):
        tblite_backend(wall_limit=3)


def test_tblite_refuses_a_cell_periodic_along_some_axes_only(gete):
    slab = gete.copy()
    slab.pbc = [True, True, False]
    with pytest.raises(InputError, match="all directions or in none"):
        tblite_backend().check(slab)
    for pbc in (True, False):
        slab.pbc = pbc
        tblite_backend().check(slab)
