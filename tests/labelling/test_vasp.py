"""VASP's inputs against the paper, its handlers against our rules, and a stand-in run through real custodian.

No licensed file is here: POTCARs are headers made up by the test.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import read
from monty.json import MontyDecoder, MontyEncoder
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.labelling.backend import RawLabel, checked_label, doubts
from gst_jobflow.labelling.kpoints import kpoint_mesh
from gst_jobflow.labelling.vasp import (
    VaspBackend,
    VaspSettings,
    find_command,
    static_maker,
    vasp_order,
    write_inputs,
)
from tests.labelling.stand_in_vasp import OUTCAR

# made-up POTCARs are not known to pymatgen, and that is right
pytestmark = pytest.mark.filterwarnings("ignore")
STAND_IN = Path(__file__).with_name("stand_in_vasp.py")
EXPECTED = Path(__file__).parents[1] / "data" / "expected_vasp_inputs"
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"


@pytest.fixture
def gst() -> Atoms:
    """Return a cell whose atoms are not in VASP's order."""
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.symbols[2] = "Sb"
    atoms.rattle(0.1, seed=3)
    return atoms


def stand_in(**fields) -> VaspBackend:
    settings = {"command": COMMAND, "polling_s": 0.1, "allow_stand_in": True, **fields}
    return VaspBackend(settings=VaspSettings(**settings))


def test_the_input_files_are_the_papers(gst, potcars, tmp_path):
    from pymatgen.io.vasp.inputs import Incar, Poscar, Potcar

    ordered, _ = vasp_order(gst)
    write_inputs(ordered, VaspSettings(), tmp_path)
    incar = dict(Incar.from_file(tmp_path / "INCAR"))
    incar["GGA"] = incar["GGA"].upper()
    assert incar == {
        "GGA": "PE",
        "ENCUT": 600,
        "EDIFF": 1e-7,
        "KSPACING": 0.2,
        "KGAMMA": True,
        "ISMEAR": 0,
        "SIGMA": 0.05,
        "ISPIN": 1,
        "PREC": "Accurate",
        "LREAL": False,
        "LASPH": False,
        "ALGO": "Normal",
        "NELM": 100,
        "NSW": 0,
        "IBRION": -1,
        "ISIF": 2,
        "LWAVE": False,
        "LCHARG": False,
    }
    assert not (tmp_path / "KPOINTS").exists()  # KSPACING rules
    assert [single.TITEL.split()[1] for single in Potcar.from_file(tmp_path / "POTCAR")] == ["Ge_d", "Sb", "Te"]
    assert Poscar.from_file(tmp_path / "POSCAR").site_symbols == ["Ge", "Sb", "Te"]


@pytest.mark.parametrize("atoms", read(EXPECTED / "structures.extxyz", ":"), ids=lambda atoms: atoms.info["name"])
def test_the_inputs_of_five_structures_are_the_stored_ones(atoms, potcars, tmp_path):
    from pymatgen.io.vasp.inputs import Potcar

    settings, expected = VaspSettings(), EXPECTED / atoms.info["name"]
    ordered, _ = vasp_order(atoms)
    write_inputs(ordered, settings, tmp_path)
    assert (tmp_path / "INCAR").read_text() == (expected / "INCAR").read_text()
    made, stored = ((folder / "POSCAR").read_text() for folder in (tmp_path, expected))
    # machines differ in the last of sixteen digits
    assert re.sub(r"-?\d+\.\d+", "", made) == re.sub(r"-?\d+\.\d+", "", stored)
    numbers = [[float(word) for word in re.findall(r"-?\d+\.\d+", text)] for text in (made, stored)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-12)
    assert not (tmp_path / "KPOINTS").exists()
    mesh = kpoint_mesh(ordered.cell.array, settings.kspacing_per_A)
    assert " ".join(map(str, mesh)) == (expected / "mesh").read_text().strip()
    titles = [single.TITEL for single in Potcar.from_file(tmp_path / "POTCAR")]
    assert titles == (expected / "POTCAR.titles").read_text().splitlines()


def test_the_maker_for_atomate2_has_our_inputs_and_handlers(gst):
    from pymatgen.io.ase import AseAtomsAdaptor

    maker = static_maker(VaspSettings(ncore=4, command="srun vasp_std"))
    inputs = maker.input_set_generator.get_input_set(
        AseAtomsAdaptor.get_structure(vasp_order(gst)[0]), potcar_spec=True
    )
    assert (inputs.incar["ENCUT"], inputs.incar["NCORE"], inputs.incar["ISMEAR"]) == (600, 4, 0)
    assert inputs.potcar.split() == ["Ge_d", "Sb", "Te"]
    names = {type(handler).__name__ for handler in maker.run_vasp_kwargs["handlers"]}
    assert "VaspErrorHandler" in names and "LargeSigmaHandler" not in names
    assert MontyDecoder().process_decoded(json.loads(json.dumps(maker, cls=MontyEncoder))).name == "label"


def test_the_fingerprint_of_the_default_settings_stays():
    # it keys the labels of every database: another one would part new labels from old ones
    assert VaspBackend(settings=VaspSettings()).method().fingerprint() == "vasp:ac580584b00ba626"


def test_only_physics_is_in_the_fingerprint():
    def fingerprint(**fields) -> str:
        return VaspBackend(settings=VaspSettings(**fields)).method().fingerprint()

    one = fingerprint()
    way = {"algo": "Fast", "nelm": 60, "ncore": 8, "kpar": 2, "command": "x", "wall_limit_s": 5, "max_errors": 1}
    assert fingerprint(**way) == one
    titles = {**VaspSettings().potcar_titles, "Ge": "PAW_PBE Ge_d 01Jan2030"}
    physics = [
        {"encut_eV": 500},
        {"ediff_eV": 1e-5},
        {"kspacing_per_A": 0.3},
        {"kgamma": False},
        {"functional": "PBEsol"},
        {"functional": "RPBE"},
        {"functional": "r2SCAN"},
        {"ismear": 1},
        {"sigma_eV": 0.1},
        {"ispin": 2},
        {"prec": "Normal"},
        {"lreal": True},
        {"lasph": True},
        {"potcar_titles": titles},
        {"allow_stand_in": True},
    ]
    assert len({fingerprint(**fields) for fields in physics} | {one}) == len(physics) + 1


def test_labels_of_a_few_cores_share_a_job():
    small = VaspSettings(cores=4, command="srun --exact -n {cores} vasp_std")
    backend = VaspBackend(settings=small)
    assert (backend.cores, small.full_command) == (4, "srun --exact -n 4 vasp_std")
    assert VaspBackend().cores is None
    assert backend.method() == VaspBackend().method()
    with pytest.raises(ValidationError, match="cores=8"):
        VaspSettings(command="srun -n {cores} vasp_std")


def test_every_handler_and_error_of_the_installed_custodian_is_allowed_or_refused():
    from custodian.custodian import ErrorHandler
    from custodian.vasp import handlers

    from gst_jobflow.labelling import vasp_custodian as ours

    known = {
        name
        for name, item in vars(handlers).items()
        if isinstance(item, type) and issubclass(item, ErrorHandler) and item is not ErrorHandler
    }
    own = {"RefusedErrorHandler", "WallLimitHandler"}
    # a handler or error that is new in custodian must be judged before it can run
    assert known == set(ours.ALLOWED_HANDLERS) - own | set(ours.REFUSED_HANDLERS)
    assert not set(ours.ALLOWED_HANDLERS) & set(ours.REFUSED_HANDLERS)
    judged = [*ours.ALLOWED_ERRORS, *ours.REFUSED_ERRORS, *ours.IGNORED_ERRORS]
    assert sorted(judged) == sorted(handlers.VaspErrorHandler.error_msgs)
    assert set(ours.STDERR_ERRORS) == set(handlers.StdErrHandler.error_msgs)
    ours.refuse_handlers(ours.label_handlers(60.0))


@pytest.mark.parametrize("fields", [{}, {"algo": "Fast", "ncore": 4, "kpar": 2}, {"functional": "r2SCAN"}])
def test_corrections_of_allowed_errors_leave_what_is_computed(gst, potcars, tmp_path, fields):
    from custodian.vasp.handlers import StdErrHandler, VaspErrorHandler

    from gst_jobflow.labelling import vasp_custodian as ours

    settings = VaspSettings(**fields)
    ordered, _ = vasp_order(gst)
    for error, output, handler in [
        *((name, "vasp.out", VaspErrorHandler(errors_subset_to_catch=[name])) for name in ours.ALLOWED_ERRORS),
        *((name, "std_err.txt", StdErrHandler()) for name in ours.STDERR_ERRORS),
    ]:
        folder = tmp_path / f"{error}-{output}"
        folder.mkdir()
        write_inputs(ordered, settings, folder)
        (folder / "CONTCAR").write_text((folder / "POSCAR").read_text())
        (folder / "OUTCAR").write_text(OUTCAR)
        before = ours._inputs(folder)
        for _ in range(4):
            (folder / output).write_text(handler.error_msgs[error][0] + "\n")
            assert handler.check(str(folder)), error
            handler.correct(str(folder))
            assert ours._inputs(folder) == before, error


@pytest.mark.parametrize(
    "name", ["LargeSigmaHandler", "IncorrectSmearingHandler", "KspacingMetalHandler", "MeshSymmetryErrorHandler"]
)
def test_handlers_that_change_what_is_computed_are_refused(name):
    from custodian.vasp import handlers

    from gst_jobflow.labelling.vasp_custodian import refuse_handlers

    with pytest.raises(InputError, match=name):
        refuse_handlers([getattr(handlers, name)()])
    with pytest.raises(InputError, match=r"tet.*may change"):
        refuse_handlers([handlers.VaspErrorHandler()])


@pytest.mark.parametrize(
    ("alters", "words"),
    [
        ({"ENCUT": 520}, "ENCUT: 600.0 -> 520"),
        ({"GGA": "Ps"}, "GGA: Pe -> Ps"),
        ({"KSPACING": 0.4}, "KSPACING: 0.2 -> 0.4"),
        ({"SIGMA": 0.2}, "SIGMA"),
        ({"IVDW": 12}, "IVDW"),
        ({"KPOINTS": "0\n0\nGamma\n1 1 1\n"}, "KPOINTS"),
        ({"POSCAR": 1.01}, "POSCAR"),
    ],
)
def test_a_correction_that_would_alter_the_physics_never_runs(gst, potcars, tmp_path, monkeypatch, alters, words):
    """Even a handler that passes the list by its name cannot restart VASP with other physics."""
    from custodian.vasp.handlers import UnconvergedErrorHandler
    from pymatgen.io.vasp.inputs import Incar, Poscar

    from gst_jobflow.labelling import vasp_custodian as ours

    def correct(self, directory="./"):
        for key, value in alters.items():
            if key == "KPOINTS":
                (Path(directory) / key).write_text(value)
            elif key == "POSCAR":
                structure = Poscar.from_file(Path(directory) / key).structure
                structure.scale_lattice(structure.volume * value)
                Poscar(structure).write_file(Path(directory) / key)
            else:
                incar = Incar.from_file(Path(directory) / "INCAR")
                incar[key] = value
                incar.write_file(Path(directory) / "INCAR")
        return {"errors": ["Unconverged"], "actions": [{"dict": "INCAR", "action": {"_set": alters}}]}

    monkeypatch.setattr(UnconvergedErrorHandler, "correct", correct)
    monkeypatch.setenv("STAND_IN_DOES", "never converges")
    label = checked_label(stand_in(nelm=20), gst, tmp_path / "run")
    assert (label.converged, label.failure_class) == (False, "wrong_method"), label.reason
    assert "a correction would have changed" in label.reason and words in label.reason
    assert ours.ALLOWED_HANDLERS["UnconvergedErrorHandler"] == "ALGO and mixing"


def test_a_stand_in_run_gives_the_numbers_of_its_calculator(gst, potcars, tmp_path):
    backend = stand_in()
    label = checked_label(backend, gst, tmp_path / "run")
    assert label.converged, label.reason
    assert label.method_seen.code == "vasp-stand-in"
    reference = gst.copy()
    reference.calc = LennardJones(sigma=2.6, epsilon=0.3, rc=7.0)
    # vasprun.xml has 8 decimals in fractions of the cell
    assert label.energy_eV == pytest.approx(reference.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(label.forces_eV_A, reference.get_forces(), atol=1e-5)
    np.testing.assert_allclose(label.stress_eV_A3, reference.get_stress(), atol=1e-6)
    assert {"INCAR", "vasprun.xml", "OUTCAR", "custodian.json"} <= set(label.files)


def test_a_left_handed_cell_is_the_same_crystal(gst, potcars, tmp_path):
    gst.set_cell(gst.cell.array[[1, 0, 2]])
    gst.cell[0] *= 1.02
    assert gst.cell.handedness < 0
    label = checked_label(stand_in(), gst, tmp_path / "run")
    gst.calc = LennardJones(sigma=2.6, epsilon=0.3, rc=7.0)
    assert label.converged, label.reason
    np.testing.assert_allclose(label.forces_eV_A, gst.get_forces(), atol=1e-5)


def test_the_stand_in_is_refused_unless_a_test_allows_it(gst, potcars, tmp_path):
    label = checked_label(stand_in(allow_stand_in=False), gst, tmp_path / "run")
    assert (label.converged, label.failure_class) == (False, "wrong_method")
    assert "stand-in" in label.reason


@pytest.mark.parametrize(
    ("does", "failure_class", "words"),
    [
        ("crash", "crash", "exit status 174: forrtl: severe (174): SIGSEGV"),
        ("killed", "crash", "signal 9"),
        ("disk full", "disk_full", "No space left on device"),
        ("a force too few", "missing_output", "forces on 7 of 8 atoms"),
        ("other cutoff", "wrong_method", "ENCUT"),
        ("other functional", "wrong_method", "GGA"),
        ("dies without output", "missing_output", "VasprunXMLValidator"),
        ("cut output", "missing_output", "VasprunXMLValidator"),
        ("never converges", "not_converged", "Unconverged"),
        ("tetrahedron", "crash", "tet"),
        ("other sigma", "wrong_method", "SIGMA"),
        ("unknown key", "wrong_method", "IVDW"),
        ("other mesh", "wrong_method", "KSPACING"),
        ("other potcar", "wrong_method", "Ge 05Jan2001"),
        ("moves", "wrong_method", "positions"),
    ],
)
def test_every_failure_is_a_failed_label(gst, potcars, tmp_path, monkeypatch, does, failure_class, words):
    monkeypatch.setenv("STAND_IN_DOES", does)
    label = checked_label(stand_in(nelm=20, max_errors=2), gst, tmp_path / "run")
    assert (label.converged, label.failure_class) == (False, failure_class), label.reason
    assert words in label.reason
    assert label.energy_eV is None


def test_a_run_beyond_its_wall_limit_is_ended(gst, potcars, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_DOES", "hang")
    label = checked_label(stand_in(wall_limit_s=2.0), gst, tmp_path / "run")
    assert label.failure_class == "timeout"


def test_a_run_that_prints_nothing_for_too_long_is_ended(gst, potcars, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_DOES", "hang")
    label = checked_label(stand_in(wall_limit_s=500.0, frozen_s=0.5, polling_s=0.05), gst, tmp_path / "run")
    assert (label.failure_class, "frozen_s" in label.reason) == ("timeout", True)


@pytest.mark.parametrize(("functional", "tags"), [("PBEsol", {"GGA": "PS"}), ("r2SCAN", {"METAGGA": "R2SCAN"})])
def test_another_functional_is_another_method_of_the_same_inputs(gst, potcars, tmp_path, functional, tags):
    from pymatgen.io.vasp.inputs import Incar
    from pymatgen.io.vasp.outputs import Vasprun

    from gst_jobflow.importing.vasp import vasprun_method

    backend = stand_in(functional=functional)
    label = checked_label(backend, gst, tmp_path / "run")
    assert label.converged, label.reason
    assert label.method_seen.fingerprint() == backend.method().fingerprint() != stand_in().method().fingerprint()
    incar = Incar.from_file(tmp_path / "run" / "INCAR")
    assert {key: str(incar[key]).upper() for key in tags} == tags
    assert ("GGA" in incar, incar["LASPH"]) == (functional != "r2SCAN", functional == "r2SCAN")
    # a vasprun.xml that is imported is of the same method
    assert vasprun_method(Vasprun(tmp_path / "run/vasprun.xml", parse_potcar_file=False)) == label.method_seen


def test_a_cell_of_too_many_k_points_is_refused_with_their_number(potcars, tmp_path):
    small = bulk("Te", "sc", a=1.9)
    backend = stand_in(functional="PBE")
    label = checked_label(backend, small, tmp_path / "run")
    assert (label.failure_class, label.converged) == ("bad_input", False)
    assert "17 × 17 × 17 = 4,913 k-points, more than 2,000" in label.reason
    assert "max_kpoints=4913" in label.reason
    allowed = stand_in(max_kpoints=4913)
    allowed.check(small)
    assert allowed.method() == backend.method()


def test_an_element_without_its_potcar_fails_its_structures_only(gst, potcars, tmp_path):
    from pymatgen.io.vasp.inputs import PotcarSingle

    (potcars / PotcarSingle.functional_dir["PBE_54"] / "POTCAR.Sb").unlink()
    label = checked_label(stand_in(), gst, tmp_path / "a")
    assert (label.failure_class, label.reason) == ("bad_input", "no POTCAR of Sb in the PBE_54 set")
    assert checked_label(stand_in(), bulk("GeTe", "rocksalt", a=6.0, cubic=True), tmp_path / "b").converged


def test_a_handler_may_change_the_way_to_convergence(gst, potcars, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_DOES", "needs another ALGO")
    backend = stand_in(nelm=20)
    label = checked_label(backend, gst, tmp_path / "run")
    assert label.converged, label.reason
    assert "ALGO = All" in (tmp_path / "run/INCAR").read_text()
    assert label.method_seen.fingerprint() == backend.method().fingerprint()


def test_a_second_run_does_not_read_the_first_ones_output(gst, potcars, tmp_path, monkeypatch):
    assert checked_label(stand_in(), gst, tmp_path / "run").converged
    monkeypatch.setenv("STAND_IN_DOES", "dies without output")
    assert checked_label(stand_in(), gst, tmp_path / "run").failure_class == "missing_output"


def test_the_current_folder_is_left_alone(gst, potcars, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert checked_label(stand_in(), gst, Path("run")).converged
    assert Path.cwd() == tmp_path
    assert set(tmp_path.iterdir()) - before == {tmp_path / "run"}


def test_missing_parts_name_the_way_out(gst, tmp_path, monkeypatch):
    from pymatgen.io.vasp import inputs

    with pytest.raises(MissingProgramError, match="no program 'no-such-vasp'"):
        find_command("mpirun no-such-vasp" if Path("/usr/bin/mpirun").exists() else "no-such-vasp")
    monkeypatch.setitem(inputs.SETTINGS, "PMG_VASP_PSP_DIR", None)
    with pytest.raises(MissingProgramError, match=r"PMG_VASP_PSP_DIR.*VASP_PP_PATH"):
        checked_label(stand_in(), gst, tmp_path / "a")
    monkeypatch.setitem(inputs.SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    with pytest.raises(MissingProgramError, match=r"no folder .*VASP_PP_PATH"):
        checked_label(stand_in(), gst, tmp_path / "b")
    with pytest.raises(MissingProgramError, match="did you mean 'PBE_54'"):
        checked_label(stand_in(potcar_functional="PBE54"), gst, tmp_path / "b")


def test_a_potcar_of_another_title_is_found_before_the_run(gst, potcars, tmp_path):
    titles = {**VaspSettings().potcar_titles, "Sb": "PAW_PBE Sb 01Jan2030"}
    with pytest.raises(MissingProgramError, match="01Jan2030"):
        checked_label(stand_in(potcar_titles=titles), gst, tmp_path / "run")


def test_bad_settings_and_structures_are_refused(gst):
    with pytest.raises(ValidationError, match="did you mean 'encut_eV'"):
        VaspSettings(encut=500)
    with pytest.raises(ValidationError, match="different elements"):
        VaspSettings(potcars={"Ge": "Ge_d"})
    gst.symbols[0] = "Xe"
    with pytest.raises(InputError, match="Xe"):
        VaspBackend().check(gst)


def test_the_backend_survives_json():
    backend = stand_in(encut_eV=400)
    assert MontyDecoder().process_decoded(json.loads(json.dumps(backend, cls=MontyEncoder))) == backend


def test_totals_of_a_meta_gga_have_bounds_only_against_free_atoms():
    assert VaspBackend().bounds.lower_eV_per_atom == -15
    meta = VaspBackend(settings=VaspSettings(functional="r2SCAN"))
    assert (meta.bounds.lower_eV_per_atom, meta.bounds.upper_eV_per_atom) == (None, None)
    assert MontyDecoder().process_decoded(json.loads(json.dumps(meta, cls=MontyEncoder))) == meta
    atoms = bulk("GeTe", "rocksalt", a=6.0)
    label = RawLabel(converged=True, energy_eV=-80.0, forces_eV_A=np.zeros((2, 3)))
    assert not list(doubts(label, atoms, meta.bounds))
    known = VaspBackend(settings=meta.settings, bounds={"free_atom_eV": {"Ge": -20.0, "Te": -52.0}})
    assert not list(doubts(label, atoms, known.bounds))
    label.energy_eV = -110.0
    [(failure_class, reason)] = doubts(label, atoms, known.bounds)
    assert failure_class == "unphysical" and "-19 eV/atom (above free atoms) is outside -15..60" in reason
