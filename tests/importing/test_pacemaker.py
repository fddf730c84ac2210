"""pacemaker's dataframes: every row as it stands, and no program run that a pickle may name."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from gst_jobflow.fitting.frame import LabelledStructure, to_dataframe, write_pckl
from gst_jobflow.importing.formats import SourceFile, read_records
from gst_jobflow.importing.labels import computed_of
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.run import import_files

OPTIONS = ImportOptions(default_config_type="aimd", fingerprint="imported:1", method={"code": "imported"}, dry_run=True)


def items(count: int = 3) -> list[LabelledStructure]:
    rng = np.random.default_rng(5)
    found = []
    for seed in range(count):
        atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
        atoms.rattle(0.05, seed=seed)
        found.append(LabelledStructure(atoms, -30.0 - seed / 7, rng.normal(size=(8, 3)), f"label{seed}", "crystal"))
    return found


@pytest.fixture
def frame() -> pd.DataFrame:
    return to_dataframe(items(), {"Ge": -3.1, "Te": -2.7})


def write(frame: object, file: Path, protocol: int = 4) -> Path:
    file.write_bytes(gzip.compress(pickle.dumps(frame, protocol=protocol)))
    return file


def problems(file: Path, **values: object) -> list[str]:
    return [record.problem for record in read_records(file, OPTIONS.model_copy(update=values))]


@pytest.mark.parametrize("name", ["train.pckl.gzip", "train.pkl.gz"])
def test_tables_of_our_fits_are_read(tmp_path, frame, name):
    write_pckl(frame, tmp_path / "train.pckl.gzip").rename(tmp_path / name)
    assert SourceFile.of(tmp_path / name).format == "pacemaker"
    records = list(read_records(tmp_path / name, OPTIONS))
    for record, item in zip(records, items(), strict=True):
        computed = computed_of(record.atoms)
        assert computed.energy_eV == item.energy_eV and np.array_equal(computed.forces_eV_A, item.forces_eV_A)
        assert np.array_equal(record.atoms.positions, item.atoms.positions)
        assert record.atoms.info["config_type"] == "crystal" and record.atoms.info["name"] == item.label_id
    report = import_files([tmp_path / name], None, OPTIONS)
    assert report.records == 3 and not report.bad


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tables_with_calculators_are_read_by_their_columns(tmp_path, frame, protocol):
    frame["stress"] = [np.arange(6) / 10.0] * 3
    for atoms in frame["ase_atoms"]:
        atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((8, 3)))
    records = list(read_records(write(frame, tmp_path / "a.pckl.gzip", protocol), OPTIONS))
    assert [record.problem for record in records] == [""] * 3
    # the columns count, not a calculator that came along
    assert [computed_of(record.atoms).energy_eV for record in records] == [item.energy_eV for item in items()]
    assert computed_of(records[0].atoms).stress_eV_A3 == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_forces_of_fixed_atoms_come_from_the_results_that_pace_collect_keeps(tmp_path, frame):
    whole = list(frame["forces"])
    frame["results"] = [{"forces": forces} for forces in whole]
    zeroed = [forces.copy() for forces in whole]
    zeroed[0][:3] = 0
    zeroed[1][4, 2] = 0
    # forces that were changed otherwise are left as they are
    zeroed[2] = 2 * whole[2]
    zeroed[2][0] = 0
    frame["forces"] = zeroed
    computed = [computed_of(record.atoms) for record in read_records(write(frame, tmp_path / "a.pckl.gzip"), OPTIONS)]
    for one, expected in zip(computed, [whole[0], whole[1], zeroed[2]], strict=True):
        assert np.array_equal(one.forces_eV_A, expected)


class Harm:
    """A pickle that makes a folder when it is loaded without care."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("place", ["instead", "in the table", "in a structure"])
def test_a_pickle_runs_nothing(tmp_path, frame, place):
    harm = Harm(os.mkdir, str(tmp_path / "harm"))
    if place == "in the table":
        frame["name"] = [harm] * 3
    if place == "in a structure":
        frame["ase_atoms"][0].info["note"] = harm
    file = write(harm if place == "instead" else frame, tmp_path / "a.pckl.gzip")
    [problem] = problems(file)
    assert "mkdir" in problem and "was not loaded" in problem
    assert not (tmp_path / "harm").exists()
    with gzip.open(file) as stream:
        pickle.load(stream)
    assert (tmp_path / "harm").exists()  # it would have


@pytest.mark.parametrize(
    "harm",
    [
        Harm(getattr, "", "__class__"),
        Harm(eval, "1"),
        Harm(pd.read_pickle, "other"),
        Harm(np.load, "other"),
        Harm(bulk, "Cu"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, harm):
    [problem] = problems(write(harm, tmp_path / "a.pckl.gzip"))
    assert "not loaded" in problem


def test_energy_corrected_is_not_the_energy(tmp_path, frame):
    file = write(frame.drop(columns="energy"), tmp_path / "a.pckl.gzip")
    assert all("--energy-corrected" in problem for problem in problems(file))
    taken = [computed_of(record.atoms) for record in read_records(file, ImportOptions(energy_corrected=True))]
    assert [one.energy_eV for one in taken] == list(frame["energy_corrected"])


def test_bad_rows_are_named(tmp_path, frame):
    forces = list(frame["forces"])
    frame["forces"] = [None, forces[1][:5], forces[2]]
    frame["energy"] = [1.0, 2.0, float("nan")]
    report = import_files([write(frame, tmp_path / "a.pckl.gzip")], None, OPTIONS)
    assert [flaw.index for flaw in report.bad] == [0, 1, 2]
    for flaw, words in zip(report.bad, ("without forces", "shape (5, 3)", "not finite"), strict=True):
        assert words in flaw.reason


def test_pickles_without_a_table_of_structures_are_refused(tmp_path, frame):
    file = tmp_path / "a.pckl.gzip"
    whole = write(frame, file).read_bytes()
    cases = {
        "cut or damaged": whole[: len(whole) // 2],
        "not of a dataframe": gzip.compress(pickle.dumps([1])),
        "no column ase_atoms": gzip.compress(pickle.dumps(frame.drop(columns="ase_atoms"))),
        "ase_atoms is a str": gzip.compress(pickle.dumps(pd.DataFrame({"ase_atoms": ["x"]}))),
    }
    for words, content in cases.items():
        file.write_bytes(content)
        [problem] = problems(file)
        assert words in problem
    file.write_bytes(b"some text")
    assert problems(file) != [""]


def test_a_plain_pickle_and_structures_without_labels(tmp_path):
    file = tmp_path / "structures.pkl"
    file.write_bytes(pickle.dumps(pd.DataFrame({"ase_atoms": [Atoms("Ge", cell=[4, 4, 4], pbc=True)]})))
    [record] = read_records(file, OPTIONS)
    assert not record.problem and computed_of(record.atoms) is None


@pytest.mark.parametrize(
    ("name", "energies_eV"),
    [
        # pacemaker's own class of dataframe, as its examples and XPOT hold it
        ("own_class", [-15.30, -15.29, -15.28]),
        # structures with fixed atoms, whose class has moved within ASE; their forces stay
        ("fixed_atoms", [-15.30, -15.29]),
        # a table without columns of labels: they are in the calculators of the structures
        ("calculators", [-15.28, -15.27]),
    ],
)
def test_tables_of_other_programs_are_read(name: str, energies_eV: list[float]) -> None:
    records = list(read_records(Path(__file__).parent / "data" / "pacemaker" / f"{name}.pckl.gzip", OPTIONS))
    assert [record.problem for record in records] == [""] * len(energies_eV)
    computed = [computed_of(record.atoms) for record in records]
    assert [each.energy_eV for each in computed] == pytest.approx(energies_eV)
    assert all(np.abs(each.forces_eV_A).min() > 0 for each in computed)


def test_results_of_another_structure_are_no_labels(tmp_path, frame):
    frame = frame.drop(columns=["energy", "energy_corrected", "forces"])
    for atoms in frame["ase_atoms"]:
        atoms.calc = SinglePointCalculator(atoms, energy=5.0, forces=np.ones((8, 3)))
    frame["ase_atoms"][1].positions[0, 0] += 0.1
    assert ["another structure" in problem for problem in problems(write(frame, tmp_path / "a.pckl.gzip"))] == [
        False,
        True,
        False,
    ]


def test_labels_in_columns_of_other_names(tmp_path, frame):
    frame = frame.rename(columns={"energy": "REF_energy", "forces": "REF_forces"}).drop(columns="energy_corrected")
    frame["REF_virials"] = [np.eye(3)] * 3
    file = write(frame, tmp_path / "a.pckl.gzip")
    [warning] = import_files([file], None, OPTIONS).warnings
    assert "REF_energy, REF_forces, REF_virials are not read" in warning.reason
    told = ImportOptions(energy_key="REF_energy")
    computed = [computed_of(record.atoms, told) for record in read_records(file, told)]
    assert [one.energy_eV for one in computed] == [item.energy_eV for item in items()]
    assert computed[0].stress_eV_A3 == pytest.approx(np.array([-1, -1, -1, 0, 0, 0]) / 216)
