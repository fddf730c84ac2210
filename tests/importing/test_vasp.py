"""VASP's files: the numbers as they stand, the method as our own backend has it, and nothing that did not converge.

vasprun.xml is written by the stand-in of the label tests with the program's name changed where a test needs VASP's own.
"""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Label, Structure
from gst_jobflow.importing.formats import SourceFile, read_records
from gst_jobflow.importing.labels import computed_of
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.importing.run import import_files
from gst_jobflow.labelling.vasp import VaspBackend, VaspSettings, incar_updates
from gst_jobflow.store import Results
from tests.labelling import stand_in_vasp

TITLES = ["PAW_PBE Ge_d 03Jul2007", "PAW_PBE Te 08Apr2002"]
OPTIONS = ImportOptions(default_config_type="aimd")
EV_A3_IN_KBAR = 1602.1766208


def frames(count: int) -> list[Atoms]:
    images = []
    for seed in range(count):
        atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
        atoms = atoms[np.argsort(atoms.get_chemical_symbols(), kind="stable")]
        atoms.rattle(0.05, seed=seed)
        atoms.calc = LennardJones(sigma=2.6, epsilon=0.3, rc=7.0)
        images.append(atoms)
    return images


def vasprun(images: list[Atoms], version: str = "6.4.2", steps: list[int] | None = None, **incar: object) -> str:
    """A vasprun.xml with an ionic step for every image."""
    keys = {key: value for key, value in (incar_updates(VaspSettings()) | incar).items() if value is not None}
    mesh = stand_in_vasp.mesh(images[0], keys.get("KSPACING", 0.2))
    texts = [
        stand_in_vasp.vasprun(atoms, keys, count, mesh, TITLES)
        for atoms, count in zip(images, steps or [5] * len(images), strict=True)
    ]
    calculations = [re.search("<calculation>.*</calculation>", text, re.DOTALL)[0] for text in texts]  # type: ignore[index]
    whole = texts[0].replace(calculations[0], "".join(calculations))
    return whole.replace(stand_in_vasp.VERSION, version)


def read(folder: Path, text: str, name: str = "vasprun.xml", options: ImportOptions = OPTIONS) -> list[Record]:
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return list(read_records(file, options))


@pytest.mark.parametrize("name", ["vasprun.xml", "run-7.xml.gz", "without-a-name"])
def test_every_step_with_the_energy_that_the_forces_belong_to(tmp_path, name):
    images = frames(3)
    records = read(tmp_path, vasprun(images), name)
    assert [record.index for record in records] == [0, 1, 2] and not any(record.problem for record in records)
    for record, atoms in zip(records, images, strict=True):
        assert record.atoms is not None
        computed = computed_of(record.atoms)
        # the file has eight decimals
        assert computed.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(computed.forces_eV_A, atoms.get_forces(), atol=1e-8)
        # eight decimals of kbar, and 1 eV/Å³ is 1,602 kbar in another year's constants
        np.testing.assert_allclose(computed.stress_eV_A3, atoms.get_stress(), atol=1e-8, rtol=1e-7)
        np.testing.assert_allclose(record.atoms.positions, atoms.positions, atol=1e-7)
        assert record.atoms.get_chemical_symbols() == atoms.get_chemical_symbols()


CASES = Path(__file__).with_name("data") / "vasp"


def test_a_single_point_keeps_its_energy_beside_eigenvalues_and_density_of_states():
    [record] = read_records(CASES / "static.xml", OPTIONS)
    computed = computed_of(record.atoms)
    assert computed.energy_eV == -15.213
    np.testing.assert_array_equal(computed.forces_eV_A[1], [-0.50152939, 0.16061364, 0.01217516])
    np.testing.assert_allclose(
        computed.stress_eV_A3,
        np.array([14.72908174, -0.79444215, -0.16284361, 5.49648992, 12.64027775, -4.35936265]) / EV_A3_IN_KBAR,
        rtol=1e-9,
    )


def test_the_last_step_of_a_run_keeps_its_energy_beside_a_density_of_states():
    records = list(read_records(CASES / "aimd.xml", OPTIONS))
    assert not any(record.problem for record in records)
    assert [computed_of(record.atoms).energy_eV for record in records] == [-15.226, -15.216, -15.206]


@pytest.mark.parametrize(
    "moves",
    [
        {"TEBEG": 300, "TEEND": 900, "SMASS": -1, "MDALGO": 2, "NSW": 500, "IBRION": 0, "POTIM": 2.0},
        {"LANGEVIN_GAMMA": "10 10", "LANGEVIN_GAMMA_L": 5, "PMASS": 100.0, "RANDOM_SEED": "1 0 0", "MDALGO": 3},
        {"ANDERSEN_PROB": 0.1, "NBLOCK": 10, "KBLOCK": 50, "APACO": 10.0, "CSVR_PERIOD": 100.0},
    ],
)
def test_tags_of_dynamics_are_not_part_of_the_method(tmp_path, moves):
    ours = VaspBackend().method().fingerprint()
    assert read(tmp_path, vasprun(frames(1), **moves))[0].method.fingerprint() == ours


@pytest.mark.parametrize("key", ["PSTRESS", "SCALEE", "IVDW", "HILLS_H"])
def test_tags_that_change_the_energy_are_part_of_the_method(tmp_path, key):
    ours = VaspBackend().method().fingerprint()
    assert read(tmp_path, vasprun(frames(1), **{key: 10}))[0].method.fingerprint() != ours


def test_precision_goes_by_its_first_letter(tmp_path):
    def of(word: str) -> str:
        return read(tmp_path, vasprun(frames(1), PREC=word))[0].method.fingerprint()

    assert of("acc") == of("Accurate") == of("A") == VaspBackend().method().fingerprint()
    assert of("Norm") == of("n") != of("Accurate")
    assert of("SingleN") != of("Single") == of("s")


def test_numbers_are_those_of_the_file(tmp_path):
    text = vasprun(frames(1))
    [record] = read(tmp_path, text)
    forces = re.search('<varray name="forces">(.*?)</varray>', text)[1]  # type: ignore[index]
    written = [[float(word) for word in row.split()] for row in re.findall("<v>(.*?)</v>", forces)]
    assert np.array_equal(computed_of(record.atoms).forces_eV_A, written)
    energy = re.search('</scstep><structure.*<i name="e_fr_energy">(.*?)</i>', text)[1]  # type: ignore[index]
    assert computed_of(record.atoms).energy_eV == float(energy)


def test_the_method_is_that_of_our_own_labels(tmp_path):
    ours = VaspBackend().method().fingerprint()
    assert {record.method.fingerprint() for record in read(tmp_path, vasprun(frames(2)))} == {ours}
    # the way to the result is not the method
    assert read(tmp_path, vasprun(frames(1), ALGO="All", NCORE=8))[0].method.fingerprint() == ours
    wide = VaspBackend(settings=VaspSettings(kspacing_per_A=0.35, encut_eV=450)).method().fingerprint()
    assert read(tmp_path, vasprun(frames(1), KSPACING=0.35, ENCUT=450.0))[0].method.fingerprint() == wide != ours


def test_a_mesh_of_a_kpoints_file_is_part_of_the_method(tmp_path):
    ours = read(tmp_path, vasprun(frames(1)))[0].method
    text = vasprun(frames(1))
    divisions = re.search('name="divisions">([^<]*)<', text)[1]  # type: ignore[index]
    other = read(tmp_path, text.replace(divisions, "9 9 9"))[0].method
    assert other.parameters["incar"]["KSPACING"] == "mesh [9, 9, 9]" and other.fingerprint() != ours.fingerprint()
    shifted = text.replace("</generation>", '<v name="usershift">0.5 0.5 0.5</v></generation>')
    assert "shifted" in read(tmp_path, shifted)[0].method.parameters["incar"]["KSPACING"]
    monkhorst = text.replace('param="Gamma"', 'param="Monkhorst-Pack"')
    assert "Monkhorst" in read(tmp_path, monkhorst)[0].method.parameters["incar"]["KSPACING"]
    listed = re.sub("<generation.*</generation>", "", text)
    assert "list" in read(tmp_path, listed)[0].method.parameters["incar"]["KSPACING"]


@pytest.mark.parametrize(
    ("damage", "bad", "words"),
    [
        (lambda text: text[: int(len(text) * 0.75)], 2, "truncated"),
        (lambda text: text[: text.rindex("</modeling>")], 3, "truncated"),
        (lambda text: text[:300], 0, "no ionic step"),
        (lambda text: "", 0, "no ionic step"),
        (lambda text: text.replace('"e_fr_energy">', '"e_fr_energy">*****'), 0, "not a number"),
        (lambda text: text.replace('"forces"><v>', '"forces"><v>1.0 '), 0, "rows of three"),
    ],
)
def test_damaged_files_give_what_is_before(tmp_path, damage, bad, words):
    records = read(tmp_path, damage(vasprun(frames(3))))
    problems = [record for record in records if record.problem]
    assert problems[0].index == bad and words in problems[0].problem
    assert not any(record.problem for record in records[:bad])


def test_a_cut_gzip_file(tmp_path):
    file = tmp_path / "vasprun.xml.gz"
    packed = gzip.compress(vasprun(frames(30)).encode())
    file.write_bytes(packed[: len(packed) * 2 // 3])
    *good, last = read_records(file, OPTIONS)
    assert len(good) > 5 and not any(record.problem for record in good) and "reading stopped" in last.problem


def test_steps_that_did_not_converge_are_bad(tmp_path):
    records = read(tmp_path, vasprun(frames(4), steps=[5, 100, 0, 99]))
    assert [bool(record.problem) for record in records] == [False, True, True, False]
    assert "not reached in 100 steps" in records[1].problem and "no electronic steps" in records[2].problem
    assert {record.group for record in records} == {records[0].group} != {""}


def test_a_stand_in_is_refused(tmp_path):
    [record] = read(tmp_path, vasprun(frames(1), version=stand_in_vasp.VERSION))
    assert "stand-in" in record.problem
    allowed = ImportOptions(allow_stand_in=True)
    [record] = read(tmp_path, vasprun(frames(1), version=stand_in_vasp.VERSION), options=allowed)
    assert record.method.code == "vasp-stand-in"


def test_memory_does_not_grow_with_the_steps(tmp_path):
    import tracemalloc

    text = vasprun(frames(1))
    calculation = re.search("<calculation>.*</calculation>", text, re.DOTALL)[0]  # type: ignore[index]
    peaks = []
    for count in (50, 1000):
        (tmp_path / "vasprun.xml").write_text(text.replace(calculation, calculation * count))
        tracemalloc.start()
        assert sum(1 for _ in read_records(tmp_path / "vasprun.xml", OPTIONS)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 1_000_000


@pytest.mark.mongo
def test_into_the_database(project, tmp_path):
    results = Results.open(project)
    (tmp_path / "vasprun.xml").write_text(vasprun(frames(3)))
    report = import_files([tmp_path / "vasprun.xml"], results, OPTIONS)
    assert report.labels == {"new": 3, "known": 0} and not report.bad and not report.warnings
    structures = list(results.find(Structure, {}))
    first = next(structure for structure in structures if structure.source["index"] == 0)
    assert {structure.group for structure in structures} == {first.id}
    assert {label.fingerprint for label in results.find(Label, {})} == {VaspBackend().method().fingerprint()}
    # elsewhere and packed: the same group, nothing new
    (tmp_path / "other.xml.gz").write_bytes(gzip.compress((tmp_path / "vasprun.xml").read_bytes()))
    assert import_files([tmp_path / "other.xml.gz"], results, OPTIONS).labels == {"new": 0, "known": 3}
    with pytest.raises(InputError, match=VaspBackend().method().fingerprint()):
        given = ImportOptions(default_config_type="aimd", fingerprint="imported:1", method={"code": "imported"})
        import_files([tmp_path / "vasprun.xml"], results, given)


def outcar(images: list[Atoms], unconverged: int = -1, ended: bool = True, nelm: int = 60) -> str:
    """An OUTCAR in the form of VASP 6: what stands around the numbers is VASP's, most of the rest is left out.

    Every step takes three electronic ones.
    """
    symbols = images[0].get_chemical_symbols()
    counts = [symbols.count("Ge"), symbols.count("Te")]
    text = " vasp.6.4.2 20Jul23 (build) complex\n\n executed on             LinuxIFC date 2026.01.01  10:00:00\n"
    text += "".join(f" POTCAR:    {title}\n" for title in (*TITLES, *TITLES))
    text += "   ISPIN  =      1    spin polarized calculation?\n"
    text += f"   NELM   = {nelm:6d};   NELMIN=  2; NELMDL= -5     # of ELM steps \n"
    text += f"   ions per type =            {counts[0]:5d}{counts[1]:5d}\n"
    text += (
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     10\n"
    )
    for place, atoms in enumerate(images):
        for step in (1, 2, 3):
            text += f"------------------------------- Iteration {place + 1:6d}({step:4d})  ------------------------\n"
        if place != unconverged:
            text += "------------------------ aborting loop because EDIFF is reached ------------------------------\n"
        stress = -atoms.get_stress()[[0, 1, 2, 5, 3, 4]] * EV_A3_IN_KBAR
        text += "  in kB   " + "".join(f"{value:12.5f}" for value in stress) + "\n"
        text += "      direct lattice vectors                 reciprocal lattice vectors\n"
        for row in atoms.cell.array:
            text += "".join(f"{value:13.9f}" for value in (*row, 0, 0, 0)) + "\n"
        text += " POSITION                                       TOTAL-FORCE (eV/Angst)\n " + "-" * 83 + "\n"
        for row, force in zip(atoms.positions, atoms.get_forces(), strict=True):
            text += "".join(f"{value:13.5f}" for value in row) + "".join(f"{value:14.6f}" for value in force) + "\n"
        text += " " + "-" * 83 + "\n"
        energy = atoms.get_potential_energy()
        text += (
            "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ---------------------------------------------------\n"
        )
        text += f"  free  energy   TOTEN  = {energy:19.8f} eV\n\n"
        text += f"  energy  without entropy= {energy + 0.2:19.8f}  energy(sigma->0) = {energy + 0.1:19.8f}\n"
    return text + (" General timing and accounting informations for this job:\n" if ended else "")


@pytest.mark.parametrize("name", ["OUTCAR", "OUTCAR.gz", "outcar-of-3"])
def test_outcar(tmp_path, name):
    images = frames(3)
    records = read(tmp_path, outcar(images), name)
    assert len(records) == 3 and SourceFile.of(tmp_path / name).format == "outcar"
    for record, atoms in zip(records, images, strict=True):
        assert not record.problem and record.method is None
        computed = computed_of(record.atoms)
        assert computed.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(computed.forces_eV_A, atoms.get_forces(), atol=6e-7)
        np.testing.assert_allclose(computed.stress_eV_A3, atoms.get_stress(), atol=1e-8, rtol=1e-6)
        # an OUTCAR has five decimals
        np.testing.assert_allclose(record.atoms.positions, atoms.positions, atol=6e-6)
    assert len({record.group for record in records}) == 1


def test_damaged_outcars_name_the_fault(tmp_path):
    records = read(tmp_path, outcar(frames(3), unconverged=1), "OUTCAR")
    assert [bool(record.problem) for record in records] == [False, True, False] and "EDIFF" in records[1].problem
    text = outcar(frames(3), ended=False)
    *good, last = read(tmp_path, text, "OUTCAR")
    assert len(good) == 3 and "truncated" in last.problem
    *good, last = read(tmp_path, text[: int(len(text) * 0.8)], "OUTCAR")
    assert len(good) == 2 and "truncated" in last.problem
    [record] = read(tmp_path, " vasp.6.4.2\n", "OUTCAR")
    assert record.problem


def test_an_outcar_needs_a_method_and_says_why(tmp_path):
    (tmp_path / "OUTCAR").write_text(outcar(frames(1)))
    with pytest.raises(InputError, match="does not repeat the INCAR"):
        import_files([tmp_path / "OUTCAR"], None, ImportOptions(dry_run=True, default_config_type="aimd"))


def test_a_step_that_used_all_electronic_steps_did_not_converge_whatever_vasp_5_writes(tmp_path):
    assert all(
        "not reached in 3 steps (NELM)" in step.problem for step in read(tmp_path, outcar(frames(2), nelm=3), "OUTCAR")
    )
    unknown = re.sub("   NELM .*\n", "", outcar(frames(1)))
    assert "head of the OUTCAR lacks NELM" in read(tmp_path, unknown, "OUTCAR")[0].problem
    records = list(read_records(CASES / "OUTCAR.nelm", OPTIONS))
    assert [record.problem for record in records] == [
        "",
        "electronic self-consistency not reached in 60 steps (NELM)",
        "",
    ]


def test_an_outcar_without_an_ionic_step_is_a_bad_record():
    [record] = read_records(CASES / "OUTCAR.gw", OPTIONS)
    assert record.problem == "no ionic step with an energy"


def test_a_machine_learned_step_of_an_outcar_is_named_so():
    good, bad = read_records(CASES / "OUTCAR.ml", OPTIONS)
    assert computed_of(good.atoms).energy_eV == -15.27994942
    assert bad.problem == "not computed by density functional theory (a machine-learned step)"


def test_an_outcar_with_columns_without_dispersion(tmp_path):
    image = frames(1)[0]
    text = outcar([image])
    text = text.replace("TOTAL-FORCE (eV/Angst)", "TOTAL-FORCE (eV/Angst),            FORCE-w/o vdW (eV/Angst)")
    lines = text.splitlines()
    first = next(place for place, line in enumerate(lines) if "w/o vdW" in line) + 2
    for place in range(first, first + len(image)):
        lines[place] += "      9.000000           NaN     -9.000000"
    energy = image.get_potential_energy()
    text = "\n".join(lines).replace(f"{energy:19.8f} eV\n", f"{energy:19.8f} eV    w/o vdW =       -9.00000000 eV\n")
    text = re.sub(r"(entropy=\s+\S+)", r"\1 eV    w/o vdW =       -9.0", text)
    assert text.count("w/o vdW") == 3
    [record] = read(tmp_path, text + "\n", "OUTCAR")
    assert not record.problem
    assert computed_of(record.atoms).energy_eV == pytest.approx(energy, abs=1e-8)
    np.testing.assert_allclose(computed_of(record.atoms).forces_eV_A, image.get_forces(), atol=6e-7)


def test_an_outcar_of_more_than_ten_species(tmp_path):
    symbols = ["Ge", "Sb", "Te", "Se", "S", "In", "Ag", "Bi", "Sn", "As", "Si", "Al"]
    counts = [1] * 10 + [2, 1]
    atoms = bulk("Cu", cubic=True, a=4.5).repeat((4, 1, 1))[:13]
    atoms.symbols = [symbol for symbol, count in zip(symbols, counts, strict=True) for _ in range(count)]
    atoms.calc = LennardJones(sigma=2.6, epsilon=0.3, rc=7.0)
    text = outcar([atoms])
    titles = "".join(f" POTCAR:    PAW_PBE {symbol} 01Jan2000\n" for symbol in (*symbols, *symbols))
    text = re.sub("( POTCAR: .*\n)+", titles, text)
    row = "".join(f"{count:4d}" for count in counts[:10]) + "\n" + "".join(f"{count:4d}" for count in counts[10:])
    text = re.sub("ions per type = .*", f"ions per type =            {row}", text)
    [record] = read(tmp_path, text, "OUTCAR")
    assert not record.problem and record.atoms.get_chemical_symbols() == list(atoms.symbols)
