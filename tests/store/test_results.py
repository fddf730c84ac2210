"""The results store: disk first, write once, never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.build import bulk
from pydantic import ValidationError

from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.documents import Cycle, Label, Operation, Structure, Study, derive_id
from gst_jobflow.store import ArtifactStore, Results, ingest, manifest
from gst_jobflow.store.atoms import atoms_of, load_atoms, structure_document, structure_values
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo


@pytest.fixture
def results(project: Project, tmp_path: Path) -> Results:
    return Results.open(project, spool_dir=tmp_path)


def test_writing_twice_changes_nothing(results: Results) -> None:
    assert results.add(structure()) is True
    assert results.add(structure()) is False
    assert results.add_many([structure(), structure(_id="b" * 32)]) == (1, 1)
    assert results.database["structures"].count_documents({}) == 2
    assert results.get(Structure, "a" * 32).formula == "GeTe"


def test_atoms_come_back_as_they_were(results: Results) -> None:
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
    atoms.rattle(0.1, seed=1)
    document = structure_document(atoms, "crystal", source={"builder": "test"})
    results.add(document)
    again = load_atoms(results, document.id)
    assert np.array_equal(again.numbers, atoms.numbers)
    assert np.array_equal(again.positions, atoms.positions)
    assert np.array_equal(again.cell.array, atoms.cell.array)
    assert structure_document(again, "crystal").id == document.id


def test_coordinates_of_a_large_structure_are_a_file(results: Results) -> None:
    atoms = bulk("GeTe", "rocksalt", a=6.0, cubic=True).repeat((24, 24, 24))  # 110,592 atoms
    document = structure_document(atoms, "crystal", artifacts=results.artifacts)
    assert document.positions is None and document.atoms_artifact is not None
    assert np.array_equal(atoms_of(document, results.artifacts).positions, atoms.positions)
    assert len(document.model_dump_json()) < 5000


def test_a_converged_label_replaces_a_failed_one_and_never_the_other_way(results: Results) -> None:
    bad = label(state="failed", failure_class="not_converged", reason="SCF", energy_eV=None, forces=None)
    assert results.add(bad) is True
    assert results.add(label()) is True
    assert results.add(bad) is False
    assert results.get(Label, label().id).state == "converged"


def test_two_energies_of_one_label_are_refused(results: Results) -> None:
    results.add(label())
    assert results.add(label(energy_eV=-150.0 + 1e-6)) is False
    with pytest.raises(DataError, match="differs"):
        results.add(label(energy_eV=-151.0))
    assert results.get(Label, label().id).energy_eV == -150.0


def test_what_was_computed_is_on_disk_while_the_database_is_away(project: Project, tmp_path: Path) -> None:
    away = Results(None, ArtifactStore(project.artifacts_dir), tmp_path)
    study = Study(_id="s1", name="s", kind="demo", plan={})
    for document in (structure(), label(), study):
        away.add(document)
    away.update("studies", "s1", {"state": "finished", "finished_at": "2026-01-31T12:00:00+00:00"})
    with pytest.raises(DatabaseError):
        away.get(Structure, "a" * 32)
    results = Results.open(project)
    assert ingest(results, [tmp_path]) == {"manifests": 1, "entries": 4, "new": 4, "problems": []}
    assert results.get(Label, label().id) == label(created_at=results.get(Label, label().id).created_at)
    assert results.get(Study, "s1").finished_at is not None
    assert ingest(results, [tmp_path])["new"] == 0


def cycle() -> Cycle:
    operations = [Operation(kind=kind, stages=[], duration_ps=1.0) for kind in ("RESET", "SET")]
    return Cycle(
        _id="c1", name="c", device="cross-point", formula="GeTe", n_atoms=2, groups={"mobile": [1, 2]}, seed=1,
        potential_id="p", structure_id="s", operations=operations,
    )  # fmt: skip


def test_a_cycles_state_follows_from_its_operations_in_whatever_order_they_come(results: Results) -> None:
    def note(index: int, state: str) -> str:
        unless = None if state == "finished" else {f"operations.{index}.state": "finished"}
        results.update("cycles", "c1", {f"operations.{index}.state": state}, unless)
        return results.get(Cycle, "c1").state

    results.add(cycle())
    assert results.get(Cycle, "c1").state == "waiting"
    assert note(0, "failed") == "failed"
    assert note(0, "finished") == "running"
    assert note(1, "finished") == "finished"
    assert note(0, "failed") == "finished", "a failed attempt that comes late hides nothing"
    assert note(0, "finished") == "finished"


def test_manifests_put_in_again_in_any_order_change_nothing(results: Results, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, state in ((first, "failed"), (second, "finished")):
        folder.mkdir()
        unless = None if state == "finished" else {"operations.0.state": "finished"}
        manifest.append(folder, manifest.Insert(cycle()))
        manifest.append(folder, manifest.Update("cycles", "c1", {"operations.0.state": state}, unless))
    ingest(results, [first, second])
    for folders in ([first], [second, first], [first, second]):
        assert ingest(results, folders)["new"] == 0
        assert results.get(Cycle, "c1").operations[0].state == "finished"


def test_what_cannot_be_put_in_is_told_and_the_rest_goes_in(results: Results, tmp_path: Path) -> None:
    results.add(label())
    manifest.append(tmp_path, manifest.Insert(label(energy_eV=-170.0)))
    manifest.append(tmp_path, manifest.Update("cycles", "nobody", {"name": "x"}))
    manifest.append(tmp_path, manifest.Insert(structure(_id="d" * 32)))
    found = ingest(results, [tmp_path])
    assert len(found["problems"]) == 2
    assert results.get(Structure, "d" * 32).n_atoms == 2


def test_a_known_structure_gains_a_tag(results: Results) -> None:
    results.add_many([structure(tags=["one"])])
    assert results.add_many([structure(tags=["two"])]) == (0, 1)
    assert results.get(Structure, "a" * 32).tags == ["one", "two"]


def test_a_torn_last_line_of_a_manifest_is_not_read(tmp_path: Path) -> None:
    manifest.append(tmp_path, manifest.Insert(structure()))
    file = tmp_path / manifest.MANIFEST_NAME
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    assert [line.problem for line in manifest.lines(file)] == [""]
    file.write_bytes(whole + b"nonsense\n")
    _, damaged = manifest.lines(file)
    assert damaged.entry is None and ":2 is not a manifest entry" in damaged.problem


def test_immutable_documents_cannot_be_updated(results: Results) -> None:
    with pytest.raises(ValueError, match="never change"):
        results.update("structures", "a" * 32, {"formula": "Te"})


def test_a_missing_document_names_the_way_out(results: Results) -> None:
    with pytest.raises(DataError, match="no document 'zz' in structures"):
        results.get(Structure, "zz")
    with pytest.raises(DataError):
        list(results.get_many(Structure, ["zz"]))
    with pytest.raises(DataError, match="to update"):
        results.update("studies", "zz", {"state": "failed"})


def test_the_server_guards_what_python_did_not(results: Results) -> None:
    broken = structure().model_copy(update={"config_type": "cristal"})
    with pytest.raises(DatabaseError, match="refused document 'aaaa"):
        results.add(broken)


def test_a_database_of_a_newer_version_is_refused(project: Project) -> None:
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.schema.migrate import migrate

    assert migrate(project) == []
    connect(project)["gst_meta"].update_one({"_id": "schema"}, {"$set": {"version": 99}})
    with pytest.raises(DatabaseError, match="upgrade"):
        migrate(project)


def test_a_changed_validator_and_a_lost_index_are_mended(project: Project) -> None:
    from gst_jobflow.store.connect import connect
    from gst_jobflow.store.schema.migrate import migrate

    database = connect(project)
    database.command("collMod", "labels", validator={})
    database["labels"].drop_index("created_at_-1")
    assert migrate(project) == ["labels: validator", "labels: index created_at_-1"]
    assert migrate(project) == []


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("expect_new", [False, True])
def test_a_batch_follows_the_rules_of_one_by_one(project: Project, encoded: bool, expect_new: bool) -> None:
    results = Results.open(project)
    of_structure = EncodedStructure.of if encoded else lambda document: document
    of_label = EncodedLabel.of if encoded else lambda document: document
    results.add(structure(tags=["old"]))
    batch = [structure(tags=["new"]), structure(_id="b" * 32, tags=["x"]), structure(_id="b" * 32, tags=["y"])]
    assert results.add_many([of_structure(document) for document in batch], expect_new=expect_new) == (1, 2)
    assert sorted(results.get(Structure, "a" * 32).tags) == ["new", "old"]
    assert sorted(results.get(Structure, "b" * 32).tags) == ["x", "y"]
    failed = {"state": "failed", "failure_class": "not_converged", "energy_eV": None, "forces": None}
    other = {"_id": Label.id_for("b" * 32, "tblite:1"), "structure_id": "b" * 32}
    results.add(label(**other, **failed))
    # a failed and a converged one in one batch, one over a failed one that is there, one that contradicts
    labels = [label(**failed), label(), label(**other), label(**other), label(energy_eV=-140.0), label(**failed)]
    changed, refused = results.put_labels([of_label(document) for document in labels], expect_new=expect_new)
    assert list(refused) == [4] and "differs by 5 eV/atom" in refused[4].message
    assert results.get(Label, label().id) == label(created_at=results.get(Label, label().id).created_at)
    assert results.get(Label, other["_id"]).state == "converged"
    assert changed == 3
    assert results.put_labels([of_label(label())], expect_new=expect_new) == (0, {})


def test_of_two_failures_the_newest_stays(results: Results) -> None:
    values = {"state": "failed", "energy_eV": None, "forces": None}
    first = label(**values, failure_class="bad_input", reason="the cell is too small", job_uuid="one")
    second = label(**values, failure_class="missing_output", reason="no total energy", job_uuid="two")
    later = second.model_copy(update={"created_at": first.created_at + timedelta(seconds=1)})
    for order in ((first, later), (later, first)):
        results.database["labels"].delete_many({})
        for each in order:
            results.add(each)
        stored = results.get(Label, first.id)
        assert (stored.failure_class, stored.reason, stored.job_uuid) == ("missing_output", "no total energy", "two")
    # and never takes the place of numbers
    results.put_labels([label()])
    last = later.model_copy(update={"created_at": first.created_at + timedelta(days=1)})
    assert results.put_labels([last]) == (0, {}) and results.get(Label, first.id).state == "converged"


def test_all_documents_are_on_disk_when_the_database_is_away(results: Results, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gst_jobflow.store.results._BATCH", 5)
    documents = [structure(_id=derive_id("away", number)) for number in range(12)]
    away = Results(None, results.artifacts, tmp_path)
    assert away.add_many(documents) == (0, 0)
    found = ingest(results, [tmp_path])
    assert (found["new"], found["problems"]) == (12, [])
    with pytest.raises(DatabaseError, match="cannot be reached"):
        Results(None, results.artifacts).add_many(documents[:1])


def test_encoded_documents_cannot_be_spooled(results: Results) -> None:
    with pytest.raises(ValueError, match="spool"):
        results.add_many([EncodedStructure.of(structure())])


def test_the_server_guards_encoded_documents_too(project: Project) -> None:
    broken = EncodedStructure.of(structure().model_copy(update={"config_type": "cristal"}))
    with pytest.raises(DatabaseError, match="refused document 'aaaa"):
        Results.open(project).add_many([broken])


def test_a_full_disk_leaves_the_database(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest, "append", full)
    assert results.add(structure()) is True
    away = Results(None, results.artifacts, results.spool_dir)
    with pytest.raises(OSError, match="No space"):
        away.add(structure(_id="b" * 32))


@pytest.mark.parametrize(
    ("durable", "disk_full", "journaled"), [(True, False, True), (False, False, None), (False, True, True)]
)
def test_a_write_waits_for_the_servers_disk_unless_files_have_it_and_nobody_asks(
    results: Results, monkeypatch: pytest.MonkeyPatch, durable: bool, disk_full: bool, journaled: bool | None
) -> None:
    def append(*_: object, **__: object) -> None:
        if disk_full:
            raise OSError(28, "No space left on device")

    def apply(database: Database, entry: object) -> bool:
        concerns.append(database.write_concern.document.get("j"))
        return True

    concerns: list[bool | None] = []
    monkeypatch.setattr(manifest, "append", append)
    monkeypatch.setattr("gst_jobflow.store.results.apply_entry", apply)
    results.add(structure(), durable=durable)
    assert concerns == [journaled]


def test_what_the_database_did_not_take_is_on_disk(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pymongo.errors import AutoReconnect

    def away(*_: object) -> None:
        raise AutoReconnect("away")

    synced: list[Path] = []
    monkeypatch.setattr("gst_jobflow.store.results.apply_entry", away)
    monkeypatch.setattr(manifest, "flush_manifest", synced.append)
    spooling = Results(results.database, results.artifacts, tmp_path)
    assert spooling.add(structure(), durable=False) is False
    assert synced == [tmp_path]
    spooling.add(structure(_id="b" * 32), durable=False)
    assert synced == [tmp_path, tmp_path]


def test_what_neither_disk_nor_database_took_is_an_error(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymongo.errors import AutoReconnect

    def fail(error: Exception) -> Callable[..., None]:
        def raise_it(*_: object, **__: object) -> None:
            raise error

        return raise_it

    monkeypatch.setattr(manifest, "append", fail(OSError(28, "No space left on device")))
    monkeypatch.setattr("gst_jobflow.store.results.apply_entry", fail(AutoReconnect("away")))
    with pytest.raises(DatabaseError, match="went away"):
        results.add(structure())


def test_values_are_encoded_as_their_document_is(results: Results) -> None:
    atoms = bulk("Te", "sc", a=3.2)
    values = structure_values(atoms, "crystal", tags=["x"], source={"file": "a"})
    encoded, document = EncodedStructure.of_values(values), structure_document(atoms, "crystal", tags=["x"])
    kept = {"source": {"file": "a"}, "created_at": encoded.decode().created_at}
    assert encoded == EncodedStructure.of(document.model_copy(update=kept))
    forces_eV_A = np.zeros((1, 3))
    for stress in (None, [0.0] * 6):
        fields = {"energy_eV": -3.0, "forces_eV_A": forces_eV_A, "stress_eV_A3": stress, "wall_s": 0.0}
        label_values = Label.values_of(encoded, "tblite:1", {"code": "tblite"}, **fields)
        mine = EncodedLabel.of_values(label_values)
        theirs = Label.of(document, "tblite:1", {"code": "tblite"}, **fields)
        assert mine == EncodedLabel.of(theirs.model_copy(update={"created_at": mine.decode().created_at}))


@pytest.mark.parametrize("name", ["density_g_cm3", "volume_per_atom_A3", "min_distance_A"])
@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_values_out_of_bounds_are_named_as_by_the_model(name: str, bad: float) -> None:
    with pytest.raises(ValidationError, match=name):
        EncodedStructure.of_values({**structure_values(bulk("Te", "sc", a=3.2), "crystal"), name: bad})


def test_numbers_of_labels_out_of_bounds_are_named_as_by_the_model() -> None:
    encoded = EncodedStructure.of_values(structure_values(bulk("Te", "sc", a=3.2), "crystal"))
    # its square is too large for a double
    fields = {"energy_eV": -3.0, "forces_eV_A": np.full((1, 3), 1e200), "wall_s": 0.0}
    with pytest.raises(ValidationError, match="max_force_eV_A"):
        EncodedLabel.of_values(Label.values_of(encoded, "tblite:1", {"code": "tblite"}, **fields))
