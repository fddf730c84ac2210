"""Units told from energies and forces: every wrong one found, no right one suspected."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.units import Bohr, GPa, Hartree, Rydberg, fs

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Structure
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.run import ImportReport, import_files
from gst_jobflow.store import Results
from tests.importing.test_cp2k import DATA

METHOD = {"fingerprint": "imported:1", "method": {"code": "imported"}}
DRY = ImportOptions(default_config_type="aimd", dry_run=True, min_distance_A=0.1, **METHOD)


def trajectory(calculator: object, temperature_K: float, steps: int, every: int = 1) -> list[Atoms]:
    """Molecular dynamics with a calculator whose forces are the derivative of its energy."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature_K, rng=np.random.default_rng(1))
    run = VelocityVerlet(atoms, 3 * fs)
    return [snapshot(atoms) for _ in range(steps) if run.run(every)]


def rattled(count: int) -> list[Atoms]:
    images = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        images.append(snapshot(atoms))
    return images


def snapshot(atoms: Atoms) -> Atoms:
    copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    return copy


def scaled(images: list[Atoms], energy: float = 1.0, force: float = 1.0) -> list[Atoms]:
    copies = []
    for atoms in images:
        copy = atoms.copy()
        copy.calc = SinglePointCalculator(
            copy, energy=atoms.get_potential_energy() * energy, forces=atoms.get_forces() * force
        )
        copies.append(copy)
    return copies


def imported(images: list[Atoms], folder: Path, options: ImportOptions = DRY) -> ImportReport:
    write(folder / "run.extxyz", images, format="extxyz")
    return import_files([folder / "run.extxyz"], None, options)


@functools.cache
def good_data() -> dict[str, list[Atoms]]:
    return {
        "cold": trajectory(EMT(), 30, 14),
        "hot": trajectory(EMT(), 1500, 24),
        "hot, every eighth step": trajectory(EMT(), 1500, 12, every=8),
        "stiff": trajectory(LennardJones(sigma=2.3, epsilon=0.4, rc=5.0), 900, 14),
        "rattled": rattled(24),
        "all the same": rattled(1) * 30,
    }


@pytest.mark.parametrize("name", ["cold", "hot", "hot, every eighth step", "stiff", "rattled", "all the same"])
def test_right_units_are_not_suspected(tmp_path, name):
    options = DRY.model_copy(update={"default_config_type": "crystal"}) if name == "cold" else DRY
    images = good_data()[name]
    report = imported(images, tmp_path, options)
    assert report.warnings == [] and report.records == len(images)


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"force": Bohr / Rydberg}, "forces look like Ry/bohr"),
        ({"force": Bohr / Hartree}, "forces look like hartree/bohr"),
        ({"energy": 1 / Rydberg}, "energies look like Ry"),
        ({"energy": 1 / Hartree}, "energies look like hartree"),
        ({"energy": 1 / Hartree, "force": Bohr / Hartree}, "hartree and hartree/bohr"),
        ({"force": -1}, "wrong sign"),
        ({"force": 3}, "do not belong together"),
    ],
)
@pytest.mark.parametrize("images", [trajectory(EMT(), 600, 16), rattled(16)], ids=["dynamics", "rattled"])
def test_wrong_units_are_named_once(tmp_path, images, factors, words):
    report = imported(scaled(images, **factors), tmp_path)
    assert [words in flaw.reason for flaw in report.warnings] == [True], report.warnings
    assert report.n_bad == 0 and report.records == 16


def test_without_neighbours_the_size_of_the_forces_tells(tmp_path):
    images = []
    for seed in range(30):
        # a cell of its own each: nothing to compare with
        atoms = bulk("Cu", cubic=True, a=3.5 + 0.01 * seed)
        atoms.rattle(0.07, seed=seed)
        atoms.calc = EMT()
        images.append(snapshot(atoms))
    assert imported(images, tmp_path).warnings == []
    for factor in (Bohr / Rydberg, Bohr / Hartree):
        [flaw] = imported(scaled(images, force=factor), tmp_path).warnings
        assert "forces look like Ry/bohr or hartree/bohr" in flaw.reason
    # in crystals forces may be small
    crystal = DRY.model_copy(update={"default_config_type": "crystal"})
    assert imported(scaled(images, force=Bohr / Hartree), tmp_path, crystal).warnings == []


def test_a_real_trajectory_is_not_suspected():
    report = import_files([DATA / "gete.out"], None, ImportOptions(default_config_type="aimd", dry_run=True))
    assert report.warnings == [] and report.records == 5


@pytest.mark.mongo
def test_strict_stops_before_anything_of_it_is_written(project, tmp_path):
    results = Results.open(project)
    write(tmp_path / "run.extxyz", scaled(trajectory(EMT(), 600, 16), force=Bohr / Rydberg), format="extxyz")
    strict = ImportOptions(default_config_type="aimd", strict=True, **METHOD)
    report = import_files([tmp_path / "run.extxyz"], results, strict)
    assert report.stopped and "Ry/bohr" in report.warnings[0].reason
    assert results.database["labels"].count_documents({}) == 0


def stressed(unit: float, config_type: str) -> list[Atoms]:
    images = []
    for atoms in trajectory(EMT(), 600, 24):
        atoms.info["config_type"] = config_type
        hot = atoms.copy()
        hot.calc = EMT()
        atoms.calc.results["stress"] = hot.get_stress() / unit
        images.append(atoms)
    return images


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (1.0, None),
        (GPa, "stresses look like GPa or kbar"),
        (GPa / 10, "stresses look like GPa or kbar"),
        (Hartree / Bohr**3, "stresses look like Ry/bohr³ or hartree/bohr³"),
    ],
)
def test_units_of_stresses_are_told_by_size(tmp_path, unit, words):
    warnings = [flaw.reason for flaw in imported(stressed(unit, "aimd"), tmp_path).warnings]
    assert [text.partition(":")[0] for text in warnings] == ([] if words is None else [words])
    # a crystal at rest or a random structure may have any stress
    assert not imported(stressed(unit, "crystal"), tmp_path).warnings


@pytest.mark.mongo
def test_groups(project, tmp_path):
    results = Results.open(project)
    images = rattled(6)
    for place, atoms in enumerate(images):
        atoms.info["run"] = place // 3
    write(tmp_path / "a.extxyz", images, format="extxyz")
    write(tmp_path / "b.extxyz", rattled(12)[6:], format="extxyz")

    def groups(*files: str, **values: object) -> list[str]:
        results.database["structures"].delete_many({})
        results.database["labels"].delete_many({})
        options = ImportOptions(default_config_type="aimd", **METHOD, **values)
        report = import_files([tmp_path / file for file in files], results, options)
        assert report.n_bad == 0, report.bad
        found = sorted(results.find(Structure, {}), key=lambda item: (item.source["file"], item.source["index"]))
        assert values or all(item.group == item.id for item in found)
        assert not values.get("one_group") or found[0].group == found[0].id
        return [item.group for item in found]

    assert len(set(groups("a.extxyz"))) == 6
    one = groups("a.extxyz", "b.extxyz", one_group=True)
    assert len(set(one[:6])) == len(set(one[6:])) == 1 and one[0] != one[6]
    keyed = groups("a.extxyz", group_key="run")
    assert len(set(keyed[:3])) == len(set(keyed[3:])) == 1 and keyed[0] != keyed[3]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.extxyz").rename(tmp_path / "elsewhere" / "c.extxyz")
    assert groups("elsewhere/c.extxyz", group_key="run") == keyed
    report = import_files([tmp_path / "b.extxyz"], None, DRY.model_copy(update={"group_key": "run"}))
    assert report.n_bad == 6 and "--group-key" in report.bad[0].reason


@pytest.mark.mongo
def test_a_group_for_known_structures_is_a_warning(project, tmp_path):
    results = Results.open(project)
    write(tmp_path / "a.extxyz", rattled(6), format="extxyz")
    plain = ImportOptions(default_config_type="aimd", strict=True, **METHOD)
    grouped = plain.model_copy(update={"one_group": True})
    for _ in range(2):
        assert import_files([tmp_path / "a.extxyz"], results, plain).warnings == []
    late = import_files([tmp_path / "a.extxyz"], results, grouped)
    assert ["keep their other group" in flaw.reason for flaw in late.warnings] == [True] and not late.stopped
    results.database["structures"].delete_many({})
    for _ in range(2):
        assert import_files([tmp_path / "a.extxyz"], results, grouped).warnings == []


def test_two_rules_for_groups_are_refused():
    from gst_jobflow.base.strict import checked

    with pytest.raises(InputError, match="exclude each other"):
        checked(ImportOptions, {"group_key": "a", "one_group": True})
