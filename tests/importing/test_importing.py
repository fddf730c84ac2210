"""Import of other people's files: all of it or named, once, and nothing silently wrong."""

from __future__ import annotations

import gzip
import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

import bson
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.cli.main import app
from gst_jobflow.datasets.references import isolated_atom_energies
from gst_jobflow.documents import Label, Structure, unpack
from gst_jobflow.importing.extxyz import parse_frame, read_comment
from gst_jobflow.importing.formats import read_records
from gst_jobflow.importing.labels import computed_of
from gst_jobflow.importing.options import ImportOptions, assignments, config_type_map
from gst_jobflow.importing.outcome import OutcomeBuilder
from gst_jobflow.importing.run import UnansweredError, import_files
from gst_jobflow.importing.watch import EnergyWatch
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from tests.cli.test_main import gst as gst_command
from tests.documents.test_documents import label as a_label


def gap_frame(seed: int, config_type: str | None = "liquid", **changes: object) -> str:
    """A frame as GST-GAP-22 has them: virial in the header, forces in the table; `changes` damage it."""
    rng = np.random.default_rng(seed)
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    positions = atoms.positions + rng.normal(0, 0.05, (8, 3))
    forces = rng.normal(0, 0.5, (8, 3))
    virial = rng.normal(0, 1, (3, 3))
    virial = virial + virial.T
    header = {
        "Lattice": '"{}"'.format(" ".join(f"{x:.8f}" for x in atoms.cell.array.ravel())),
        "Properties": "species:S:1:pos:R:3:forces:R:3",
        "energy": -30.0 + 0.01 * seed,
        "virial": '"{}"'.format(" ".join(f"{x:.8f}" for x in virial.T.ravel())),
        "config_type": config_type,
        "sub_config": "melt",
        "pbc": '"T T T"',
    } | changes
    width = sum(int(size) for size in str(header["Properties"]).split(":")[2::3])
    lines = [
        " ".join([symbol, *(f"{x:.8f}" for x in (*place, *force))][:width])
        for symbol, place, force in zip(atoms.symbols, positions, forces, strict=True)
    ]
    comment = " ".join(f"{key}={value}" for key, value in header.items() if value is not None)
    return "\n".join([str(len(lines)), comment, *lines, ""])


def options(**values: object) -> ImportOptions:
    base = {
        "fingerprint": "vasp:0123456789abcdef",
        "method": {"code": "vasp"},
        "config_types": {"liquid": "aimd"},
    }
    return ImportOptions.model_validate(base | values)


@pytest.fixture
def results(project) -> Results:
    return Results.open(project)


@pytest.fixture
def gst(monkeypatch):
    monkeypatch.setenv("GST_PROJECT", "")

    def run(project, *arguments):
        return CliRunner().invoke(app, ["--project", str(project.root), "structures", "import", *map(str, arguments)])

    yield run
    os.environ.pop("GST_PROJECT", None)


def counts(results: Results) -> tuple[int, int]:
    return tuple(results.database[name].count_documents({}) for name in ("structures", "labels"))  # type: ignore[return-value]


@pytest.mark.mongo
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_is_imported_once(results, tmp_path, suffix):
    file = tmp_path / f"gap.extxyz{suffix}"
    text = "".join(gap_frame(seed) for seed in range(3)).encode()
    file.write_bytes(gzip.compress(text) if suffix else text)
    first = import_files([file], results, options(iteration=2, tags=["gap"]))
    assert (first.structures, first.labels, first.n_bad) == ({"new": 3, "known": 0}, {"new": 3, "known": 0}, 0)
    again = import_files([file], results, options(iteration=2, tags=["gap"]))
    assert (again.structures, again.labels, again.n_bad) == ({"new": 0, "known": 3}, {"new": 0, "known": 3}, 0)
    assert counts(results) == (3, 3)
    structure = next(results.find(Structure, {"source.index": 1}))
    assert (structure.config_type, structure.iteration, structure.tags) == ("aimd", 2, ["gap"])
    assert structure.source["config_type"] == "liquid" and structure.source["sub_config"] == "melt"
    label = next(results.find(Label, {"structure_id": structure.id}))
    assert label.energy_eV == pytest.approx(-29.99) and label.config_type == "aimd" and label.state == "converged"
    record = list(read_records(file))[1]
    assert np.array_equal(unpack(label.forces, 3), record.atoms.arrays["forces"])


BAD = {
    "NaN energy": ({"energy": "NaN"}, "energy not finite"),
    "energy is text": ({"energy": "none"}, "is not numbers"),
    "no energy": ({"energy": None}, "forces without an energy"),
    "no forces": ({"Properties": "species:S:1:pos:R:3"}, "an energy without forces"),
    "forces of two columns": ({"Properties": "species:S:1:pos:R:3:forces:R:2"}, "forces of shape (8, 2)"),
    "infinite cell": ({"Lattice": '"inf 0 0 0 6 0 0 0 6"'}, "not finite"),
    "flat cell": ({"Lattice": '"6 0 0 0 6 0 0 0 0"'}, "cannot hold 8 atoms"),
    "small cell": ({"Lattice": '"6 0 0 0 6 0 0 0 0.07"'}, "cannot hold 8 atoms"),
    "endless cell": ({"Lattice": '"1e200 0 0 0 1e200 0 0 0 0.5"'}, "not finite"),
    "long vector": ({"Lattice": '"1e170 0 0 0 10 0 0 0 10"'}, "rounding lost"),
    "short vector": ({"Lattice": '"600 0 0 0 600 0 0 0 0.5"'}, "shorter than"),
    "a slab": ({"pbc": '"T T F"'}, "not periodic"),
    "unknown config_type": ({"config_type": "strange"}, "--config-type strange="),
    "asymmetric virial": ({"virial": '"1 2 0 0 1 0 0 0 1"'}, "virial is not symmetric"),
    "virial of six": ({"virial": '"1 1 1 0 0 0"'}, "virial"),
    "stress against virial": ({"stress": '"1 0 0 0 1 0 0 0 1"'}, "disagree"),
    "no config_type": ({"config_type": None}, "no config_type"),
}


ROWS = [
    ("Te ", "Qq ", "Qq"),
    ("Te ", "X ", "unknown species"),
    ("Ge 0.03507278", "Ge nan", "not finite"),
    ("Ge 0.03507278", "Ge 1.2.3", "not extended XYZ"),
    ("Ge ", "Ge 1.5 ", "atom 0 has 8 columns, Properties names 7"),
]


@pytest.mark.mongo
def test_bad_records_are_named_and_the_rest_goes_in(results, tmp_path):
    reasons = [reason for _, reason in BAD.values()] + [reason for _, _, reason in ROWS]
    damaged = [gap_frame(100, **changes) for changes, _ in BAD.values()]
    damaged += [gap_frame(100).replace(f"\n{old}", f"\n{new}", 1) for old, new, _ in ROWS]
    file = tmp_path / "gap.xyz"
    file.write_text("".join(gap_frame(seed) + frame for seed, frame in enumerate(damaged)))
    report = import_files([file], results, options())
    assert [flaw.index for flaw in report.bad] == [2 * i + 1 for i in range(len(damaged))]
    assert {flaw.file for flaw in report.bad} == {str(file)}
    for reason, flaw in zip(reasons, report.bad, strict=True):
        assert reason in flaw.reason
    assert report.n_bad == len(damaged) and counts(results) == (len(damaged), len(damaged))


@pytest.mark.mongo
def test_atoms_too_close(results, tmp_path):
    atoms = [Atoms("GeTe", positions=[[0, 0, 0], [0, 0, z]], cell=[6, 6, 6], pbc=True) for z in (0.0, 0.5, 2.5, 6.0)]
    file = tmp_path / "close.xyz"
    write(file, atoms)
    report = import_files([file], results, options(default_config_type="other"))
    assert [flaw.index for flaw in report.bad] == [0, 1, 3]
    assert "0.5 Å apart" in report.bad[1].reason and "same place" in report.bad[0].reason
    # neither energy nor forces: a structure and no label
    assert counts(results) == (1, 0)


@pytest.mark.mongo
def test_strict_stops_and_what_was_before_stays(results, tmp_path):
    file, other = tmp_path / "gap.xyz", tmp_path / "other.xyz"
    file.write_text(gap_frame(0) + gap_frame(1, energy="inf") + gap_frame(2))
    other.write_text(gap_frame(3))
    report = import_files([file, other], results, options(strict=True))
    assert report.stopped and report.records == 2 and counts(results) == (1, 1)
    whole = import_files([file, other], results, options())
    assert whole.structures == {"new": 2, "known": 1} and whole.labels == {"new": 2, "known": 1}


@pytest.mark.mongo
def test_truncated(results, tmp_path):
    file = tmp_path / "gap.xyz"
    # two characters: a shorter number that reads as well as the whole one
    for lost in (1, 2, 100, 600):
        file.write_text((gap_frame(0) + gap_frame(1))[:-lost])
        report = import_files([file], results, options())
        assert [flaw.index for flaw in report.bad] == [1] and "truncated" in report.bad[0].reason
    assert counts(results) == (1, 1)


@pytest.mark.parametrize(("name", "packed"), [("gap.xyz", True), ("gap.xyz.gz", False)])
def test_gzip_is_told_by_the_content_not_by_the_name(tmp_path, name, packed):
    text = "".join(gap_frame(seed) for seed in range(3)).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if packed else text)
    assert [(record.index, record.problem) for record in read_records(tmp_path / name)] == [(0, ""), (1, ""), (2, "")]


@pytest.mark.mongo
def test_truncated_gzip_and_lost_frame(results, tmp_path):
    packed = gzip.compress("".join(gap_frame(seed) for seed in range(50)).encode())
    (tmp_path / "cut.xyz.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "lost.xyz").write_text(gap_frame(60) + "some words\n" + gap_frame(61))
    (tmp_path / "count.xyz").write_text(gap_frame(62) + "99999999999999999999\nx\n")
    for name, reason in (("cut.xyz.gz", "reading stopped"), ("lost.xyz", "'some words'"), ("count.xyz", "more than")):
        report = import_files([tmp_path / name], results, options())
        assert report.n_bad == 1 and reason in report.bad[0].reason
        assert report.bad[0].index == report.structures["new"] > 0


@pytest.mark.mongo
def test_two_energies_for_one_label(results, tmp_path):
    file = tmp_path / "gap.xyz"
    file.write_text(gap_frame(0) + gap_frame(0, energy=-29.0) + gap_frame(0) + gap_frame(1))
    report = import_files([file], results, options())
    assert report.n_bad == 1 and report.bad[0].index == 1
    structure = next(results.find(Structure, {"source.index": 0}))
    assert structure.id in report.bad[0].reason
    assert Label.id_for(structure.id, "vasp:0123456789abcdef") in report.bad[0].reason
    assert report.labels == {"new": 2, "known": 1}
    assert results.get(Label, Label.id_for(structure.id, "vasp:0123456789abcdef")).energy_eV == -30.0


@pytest.mark.mongo
def test_a_batch_of_labels_keeps_the_rule_of_one(results):
    converged = a_label()
    values = converged.model_dump(by_alias=True)
    failed = Label.model_validate(
        values
        | {"state": "failed", "failure_class": "timeout", "energy_eV": None, "energy_per_atom_eV": None, "forces": None}
    )
    assert results.put_labels([failed]) == (1, {})
    assert results.put_labels([failed]) == (0, {})
    assert results.put_labels([converged]) == (1, {})
    assert results.put_labels([failed]) == (0, {})
    assert results.get(Label, converged.id).state == "converged"


@pytest.mark.mongo
def test_dry_run_writes_nothing(results, gst, project, tmp_path):
    file = tmp_path / "gap.xyz"
    file.write_text(gap_frame(0) + gap_frame(1, energy="inf"))
    done = gst(project, file, "--method-name", "PBE", "--config-type", "liquid=aimd", "--dry-run")
    assert done.exit_code == 1 and "2 records, 1 of them bad; a dry run" in done.stdout and "record 1" in done.stderr
    assert counts(results) == (0, 0)


@pytest.mark.mongo
def test_the_command(results, gst, project, tmp_path):
    file, method = tmp_path / "gap.xyz", tmp_path / "method.yaml"
    file.write_text(gap_frame(0) + gap_frame(1, config_type="aimd"))
    method.write_text("code: vasp\nversion: '6.4'\nparameters: {ENCUT: 600}\n")
    refused = gst(project, file, "--default-config-type", "other")
    assert isinstance(refused.exception, InputError) and "--method" in refused.exception.fix
    assert counts(results) == (0, 0)
    done = gst(project, file, "--method", method, "--default-config-type", "other", "--tag", "t", "--json")
    content = json.loads(done.stdout)
    assert done.exit_code == 0 and content["labels"] == {"new": 2, "known": 0} and content["bad"] == []
    label = next(results.find(Label, {"config_type": "aimd"}))
    assert label.fingerprint.startswith("vasp:") and label.method["parameters"] == {"ENCUT": 600.0}
    again = gst(project, file, "--method", method, "--default-config-type", "other", "--tag", "t")
    assert "0 new, 2 known before; labels: 0 new, 2 known before" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-type", "liquid=aimdd"], "aimdd"),
        (["--config-type", "liquid"], "not THEIRS=OURS"),
        (["--default-config-type", "odd"], "not a config type"),
        (["--method", "no.yaml"], "cannot be read"),
        (["--method-name", "a", "--method", "b"], "twice"),
        (["--min-distance", "-1"], "min_distance_A"),
    ],
)
def test_wrong_options(arguments, message, tmp_path):
    file = tmp_path / "a.xyz"
    file.write_text(gap_frame(0))
    done = CliRunner().invoke(app, ["structures", "import", str(file), "--dry-run", *arguments])
    assert isinstance(done.exception, InputError) and message in str(done.exception)


def test_files_that_are_not_there_or_not_known(tmp_path):
    (tmp_path / "a.cif").write_text("")
    for name in ("a.cif", "no.xyz", "no.db"):
        with pytest.raises(InputError, match=name):
            import_files([tmp_path / name], None, options(dry_run=True))
    assert not (tmp_path / "no.db").exists()


@pytest.mark.mongo
def test_an_ase_database(results, tmp_path):
    from ase.db import connect

    file = tmp_path / "a.db"
    with connect(file) as database:
        for seed in range(3):
            atoms = bulk("Cu", cubic=True)
            atoms.rattle(0.1, seed=seed)
            atoms.calc = EMT()
            atoms.get_forces()
            atoms.get_stress()
            database.write(atoms, config_type="crystal")
    report = import_files([file], results, options())
    assert (report.labels["new"], report.n_bad) == (3, 0) and counts(results) == (3, 3)
    label = next(results.find(Label, {"structure_id": next(results.find(Structure, {"source.index": 2})).id}))
    assert label.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert label.stress_eV_A3 == pytest.approx(atoms.get_stress(), abs=1e-10)
    (tmp_path / "b.db").write_text("no database at all, but some text of enough length" * 5)
    assert import_files([tmp_path / "b.db"], results, options()).n_bad == 1


def test_the_sign_of_the_virial():
    """-virial/volume is ASE's stress: compared with a calculator, and with the energy's own derivative."""
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ np.array([[1.03, 0.01, 0], [0, 0.99, 0.02], [0, 0, 1.02]]), scale_atoms=True)
    atoms.rattle(0.05, seed=3)
    atoms.calc = EMT()
    stress = atoms.get_stress(voigt=False)
    strain = 1e-5

    def energy(sign: int) -> float:
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain * np.diag([1, 0, 0])), scale_atoms=True)
        strained.calc = EMT()
        return strained.get_potential_energy()

    virial_xx = -(energy(1) - energy(-1)) / (2 * strain)
    given = atoms.copy()
    given.calc = SinglePointCalculator(given, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
    given.info["virial"] = -stress * atoms.get_volume()
    assert given.info["virial"][0, 0] == pytest.approx(virial_xx, rel=1e-4)  # error of the difference quotient
    assert computed_of(given).stress_eV_A3 == pytest.approx(atoms.get_stress(), abs=1e-12)


def test_the_energy_is_the_free_energy():
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, free_energy=2.0, forces=np.zeros((1, 3)))
    assert computed_of(atoms).energy_eV == 2.0
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    assert np.array_equal(computed_of(atoms).forces_eV_A, np.zeros((1, 3)))
    with pytest.raises(DataError, match="without forces"):
        computed_of(_energy_only(atoms * (2, 1, 1)))


def _energy_only(atoms: Atoms) -> Atoms:
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    return atoms


def test_energies_far_off_are_named_and_kept(tmp_path):
    file = tmp_path / "gap.xyz"
    # the fifth before there is a sample, the last after; in hartree
    energies = [-30 + 0.01 * seed for seed in range(40)]
    energies[5] = energies[39] = -30 / 27.2114
    file.write_text("".join(gap_frame(seed, energy=energy) for seed, energy in enumerate(energies)))
    report = import_files([file], None, options(dry_run=True))
    assert [flaw.index for flaw in report.outliers] == [5, 39] and report.n_bad == 0
    assert "eV/atom" in report.outliers[0].reason


def test_energies_of_two_methods_are_not_compared(tmp_path):
    from gst_jobflow.importing.outcome import Outcome

    def seen(seed: int, energy: float, fingerprint: str) -> Outcome:
        text = gap_frame(seed, energy=energy).encode()
        record = parse_frame(tmp_path / "gap.xyz", seed, text)
        return OutcomeBuilder(options(fingerprint=fingerprint)).outcome(record)

    watch = EnergyWatch()
    for seed in range(40):
        assert watch.outliers(seen(seed, -30, "vasp:0123456789abcdef"), -30 / 8) == []
    assert watch.outliers(seen(40, -3000, "cp2k:0123456789abcdef"), -3000 / 8) == []
    assert watch.outliers(seen(41, -3000, "vasp:0123456789abcdef"), -3000 / 8)


def test_energies_under_other_names_are_a_warning(tmp_path):
    file = tmp_path / "gap.xyz"
    names = {"energy": None, "dft_energy": -30, "Properties": "species:S:1:pos:R:3:dft_forces:R:3"}
    file.write_text("".join(gap_frame(seed, **names) for seed in range(3)))
    report = import_files([file], None, options(dry_run=True))
    assert report.n_bad == 0 and [flaw.index for flaw in report.warnings] == [0]
    assert "dft_energy, dft_forces are not read" in report.warnings[0].reason
    strict = import_files([file], None, options(dry_run=True, strict=True))
    assert strict.stopped and strict.records == 1


def test_missing_config_types_name_the_option_that_helps(tmp_path):
    file = tmp_path / "gap.xyz"
    file.write_text(gap_frame(0, config_type=None) + gap_frame(1, config_type="hot"))
    report = import_files([file], None, options(dry_run=True, default_config_type=None, config_types={}))
    first, second = (flaw.reason for flaw in report.bad)
    assert "--default-config-type (crystal, aimd" in first
    assert "--config-type hot=… or --default-config-type" in second


def test_the_map_reads_names_with_signs():
    assert config_type_map(["T=300K=aimd"]) == {"T=300K": "aimd"}


def assert_same(mine: Atoms, theirs: Atoms) -> None:
    """What ASE gives to a calculator we may leave where it stood."""
    assert (mine.numbers.tolist(), mine.pbc.tolist()) == (theirs.numbers.tolist(), theirs.pbc.tolist())
    assert np.array_equal(mine.positions, theirs.positions) and np.array_equal(mine.cell.array, theirs.cell.array)
    found, expected = ({**atoms.info, **atoms.arrays, **results_of(atoms)} for atoms in (mine, theirs))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if key == "stress":
            assert np.array_equal(found[key][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], value)
        else:
            assert np.array_equal(found[key], value) and np.asarray(found[key]).dtype == np.asarray(value).dtype, key


def results_of(atoms: Atoms) -> dict[str, object]:
    return atoms.calc.results if atoms.calc else {}


FORMS = [
    {},
    {"pbc": None},
    {"pbc": '"T F T"'},
    {"virial": None, "stress": '"1 2 3 2 4 5 3 5 6"'},
    {"Properties": "species:S:1:pos:R:3:force:R:3"},
    {"Properties": "species:S:1:pos:R:3:momenta:R:3"},
    {"Properties": "species:S:1:pos:R:3"},
    {"Lattice": '"5 1 0 0 6 0.5 2 0 7"', "note": '"two words"', "flag": "T"},
    {"energy": "-30", "count": "7", "few": '"1 2 3"', "mixed": '"1 2.5"', "list": '"[1, 2]"'},
    {
        "energy": "-3.e1",
        "uid": "12.5",
        "bare": '""',
        "Infinity": "-inf",
        "name": "300K",
        "true": "true",
        "_x": "T,F",
    },
    {"note": "'single = sign'", "json": '"_JSON [[1], [2]]"', "config_type": "_JSON", "umlaut": "Zürich"},
    {"Properties": "species:S:1:pos:R:3:note:R:1:pair:R:2"},
    {"Properties": "species:S:1:pos:R:3:magmoms:R:1:pair:R:2"},
]


@pytest.mark.parametrize("changes", FORMS)
def test_frames_are_read_as_ase_reads_them(tmp_path, changes):
    file = tmp_path / "one.xyz"
    file.write_text(gap_frame(4, **changes))
    mine, theirs = next(read_records(file)).atoms, read(file, format="extxyz")
    assert_same(mine, theirs)


@pytest.mark.parametrize(
    "changes", [*FORMS, *(changes for changes, _ in BAD.values()), {"Lattice": '"6 0 0 0 6 0 0 0 6"'}, {"pbc": "T"}]
)
def test_a_frame_of_many_gives_the_same_documents(tmp_path, changes):
    text = gap_frame(4, **changes).encode()
    one, of_many = (
        OutcomeBuilder(options(), compiled=compiled).outcome(parse_frame(tmp_path / "a.xyz", 4, text, 0, compiled))
        for compiled in (False, True)
    )
    assert [read_back(one.structure), read_back(one.label)] == [read_back(of_many.structure), read_back(of_many.label)]
    assert replace(one, structure=None, label=None) == replace(of_many, structure=None, label=None)


def read_back(encoded):
    """A document with the types of its values, without its time; contacts to the rounding of two searches."""
    if encoded is None:
        return None
    document = bson.decode(encoded.data)
    del document["created_at"]
    closest_A = document.pop("min_distance_A", 0.0)
    return bson.encode(document), pytest.approx(closest_A, rel=1e-12)


@pytest.mark.mongo
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 20), shift=st.floats(-20, 20))
def test_atoms_come_back_as_the_file_has_them(results, tmp_path, seed, n, shift):
    # an example like an earlier one is the same structure, which would not be stored again
    for collection in ("structures", "labels"):
        results.database[collection].delete_many({})
    rng = np.random.default_rng(seed)
    grid = np.array([(x, y, z) for x in range(3) for y in range(3) for z in range(3)])
    places = grid[rng.permutation(27)[:n]] * 4.0 + rng.uniform(-0.5, 0.5, (n, 3)) + shift
    cell = np.eye(3) * 12 + rng.uniform(-1, 1, (3, 3))
    atoms = Atoms(rng.choice(["Ge", "Sb", "Te"], n), positions=places, cell=cell, pbc=True)
    forces = rng.normal(size=(n, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * n, forces=forces)
    file = tmp_path / "one.xyz"
    write(file, atoms, format="extxyz")
    report = import_files([file], results, options(default_config_type="other", min_distance_A=0.1))
    assert report.n_bad == 0, report.bad
    there = next(read_records(file)).atoms
    (structure,) = results.find(Structure, {})
    again = load_atoms(results, structure.id)
    for name in ("numbers", "positions", "pbc"):
        assert np.array_equal(getattr(again, name), getattr(there, name))
    assert np.array_equal(again.cell.array, there.cell.array)
    # ASE writes eight decimals
    assert np.allclose(again.positions, atoms.positions, atol=1e-8, rtol=0)
    assert again.get_chemical_symbols() == atoms.get_chemical_symbols()
    label = results.get(Label, Label.id_for(structure.id, "vasp:0123456789abcdef"))
    assert np.allclose(unpack(label.forces, 3), forces, atol=1e-8, rtol=0)


@pytest.mark.mongo
@pytest.mark.parametrize("workers", [1, 2])
def test_coordinates_of_a_large_structure_are_a_file(results, tmp_path, workers):
    atoms = bulk("Cu", cubic=True) * (30, 30, 30)
    file = tmp_path / "large.xyz"
    file.write_text(gap_frame(1))
    write(file, atoms, append=True)
    report = import_files([file], results, options(default_config_type="other"), workers=workers)
    assert (report.n_bad, report.structures["new"]) == (0, 2)
    [structure] = results.find(Structure, {"n_atoms": len(atoms)})
    assert structure.positions is None and structure.atoms_artifact is not None
    assert np.allclose(load_atoms(results, structure.id).positions, atoms.positions, atol=1e-8, rtol=0)


def test_values_of_equal_comments_are_not_shared_between_frames() -> None:
    first, again = (read_comment('pbc="T T F" sites="1 2 3"') for _ in range(2))
    first["pbc"][0], first["sites"][0] = False, 7
    assert list(again["pbc"]) == [True, True, False] and list(again["sites"]) == [1, 2, 3]


def test_another_programs_sqlite_file_is_refused_and_left_as_it_is(tmp_path):
    import sqlite3

    from gst_jobflow.importing.ase_db import read_ase_db

    file = tmp_path / "other.db"
    with sqlite3.connect(file) as other:
        other.execute("create table runs(name text)")
    other.close()
    before = file.read_bytes()
    (record,) = read_ase_db(file, options())
    assert "not of ASE" in record.problem
    assert file.read_bytes() == before


CASES = Path(__file__).with_name("data")


@pytest.mark.parametrize(
    ("keys", "energies_eV", "force_eV_A"),
    [
        ({"energy_key": "energy", "forces_key": "forces"}, [-14.10, -14.11, -14.12], 0.25967683),
        ({"energy_key": "REF_energy", "forces_key": "REF_forces"}, [-15.30, -15.32, -15.34], -0.16849096),
    ],
)
def test_a_models_labels_beside_reference_ones_are_refused_unless_told(keys, energies_eV, force_eV_A):
    file = CASES / "extxyz" / "mace.xyz"
    with pytest.raises(UnansweredError) as refused:
        import_files([file], None, options(dry_run=True))
    assert refused.value.message == (
        f"{file} record 0 and 2 more: sets of labels that differ: energies energy, REF_energy (--energy-key); "
        "forces forces, REF_forces (--forces-key); stresses none (--stress-key)"
    )
    assert refused.value.options == ["--energy-key REF_energy --forces-key REF_forces"]
    told = options(dry_run=True, **keys)
    assert import_files([file], None, told).n_bad == 0
    computed = [computed_of(record.atoms, told) for record in read_records(file)]
    assert [each.energy_eV for each in computed] == energies_eV
    assert computed[0].forces_eV_A[0, 0] == force_eV_A


def test_virials_of_potential_training_sets_are_read_as_stresses():
    file = CASES / "extxyz" / "nep.xyz"
    assert import_files([file], None, options(dry_run=True)).warnings == []
    for record in read_records(file):
        expected = np.array([-1.0, -2.0, -3.0, 0.0, 0.0, -0.1]) / (6.1 * 6.2 * 6.3)
        assert computed_of(record.atoms).stress_eV_A3 == pytest.approx(expected, rel=1e-12)


@pytest.mark.mongo
def test_a_single_atom_that_is_not_periodic_is_alone_in_a_box(results, tmp_path):
    file = CASES / "extxyz" / "isolated_atom.xyz"
    bare = tmp_path / "bare.xyz"
    bare.write_text('1\nProperties=species:S:1:pos:R:3 energy=-0.5 config_type=IsolatedAtom pbc="F F F"\nGe 0 0 0\n')
    report = import_files([file, bare], results, options())
    assert report.n_bad == 0 and ["periodic box" in flaw.reason for flaw in report.warnings] == [True, True]
    kept, boxed = results.find(Structure, {}, [("source.file", -1)])
    assert kept.config_type == boxed.config_type == "isolated_atom" and kept.pbc == [True] * 3
    assert kept.cell_A == np.diag([20.0] * 3).tolist() == boxed.cell_A
    assert isolated_atom_energies(results.database, "vasp:0123456789abcdef", ["Ge", "Te"]) == {"Ge": -0.5, "Te": -0.41}


def test_a_molecule_and_a_chain_are_still_refused(tmp_path):
    file = tmp_path / "chain.xyz"
    file.write_text('1\nLattice="9 0 0 0 9 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="F F T"\nGe 0 0 0\n')
    [flaw] = import_files([file], None, options(dry_run=True, default_config_type="other")).bad
    assert "not periodic" in flaw.reason


def test_what_is_missing_is_asked_once_with_all_answers(tmp_path):
    frames = [gap_frame(seed, config_type=None) for seed in range(5)]
    (tmp_path / "some set").mkdir()
    file = tmp_path / "some set" / "one.xyz"
    file.write_text("".join(frames))
    with pytest.raises(UnansweredError) as refused:
        import_files([file], None, options(dry_run=True, fingerprint=None))
    assert refused.value.options == ["--method-name 'some set'", "--default-config-type other"]
    assert "record 0 and 4 more: holds energies, and nothing says by which method" in refused.value.message
    assert "record 0 and 4 more: no config_type" in refused.value.message
    # without a config type records are bad, said once
    report = import_files([file], None, options(dry_run=True))
    assert [(same.index, same.count) for same in report.reasons] == [(0, 5)] and report.n_bad == 5
    assert report.options == ["--default-config-type other"]


@pytest.mark.mongo
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_written_after_the_first_record_that_asks(results, tmp_path, workers):
    frames = [gap_frame(seed) for seed in range(6)]
    frames[2] = gap_frame(2, REF_energy=-31)
    frames[4] = gap_frame(4, REF_energy=-31, config_type=None)
    file = tmp_path / "one.xyz"
    file.write_text("".join(frames))
    with pytest.raises(UnansweredError) as refused:
        import_files([file], results, options(), workers=workers)
    assert counts(results) == (2, 2)
    assert refused.value.options == [
        "--energy-key energy --forces-key forces --stress-key virial",
        "--default-config-type other",
    ]
    told = options(energy_key="energy", default_config_type="other")
    assert import_files([file], results, told, workers=workers).n_bad == 0 and counts(results) == (6, 6)


@pytest.mark.mongo
def test_the_command_that_is_proposed_is_the_last(project, tmp_path):
    frames = [gap_frame(seed, config_type=None, energy=None, REF_energy=-30 - seed) for seed in range(3)]
    (tmp_path / "my set").mkdir()
    file = tmp_path / "my set" / "one.xyz"
    file.write_text("".join(frames).replace("forces", "REF_forces"))
    command = ["-p", str(project.root), "structures", "import", str(file)]
    for _ in range(2):
        done = gst_command(*command)
        if done.returncode == 0:
            break
        proposed = done.stderr[done.stderr.index("→") + 1 :].strip().splitlines()[0]
        command = shlex.split(proposed)[1:]
    assert done.returncode == 0 and "3 new, 0 known before; labels: 3 new" in done.stdout
    for option in ("--method-name", "--default-config-type", "--energy-key", "--forces-key"):
        assert option in command


@pytest.mark.mongo
def test_energies_of_free_atoms_are_kept_with_the_method(results, tmp_path):
    file = tmp_path / "gap.xyz"
    file.write_text(gap_frame(0))
    told = options(free_atoms_eV={"Ge": -3.5, "Te": -2.5})
    for new in (3, 0):
        assert import_files([file], results, told).labels == {"new": new, "known": 3 - new}
    assert isolated_atom_energies(results.database, "vasp:0123456789abcdef", ["Ge", "Te"]) == {"Ge": -3.5, "Te": -2.5}
    other = import_files([file], results, options(free_atoms_eV={"Ge": -3.6}))
    assert [flaw.file for flaw in other.bad] == ["--free-atoms"] and "differs" in other.bad[0].reason


def test_energies_of_free_atoms_need_a_method(tmp_path):
    file = tmp_path / "one.xyz"
    file.write_text(gap_frame(0, energy=None, Properties="species:S:1:pos:R:3"))
    with pytest.raises(InputError, match="--free-atoms are energies of one method"):
        import_files([file], None, options(dry_run=True, fingerprint=None, free_atoms_eV={"Ge": -3.5}))


@pytest.mark.parametrize("text", ["Ge", "Ge=", "Gx=-1", "Ge=a", "Ge=nan", "Ge=-1,Ge=-2"])
def test_wrong_energies_of_free_atoms(text):
    with pytest.raises(InputError, match=r"free.atoms"):
        checked(ImportOptions, {"free_atoms_eV": assignments("--free-atoms", text, "Ge=-4.1")})


def test_labels_of_an_ase_database_are_read_from_calculators_and_data(tmp_path):
    from ase.db import connect

    atoms = bulk("GeTe", "rocksalt", a=6.0)
    with connect(tmp_path / "a.db") as database:
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(labelled, energy=-7.0, forces=np.full((2, 3), 0.5), stress=np.arange(6.0))
        database.write(labelled)
        database.write(atoms, REF_energy=-8.0, data={"REF_forces": np.full((2, 3), 0.25)})
    first, second = read_records(tmp_path / "a.db")
    computed = computed_of(first.atoms)
    assert computed.energy_eV == -7.0 and computed.stress_eV_A3 == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(computed.forces_eV_A, np.full((2, 3), 0.5))
    assert computed_of(second.atoms) is None
    told = computed_of(second.atoms, ImportOptions(energy_key="REF_energy"))
    assert told.energy_eV == -8.0 and np.array_equal(told.forces_eV_A, np.full((2, 3), 0.25))
