"""CP2K's files, as CP2K 2023.1 wrote them (data/cp2k/README.md): units, steps that belong together, and the method."""

from __future__ import annotations

import gzip
import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, GPa, Hartree

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Label, Structure
from gst_jobflow.importing.formats import SourceFile, read_records, source_files
from gst_jobflow.importing.labels import computed_of
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.importing.run import import_files
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.store import Results

DATA = Path(__file__).with_name("data") / "cp2k"
AIMD = ImportOptions(default_config_type="aimd")
LOOSE = Cp2kSettings(cutoff_Ry=150, relative_cutoff_Ry=30, eps_default=1e-8)


@pytest.fixture
def run(tmp_path) -> Path:
    """A folder with the files of a run, to be changed."""
    shutil.copytree(DATA, tmp_path / "run")
    return tmp_path / "run"


def read(file: Path) -> list[Record]:
    source_files([file], AIMD)
    return list(read_records(file, AIMD))


def change(file: Path, old: str, new: str, count: int = 1) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, count))


@pytest.mark.parametrize("name", ["gete-pos-1.xyz", "gete.out"])
def test_numbers_and_units_of_a_trajectory(name):
    assert SourceFile.of(DATA / name).format == "cp2k"
    records = read(DATA / name)
    assert [record.index for record in records] == list(range(5)) and not any(record.problem for record in records)
    # the fourth step as it stands in the files
    computed = computed_of(records[3].atoms)
    assert computed.energy_eV == pytest.approx(-11.7658140864 * Hartree, abs=1e-10)
    first = np.array([-0.0395464027, 0.0176279794, -0.0196590098]) * Hartree / Bohr
    np.testing.assert_allclose(computed.forces_eV_A[0], first, atol=1e-10)
    np.testing.assert_allclose(records[3].atoms.positions[1], [2.8844849593, 0.0913647060, -0.2297097672], atol=1e-12)
    assert records[3].atoms.get_chemical_symbols() == ["Ge", "Te"]
    assert np.array_equal(records[3].atoms.cell.array, [[0, 3, 3], [3, 0, 3], [3, 3, 0]])


def test_energies_and_forces_belong_together():
    records = read(DATA / "gete.out")
    assert len(records) == 5
    for one, two in itertools.pairwise(records):
        first, second = computed_of(one.atoms), computed_of(two.atoms)
        work = -np.sum((first.forces_eV_A + second.forces_eV_A) * (two.atoms.positions - one.atoms.positions)) / 2
        # the springs between two atoms are not quite springs, and SCF stops at 1e-6
        assert second.energy_eV - first.energy_eV == pytest.approx(work, rel=0.01)


def test_the_method_is_that_of_our_own_labels():
    ours = Cp2kBackend(settings=LOOSE).method_of("2023.1").fingerprint()
    for name in ("gete-pos-1.xyz", "label.out"):
        assert {record.method.fingerprint() for record in read(DATA / name)} == {ours}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("&XC_FUNCTIONAL PBE", "&XC_FUNCTIONAL BLYP", "XC_FUNCTIONAL"),
        ("&XC_FUNCTIONAL PBE\n", "&XC_FUNCTIONAL PBE\n &PBE\n PARAMETRIZATION PBESOL\n &END\n", "PBE"),
        ("    &DFT", "    &DFT\n UKS T", "UKS"),
        ("ADDED_MOS 8", "ADDED_MOS 20", "ADDED_MOS"),
        ("METHOD FERMI_DIRAC", "METHOD ENERGY_WINDOW", "METHOD"),
        ("    &XC\n", "    &XC\n &VDW_POTENTIAL\n POTENTIAL_TYPE PAIR_POTENTIAL\n &END\n", "VDW_POTENTIAL"),
        ("  &DFT", "  &DFT\n &KPOINTS\n SCHEME MONKHORST-PACK 3 3 3\n &END", "k-point"),
        ("      CUTOFF 150.0", "", "CUTOFF"),
        ("&GLOBAL", "@SET A 1\n&GLOBAL", "preprocessor"),
    ],
)
def test_an_input_that_is_not_one_of_ours_has_no_method_and_says_why(run, old, new, words):
    text = (run / "gete.inp").read_text()
    (run / "gete.inp").write_text(text.replace(old.strip() if old not in text else old, new, 1))
    records = read(run / "gete-pos-1.xyz")
    assert len(records) == 5 and not any(record.problem for record in records)
    assert all(record.method is None and words in record.no_method for record in records)
    with pytest.raises(InputError, match="--method"):
        import_files([run / "gete-pos-1.xyz"], None, AIMD.model_copy(update={"dry_run": True}))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MAX_SCF 200", "MAX_SCF 50"),
        ("ALPHA 0.2", "ALPHA 0.1"),
        ("CUTOFF 150.0", "cutoff [Ry] 1.5E2"),
        ("&QS\n", "&QS\n EXTRAPOLATION ASPC\n"),
        ("SCF_GUESS ATOMIC", "SCF_GUESS RESTART"),
    ],
)
def test_numerics_are_not_part_of_the_method(run, old, new):
    change(run / "gete.inp", old, new)
    ours = Cp2kBackend(settings=LOOSE).method_of("2023.1").fingerprint()
    assert read(run / "gete-pos-1.xyz")[0].method.fingerprint() == ours


def test_steps_converged_less_than_the_first_are_not_our_method(run):
    change(run / "gete.inp", "&SCF\n", "&SCF\n EPS_SCF_HISTORY 1E-3\n")
    record = read(run / "gete-pos-1.xyz")[0]
    assert record.method is None and "EPS_SCF_HISTORY" in record.no_method


def test_other_settings_are_another_method(run):
    change(run / "gete.inp", "CUTOFF 150.0", "CUTOFF 300")
    other = Cp2kBackend(settings=LOOSE.model_copy(update={"cutoff_Ry": 300.0})).method_of("2023.1").fingerprint()
    assert read(run / "gete-pos-1.xyz")[0].method.fingerprint() == other


def test_steps_that_did_not_converge_are_bad(run):
    places = iter(range(5))

    def mark(found: re.Match[str]) -> str:
        return found[0] if next(places) not in (1, 3) else "SCF run NOT converged"

    (run / "gete.out").write_text(re.sub("SCF run converged", mark, (run / "gete.out").read_text()))
    records = read(run / "gete-pos-1.xyz")
    assert [bool(record.problem) for record in records] == [False, True, False, True, False]
    assert "step 1: SCF run NOT converged" in records[1].problem


def test_the_first_state_may_be_the_one(run):
    change(run / "gete.out", "*** SCF run converged in", "SCF run NOT converged in")
    assert [bool(record.problem) for record in read(run / "gete.out")] == [True, False, False, False, False]


def test_steps_that_are_not_in_the_output_are_bad(run):
    text = (run / "gete.out").read_text()
    (run / "gete.out").write_text(text[: text.index("Step number   ", text.index("MD| Step number") + 200)])
    records = read(run / "gete-pos-1.xyz")
    assert [bool(record.problem) for record in records] == [False, False, True, True, True]
    assert "whether it converged" in records[2].problem


@pytest.mark.parametrize(
    ("name", "old", "new", "good", "words"),
    [
        ("gete-frc-1.xyz", "i =        2", "i =        7", 2, "positions of step 2 meet forces of step 7"),
        ("gete-pos-1.xyz", "i =        2", "i =        7", 2, "positions of step 7 meet forces of step 2"),
        ("gete-1.cell", "       3       6.000", "       9       6.000", 3, "meet the cell of step 9"),
        ("gete-frc-1.xyz", "-11.7663250943", "-11.7663250944", 2, "different energies"),
        ("gete-frc-1.xyz", "\n Te ", "\n Sb ", 0, "different atoms"),
        ("gete-pos-1.xyz", "2.8866343166", "************", 2, "could not convert"),
        ("gete-pos-1.xyz", " i =        3, time", "nothing, time", 3, "not the head of a step"),
    ],
)
def test_files_that_do_not_match_end_the_reading(run, name, old, new, good, words):
    change(run / name, old, new)
    records = read(run / "gete-pos-1.xyz")
    problems = [record for record in records if record.problem]
    assert len(records) - len(problems) == good
    assert words in problems[0].problem and problems[0].index == good


def test_cut_files(run):
    positions, forces = run / "gete-pos-1.xyz", run / "gete-frc-1.xyz"
    text = positions.read_text()
    for lost in (1, 30, 60):
        positions.write_text(text[:-lost])
        *good, last = read(positions)
        assert len(good) == 4 and "truncated in step 4" in last.problem
    positions.write_text(text)
    whole = forces.read_text()
    forces.write_text(whole[:-250])
    *good, last = read(positions)
    assert len(good) == 3 and "truncated in step 3" in last.problem
    forces.write_text(whole[: len(whole) // 5 * 3])
    *good, last = read(positions)
    assert len(good) == 3 and "no forces of step 3" in last.problem


def test_where_the_cell_comes_from(run):
    (run / "gete-1.cell").unlink()
    assert np.array_equal(read(run / "gete.out")[4].atoms.cell.array, [[0, 3, 3], [3, 0, 3], [3, 3, 0]])
    change(run / "gete.inp", "ENSEMBLE NVE", "ENSEMBLE NPT_I")
    assert "the cell changes" in read(run / "gete-pos-1.xyz")[0].problem
    (run / "gete.inp").unlink()
    assert "no cell" in read(run / "gete-pos-1.xyz")[0].problem


def test_a_missing_output_is_a_warning(run):
    (run / "gete.out").unlink()
    given = AIMD.model_copy(update={"dry_run": True, "fingerprint": "imported:1", "method": {"code": "imported"}})
    report = import_files([run / "gete-pos-1.xyz"], None, given)
    assert report.records == 5 and report.n_bad == 0
    assert [flaw.reason for flaw in report.warnings] == [
        "no CP2K output beside it: whether the electrons converged is not known, nor is the version"
    ]
    strict = import_files([run / "gete-pos-1.xyz"], None, given.model_copy(update={"strict": True}))
    assert strict.stopped


def test_missing_siblings_are_named_before_anything_is_read(run):
    with pytest.raises(InputError, match="forces only"):
        source_files([run / "gete-frc-1.xyz"], AIMD)
    (run / "gete-frc-1.xyz").unlink()
    for name in ("gete-pos-1.xyz", "gete.out"):
        with pytest.raises(InputError, match=r"gete-frc-1\.xyz"):
            source_files([run / name], AIMD)
    (run / "gete-pos-1.xyz").unlink()
    with pytest.raises(InputError, match=r"gete-pos-1\.xyz"):
        source_files([run / "gete.out"], AIMD)
    (run / "label.inp").unlink()
    with pytest.raises(InputError, match="input"):
        source_files([run / "label.out"], AIMD)


def test_other_units_in_the_input_are_refused(run):
    change(run / "gete.inp", "    &TRAJECTORY\n", "    &TRAJECTORY\n      UNIT bohr\n")
    assert "bohr" in read(run / "gete-pos-1.xyz")[0].problem


def test_packed_files(run):
    for name in ("gete-pos-1.xyz", "gete-frc-1.xyz", "gete.out"):
        (run / f"{name}.gz").write_bytes(gzip.compress((run / name).read_bytes()))
        (run / name).unlink()
    records = read(run / "gete-pos-1.xyz.gz")
    assert len(records) == 5 and records[0].method is not None and not any(record.problem for record in records)


def test_a_single_point():
    [record] = read(DATA / "label.out")
    computed = computed_of(record.atoms)
    assert computed.energy_eV == pytest.approx(-11.767792601746 * Hartree, abs=1e-8)
    np.testing.assert_allclose(
        computed.forces_eV_A[0],
        np.array([-0.035324537037, 0.016105107442, -0.020054996608]) * Hartree / Bohr,
        atol=1e-10,
    )
    # positive in CP2K is pressure
    assert computed.stress_eV_A3[0] == pytest.approx(-57.1827927065 * GPa, abs=1e-10)
    first = read(DATA / "gete.out")[0].atoms
    np.testing.assert_allclose(record.atoms.positions, first.positions, atol=1e-10)


def test_a_single_point_that_did_not_converge(run):
    change(run / "label.out", "*** SCF run converged in", "SCF run NOT converged in")
    assert "NOT converged" in read(run / "label.out")[0].problem
    shutil.copy(DATA / "label.out", run)
    (run / "label-forces-1_0.xyz").unlink()
    report = import_files([run / "label.out"], None, AIMD.model_copy(update={"dry_run": True}))
    assert "without forces" in report.bad[0].reason


def test_a_single_point_of_cp2k_2025():
    [record] = read(DATA.parent / "cp2k_2025" / "gete.out")
    computed = computed_of(record.atoms)
    assert computed.energy_eV == pytest.approx(-60.123456789012345 * Hartree, abs=1e-10)
    np.testing.assert_allclose(computed.forces_eV_A[0], [0.5142, -1.0284, 0.1543], atol=1e-4)
    expected = [-0.00749, 0.02122, -0.03495, -0.00187, -0.00125, -0.00062]
    np.testing.assert_allclose(computed.stress_eV_A3, expected, atol=1e-5)


def restarted(run: Path) -> None:
    """Steps 2 to 4 again behind those, with other energies, as a run that was restarted from step 1 writes them."""
    for name in ("gete-pos-1.xyz", "gete-frc-1.xyz", "gete-1.cell"):
        lines = (run / name).read_text().splitlines(keepends=True)
        again = lines[-3:] if name.endswith(".cell") else lines[2 * 4 :]
        text = "".join(lines) + re.sub(r"E =( +-11\.76\d{3})\d", r"E =\g<1>9", "".join(again))
        (run / name).write_text(text)


def test_frames_behind_a_restart_are_not_judged_by_the_output_of_the_first_run(run):
    restarted(run)
    problems = [record.problem for record in read(run / "gete.out")]
    assert problems[:5] == [""] * 5
    assert [problem.split(" is ")[0] for problem in problems[5:]] == ["step 2", "step 3", "step 4"]
    assert all("of another run than gete.out" in problem for problem in problems[5:])


def test_frames_before_a_restart_are_not_judged_by_the_output_of_the_second_run(run):
    shutil.copytree(DATA.parent / "cp2k_restart", run, dirs_exist_ok=True)
    problems = [record.problem for record in read(run / "run2.out")]
    assert all("run2.out, so whether it converged is not known" in problem for problem in problems[:6])
    assert problems[6:] == [""] * 4
    problems = [record.problem for record in read(run / "run1.out")]
    assert problems[1:5] == [""] * 4 and problems[5] == "step 5: SCF run NOT converged"
    assert all("another run" in problem or "not in run1.out" in problem for problem in problems[6:])


@pytest.mark.mongo
def test_into_the_database(project, run):
    results = Results.open(project)
    report = import_files([run / "gete.out"], results, AIMD)
    assert report.labels["new"] == 5 and not report.bad and not report.warnings
    structures = list(results.find(Structure, {}))
    assert {item.group for item in structures} == {item.id for item in structures if item.source["index"] == 0}
    # its two files are one trajectory; the single point is of its first frame, and its energy the same within 1e-4 eV
    assert import_files([run / "gete-pos-1.xyz"], results, AIMD).labels["new"] == 0
    assert import_files([run / "label.out"], results, AIMD).n_bad == 0
    assert results.database["labels"].count_documents({}) == 5
    assert len({label.fingerprint for label in results.find(Label, {})}) == 1
