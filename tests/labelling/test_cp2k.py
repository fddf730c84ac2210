"""The CP2K input as text, its output as numbers, and the program itself where it is installed."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from monty.json import MontyDecoder, MontyEncoder

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.labelling import cp2k
from gst_jobflow.labelling.backend import checked_label
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings, cp2k_input
from gst_jobflow.labelling.kpoints import kpoint_mesh

LOOSE = {"cutoff_Ry": 150, "relative_cutoff_Ry": 30, "eps_default": 1e-8, "gamma_min_A": 0, "wall_limit_s": 300}

needs_cp2k = pytest.mark.skipif(not any(shutil.which(name) for name in cp2k.PROGRAMS), reason="CP2K is not installed")


@pytest.fixture
def gete() -> Atoms:
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    atoms.rattle(0.1, seed=1)
    return atoms


def section(text: str, name: str) -> str:
    return text.split(f"&{name}", 1)[1].split(f"&END {name}", 1)[0]


def test_the_input_states_the_physics_of_its_settings(gete):
    text = cp2k_input(gete, Cp2kSettings(k_spacing_per_A=0.6))
    assert "XC_FUNCTIONAL PBE" in text
    assert section(text, "MGRID").split() == ["CUTOFF", "200.0", "REL_CUTOFF", "40.0", "NGRIDS", "5"]
    assert "ELECTRONIC_TEMPERATURE [K] 300.0" in section(text, "SMEAR")
    assert "METHOD FERMI_DIRAC" in section(text, "SMEAR")
    assert "MONKHORST-PACK 5 5 5" in text  # |b| = 1.81 / Å: 4 intervals, made odd
    assert section(text, "KIND Te").split("&")[0].split() == (
        ["ELEMENT", "Te", "BASIS_SET", "DZVP-MOLOPT-SR-GTH", "POTENTIAL", "GTH-PBE-q6"]
    )
    assert text.count("&END") == sum(line.strip().startswith("&") for line in text.splitlines()) / 2


def test_gamma_only_writes_no_k_points(gete):
    assert "KPOINTS" not in cp2k_input(gete, Cp2kSettings())


def test_positions_and_cell_keep_their_digits(gete):
    text = cp2k_input(gete, Cp2kSettings())
    rows = [line.split() for line in section(text, "COORD").splitlines()[1:] if line.strip()]
    assert [row[0] for row in rows] == ["Ge", "Te"]
    # 12 decimals: far below any force error
    np.testing.assert_allclose(np.array([row[1:] for row in rows], dtype=float), gete.positions, atol=1e-12)


@given(
    st.lists(st.floats(2.5, 40.0), min_size=3, max_size=3),
    st.lists(st.floats(-0.4, 0.4), min_size=3, max_size=3),
    st.floats(0.1, 1.0),
)
def test_meshes_are_odd_and_as_dense_as_asked(lengths, shear, spacing):
    cell = np.diag(lengths)
    cell[1, 0], cell[2, 0], cell[2, 1] = np.array(shear) * min(lengths)
    reciprocal = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell).T, axis=1)
    for points, length in zip(kpoint_mesh(cell, spacing, odd=True), reciprocal, strict=True):
        assert points % 2 == 1
        assert length / points <= spacing * (1 + 1e-6)
        assert points <= 2 or length / (points - 2) > spacing * (1 - 1e-6)


@pytest.mark.parametrize(
    ("text", "returncode", "failure_class", "words"),
    [
        ("", 1, "crash", "no output"),
        ("*** [ABORT] ***\n* |  Unknown basis set <X>  *\n" + "*" * 30, 1, "crash", "Unknown basis set"),
        ("SCF run NOT converged\nENERGY| Total", 0, "not_converged", "NOT converged"),
        # CP2K of 2024 and later ends by that
        ("* [ABORT] *\n* SCF run NOT converged. To continue the calculation *\n" + "*" * 30, 1, "not_converged", "NOT"),
        ("ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]: -1.0", 0, "missing_output", "does not say"),
        ("GLOBAL| Total number of message passing processes 1\n" * 2, 0, "crash", "another MPI"),
    ],
)
def test_failures_are_told_apart(text, returncode, failure_class, words):
    found = cp2k._problem(text, returncode, 2 if "passing" in text else 1)
    assert found[0] == failure_class and words in found[1]


def test_only_physics_is_in_the_fingerprint(monkeypatch):
    monkeypatch.setattr(cp2k, "cp2k_version", lambda program: "2023.1")

    def fingerprint(**fields) -> str:
        return Cp2kBackend(settings=Cp2kSettings(**fields)).method().fingerprint()

    one = fingerprint()
    way = {"max_scf": 20, "mixing_alpha": 0.1, "ranks": 4, "threads": 2, "program": "x", "stress": False}
    way["gamma_min_A"] = 3
    assert fingerprint(**way) == one
    physics = [
        {"cutoff_Ry": 300},
        {"relative_cutoff_Ry": 60},
        {"smearing_K": 600},
        {"k_spacing_per_A": 0.3},
        {"eps_default": 1e-12},
        {"kinds": {"Te": {"potential": "GTH-PBE-q6"}}},
    ]
    assert len({fingerprint(**fields) for fields in physics} | {one}) == len(physics) + 1


def test_the_backend_survives_json():
    backend = Cp2kBackend(settings=Cp2kSettings(**LOOSE))
    assert MontyDecoder().process_decoded(json.loads(json.dumps(backend, cls=MontyEncoder))) == backend


def test_unsupported_structures_are_refused(gete):
    with pytest.raises(InputError, match=r"element Xe.*Ge, Sb, Te"):
        Cp2kBackend().check(Atoms("Xe", cell=[9, 9, 9], pbc=True))
    gete.pbc = (True, True, False)
    with pytest.raises(InputError, match="not periodic"):
        Cp2kBackend().check(gete)


def test_a_cell_too_small_for_the_gamma_point_alone_is_bad_input_with_both_ways_out(gete, tmp_path):
    # rock salt of 6 Å: its primitive cell is 6 / √3 high
    label = checked_label(Cp2kBackend(settings=Cp2kSettings(program="/nowhere/cp2k")), gete, tmp_path)
    assert (label.converged, label.failure_class) == (False, "bad_input")
    assert "smallest height of the cell is 3.46 Å, below the 10 Å" in label.reason and "\n" not in label.reason
    assert "--option k_spacing_per_A=0.25" in label.reason and "--option gamma_min_A=3.4" in label.reason
    for way_out in ({"k_spacing_per_A": 0.25}, {"gamma_min_A": 3.4}):
        Cp2kBackend(settings=Cp2kSettings(**way_out)).check(gete)


@given(st.lists(st.floats(2.5, 40.0), min_size=3, max_size=3), st.floats(-0.9, 0.9), st.booleans())
def test_the_height_of_the_cell_counts_not_its_edges(lengths, shear, left_handed):
    cell = np.diag(lengths)
    # slides the third vector along the first: its length grows, no height does
    cell[2, 0] = shear * lengths[0]
    height = min(cell[0, 0] * cell[2, 2] / np.hypot(cell[2, 0], cell[2, 2]), cell[1, 1], cell[2, 2])
    cell = cell[[1, 0, 2]] if left_handed else cell
    cp2k.check_gamma(cell, Cp2kSettings(gamma_min_A=height))
    with pytest.raises(InputError, match=f"{height:.2f} Å"):
        cp2k.check_gamma(cell, Cp2kSettings(gamma_min_A=height + 1e-3))


def test_a_missing_program_names_the_way_out(gete, tmp_path, monkeypatch):
    backend = Cp2kBackend(settings=Cp2kSettings(program="/nowhere/cp2k.psmp", k_spacing_per_A=1))
    with pytest.raises(MissingProgramError, match="apt-get install cp2k"):
        checked_label(backend, gete, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgramError, match="no CP2K on PATH"):
        Cp2kSettings.discover()


@pytest.mark.cp2k
@needs_cp2k
def test_forces_are_the_derivative_of_the_energy(gete, tmp_path):
    backend = Cp2kBackend(settings=Cp2kSettings.discover(**LOOSE))
    label = checked_label(backend, gete, tmp_path)
    assert label.converged, label.reason
    assert label.method_seen.fingerprint() == backend.method().fingerprint()
    assert label.stress_eV_A3.shape == (6,)
    step = 0.02
    energies = []
    for sign in (1, -1):
        moved = gete.copy()
        moved.positions[0, 0] += sign * step
        energies.append(checked_label(backend, moved, tmp_path / str(sign)).energy_eV)
    # the coarse grid moves the energy by some 0.1 meV ("egg box"), hence some 0.01 eV/Å
    assert label.forces_eV_A[0, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=0.03)


FORM_OF_2025 = r"""#!{python}
# runs CP2K and writes what it says in the form of 2025
import pathlib, re, subprocess, sys

ended = subprocess.run(["{program}", *sys.argv[1:]], capture_output=True, text=True)
text = ended.stdout.replace("CP2K version 2023.1", "CP2K version 2025.2")
text = re.sub(r"energy \[a\.u\.\]: ", "energy [hartree]", text)
print(text)
for path in pathlib.Path().glob("*-forces-*"):
    table = " FORCES| Atomic forces [hartree/bohr]\n FORCES|   Atom     x     y     z     |f|\n"
    for row in re.findall(r"^ +(\d+) +\d+ +[A-Z][a-z]? +(\S+) +(\S+) +(\S+)$", path.read_text(), re.MULTILINE):
        table += " FORCES| %6d %19.12E %19.12E %19.12E %19.12E\n" % (int(row[0]), *map(float, row[1:]), 1.0)
    path.write_text(table + " FORCES| Sum     0.0 0.0 0.0\n FORCES| Total atomic force     0.0\n")
sys.exit(ended.returncode)
"""


@pytest.mark.cp2k
@needs_cp2k
def test_a_label_is_the_same_in_the_form_of_2025(gete, tmp_path):
    settings = Cp2kSettings.discover(**LOOSE)
    if cp2k.cp2k_version(settings.program) != "2023.1":
        pytest.skip("the CP2K here is of another form already")
    program = tmp_path / "cp2k"
    program.write_text(FORM_OF_2025.replace("{python}", sys.executable).replace("{program}", settings.program))
    program.chmod(0o755)
    old = checked_label(Cp2kBackend(settings=settings), gete, tmp_path / "old")
    newer = settings.model_copy(update={"program": str(program)})
    new = checked_label(Cp2kBackend(settings=newer), gete, tmp_path / "new")
    assert "energy [hartree] " in (tmp_path / "new" / cp2k.OUTPUT).read_text()
    assert old.converged and new.converged, new.reason
    assert new.energy_eV == pytest.approx(old.energy_eV, abs=1e-9) and new.method_seen.version == "2025.2"
    np.testing.assert_allclose(new.forces_eV_A, old.forces_eV_A, atol=1e-9)
    np.testing.assert_allclose(new.stress_eV_A3, old.stress_eV_A3, atol=1e-9)


@pytest.mark.cp2k
@needs_cp2k
def test_too_few_steps_are_a_failed_label_although_cp2k_exits_0(gete, tmp_path):
    label = checked_label(Cp2kBackend(settings=Cp2kSettings.discover(**LOOSE, max_scf=2)), gete, tmp_path)
    assert (label.converged, label.failure_class, label.energy_eV) == (False, "not_converged", None)


@pytest.mark.cp2k
@needs_cp2k
def test_an_unknown_basis_is_a_crash_with_cp2ks_words(gete, tmp_path):
    kinds = {"Ge": {"basis": "NO-SUCH-BASIS", "potential": "GTH-PBE-q4"}, "Te": {"potential": "GTH-PBE-q6"}}
    backend = Cp2kBackend(settings=Cp2kSettings.discover(**LOOSE, kinds=kinds))
    label = checked_label(backend, gete, tmp_path)
    assert label.failure_class == "crash" and "basis" in label.reason.lower()


@pytest.mark.cp2k
@pytest.mark.slow
@needs_cp2k
def test_two_ranks_use_the_programs_own_mpi_and_a_k_mesh(gete, tmp_path):
    settings = Cp2kSettings.discover(**LOOSE, ranks=2, k_spacing_per_A=1.0, stress=False)
    label = checked_label(Cp2kBackend(settings=settings), gete, tmp_path)
    assert label.converged, label.reason
    assert "MONKHORST-PACK 3 3 3" in (tmp_path / cp2k.INPUT).read_text()
