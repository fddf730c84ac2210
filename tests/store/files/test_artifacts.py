"""Files by content: stored once, whole, found again; garbage goes, and nothing that anybody needs."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gridfs import GridFSBucket

from gst_jobflow.archive.backup import backup, restore
from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import ArtifactRef, now
from gst_jobflow.store import ArtifactStore, Results, manifest
from gst_jobflow.store.check import check, check_stored_files
from gst_jobflow.store.connect import cached_connection, connect
from gst_jobflow.store.files.artifacts import sha256_of
from gst_jobflow.store.files.garbage import collect_garbage
from gst_jobflow.store.schema.migrate import migrate
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

pytestmark = pytest.mark.mongo
DAY_S = 86_400.0


@pytest.fixture
def database(project: Project):
    opened = connect(project)
    yield opened
    opened.client.close()


@pytest.fixture
def store(project: Project) -> ArtifactStore:
    return ArtifactStore(project.artifacts_dir)


@pytest.fixture
def folder(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "plain")


def content(store: ArtifactStore) -> dict[str, bytes]:
    found = {}
    for file in store.stored():
        with store.open(file.digest) as stream:
            found[file.digest] = stream.read(10_000_000)
    return found


def make_old(store: ArtifactStore, digest: str, days: float = 30) -> None:
    """As if a file had been put, or trashed, days ago."""
    then = time.time() - days * DAY_S
    for path in (store.path_of(digest), store.root / ".trash" / digest):
        with suppress(FileNotFoundError):
            os.utime(path, (then, then))


def test_the_same_bytes_are_one_file(store: ArtifactStore, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("same")
    first, second = store.put(tmp_path / "a.txt"), store.put(tmp_path / "b.txt")
    assert first.sha256 == second.sha256 and (first.name, second.name) == ("a.txt", "b.txt")
    assert content(store) == {first.sha256: b"same"}
    assert sha256_of(store.path(first)) == (first.sha256, first.size_bytes)
    assert store.size_of(first.sha256) == 4 and store.size_of("0" * 64) is None


def test_many_writers_of_one_file_leave_one_whole_file(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 3_000_000)
    with ThreadPoolExecutor(4) as pool:
        refs = list(pool.map(lambda _: store.put(tmp_path / "big"), range(8)))
    assert len({ref.sha256 for ref in refs}) == 1
    assert content(store) == {refs[0].sha256: b"x" * 3_000_000}


def test_fetched_files_carry_their_name(store: ArtifactStore, tmp_path: Path) -> None:
    ref = store.put_bytes(b"potential", "gst.yace")
    for _ in range(2):
        fetched = store.fetch(ref, tmp_path)
        assert fetched.name == "gst.yace" and fetched.read_bytes() == b"potential"
        assert fetched.resolve().suffix == ".yace"


def test_a_missing_file_says_so(store: ArtifactStore) -> None:
    with pytest.raises(DataError, match=r"'gone\.txt'"):
        store.path(ArtifactRef(sha256="0" * 64, size_bytes=1, name="gone.txt"))


def test_a_corrupt_file_is_found_and_mended_by_putting_it_again(folder: ArtifactStore) -> None:
    ref = folder.put_bytes(b"as it was", "x")
    folder.path_of(ref.sha256).chmod(0o600)
    folder.path_of(ref.sha256).write_bytes(b"as it wos")
    (finding,) = check_stored_files(folder)
    assert finding.id == ref.sha256 and "corrupt" in finding.what
    folder.put_bytes(b"as it was", "x")
    assert list(check_stored_files(folder)) == [] and folder.path(ref).read_bytes() == b"as it was"


def collected(project: Project, database: Database, store: ArtifactStore, **options):
    return collect_garbage(project, database, store, **options)


def named(project: Project, store: ArtifactStore, data: bytes, id: str = "a" * 32) -> ArtifactRef:
    """A file that a label names."""
    ref = store.put_bytes(data, "named")
    results = Results(Results.open(project).database, store)
    results.add(structure(_id=id))
    results.add(label(_id=f"label-{id}", structure_id=id, files=[ref]))
    return ref


def test_garbage_goes_in_two_steps_and_what_is_named_stays(project, database, store: ArtifactStore) -> None:
    kept, young, old = named(project, store, b"kept"), store.put_bytes(b"young", "y"), store.put_bytes(b"old", "o")
    spooled = store.put_bytes(b"in a manifest that is not ingested", "s")
    for ref in (kept, old, spooled):
        make_old(store, ref.sha256)
    launch = project.runs_dir / "block" / "launcher"
    launch.mkdir(parents=True)
    manifest.append(launch, manifest.Insert(label(files=[spooled])))

    would = collected(project, database, store, dry_run=True)
    assert (would.files, would.needed, would.young, would.trashed) == (4, 2, 1, 1)
    assert len(content(store)) == 4

    assert collected(project, database, store).trashed == 1
    assert set(content(store)) == {kept.sha256, young.sha256, spooled.sha256}
    assert store.size_of(old.sha256) == 3, "in the trash it is still there"
    assert collected(project, database, store).deleted == 0, "the grace has only begun"
    make_old(store, old.sha256, days=2)
    assert collected(project, database, store).deleted == 1
    assert store.size_of(old.sha256) is None
    assert content(store).keys() == {kept.sha256, young.sha256, spooled.sha256}
    assert list(check_stored_files(store)) == []


@pytest.mark.parametrize("how", ["put", "read", "named"])
def test_who_needs_a_file_takes_it_out_of_the_trash(project, database, store: ArtifactStore, how: str) -> None:
    named(project, store, b"something else")
    ref = store.put_bytes(b"needed again", "x")
    make_old(store, ref.sha256)
    assert collected(project, database, store).trashed == 1
    make_old(store, ref.sha256)
    if how == "put":
        store.put_bytes(b"needed again", "x")
    elif how == "read":
        assert store.path(ref).read_bytes() == b"needed again"
    else:
        results = Results(database, store)
        results.add(structure(_id="b" * 32))
        results.add(label(_id="late", structure_id="b" * 32, files=[ref]))
    done = collected(project, database, store)
    assert (done.deleted, done.taken_back) == (0, int(how == "named"))
    assert ref.sha256 in content(store) and store.is_sound(ref.sha256)


def test_a_put_while_garbage_is_looked_for_is_never_undone(project, database, store: ArtifactStore) -> None:
    named(project, store, b"something else")
    ref = store.put_bytes(b"old", "x")
    make_old(store, ref.sha256)
    before = time.time() - 7 * DAY_S
    store.put_bytes(b"old", "x")  # after the collector saw that it was old, before it moves it
    assert store.trash(ref.sha256, before) is False
    assert ref.sha256 in content(store)


def test_a_put_between_the_two_looks_of_the_folder(folder: ArtifactStore, monkeypatch) -> None:
    ref = folder.put_bytes(b"old", "x")
    make_old(folder, ref.sha256)
    rename: Callable = Path.rename

    def put_first(path: Path, target: Path):
        if target.parent.name == ".trash":
            os.utime(path)  # what a put does to a file that is there
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", put_first)
    assert folder.trash(ref.sha256, time.time() - DAY_S) is False
    assert folder.path_of(ref.sha256).is_file() and list(folder.trashed()) == []


def test_files_of_another_user_stay(project, database, folder: ArtifactStore, monkeypatch) -> None:
    ref = folder.put_bytes(b"x", "x")
    make_old(folder, ref.sha256)

    def not_ours(path, *_args, **_options):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr("gst_jobflow.store.files.artifacts.os.utime", not_ours)
    done = collected(project, database, folder, force=True)
    assert (done.trashed, done.left, done.deleted) == (0, 1, 0)
    assert folder.path_of(ref.sha256).read_bytes() == b"x" and list(folder.trashed()) == []


def test_writers_beside_collectors_lose_nothing(project: Project, database: Database, store: ArtifactStore) -> None:
    named(project, store, b"something else")
    texts = [f"file {number}".encode() for number in range(6)]
    refs = [store.put_bytes(text, "x") for text in texts]

    def write(turn: int) -> ArtifactRef:
        make_old(store, refs[turn % 6].sha256)
        return store.put_bytes(texts[turn % 6], "x")

    def gather(_: int) -> None:
        for ref in refs:
            store.trash(ref.sha256, time.time() - DAY_S)

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(write if turn % 2 else gather, turn) for turn in range(60)]
        for job in jobs:
            job.result()
    for text in texts:  # whatever the order was: nothing was deleted, and a put brings it to its place
        ref = store.put_bytes(text, "x")
        assert store.path(ref).read_bytes() == text
    assert list(store.trashed()) == []


def test_attempts_that_run_keep_what_was_put_since_they_began(project, database, store: ArtifactStore) -> None:
    from datetime import timedelta

    from tests.store.test_check import attempt

    named(project, store, b"something else")
    ref = store.put_bytes(b"of a long job", "x")
    make_old(store, ref.sha256, days=10)
    Results(database, store).add(attempt(started_at=now() - timedelta(days=12)))
    assert collected(project, database, store).trashed == 0
    database["attempts"].update_one({}, {"$set": {"state": "finished"}})
    assert collected(project, database, store).trashed == 1


def test_a_database_that_names_none_of_the_files_is_no_reason_to_remove_them(project, database, store) -> None:
    make_old(store, store.put_bytes(b"of another database", "x").sha256)
    with pytest.raises(DataError, match="another database"):
        collected(project, database, store)
    assert collected(project, database, store, force=True).trashed == 1


def test_leftovers_of_killed_writers_go_by_age(project, database, folder: ArtifactStore) -> None:
    ref = folder.put_bytes(b"x", "x")
    for days, name in ((30, "old"), (0, "young")):
        part = folder.path_of(ref.sha256).parent / f".part-{name}"
        part.write_bytes(b"half")
        os.utime(part, (time.time() - days * DAY_S,) * 2)
    # as an import of a bundle leaves it
    scratch = folder.root / ".part-bundle"
    scratch.mkdir()
    (scratch / "copy").write_bytes(b"halves")
    for path in (scratch / "copy", scratch):
        os.utime(path, (time.time() - 30 * DAY_S,) * 2)
    assert collected(project, database, folder, force=True, dry_run=True).leftovers == 2 and scratch.is_dir()
    done = collected(project, database, folder, force=True)
    assert (done.leftovers, done.leftover_bytes) == (2, 10)
    assert [path.name for path in folder.root.rglob(".part-*")] == [".part-young"]


def test_backups_hold_files_wherever_they_are(project, database, store: ArtifactStore, tmp_path: Path) -> None:
    ref = named(project, store, b"kept")
    held = backup(project, tmp_path / "b.tar")
    assert (held.files.count, held.files.missing) == (1, [])
    assert not any(dump.name.startswith("artifacts.") for dump in held.collections)
    store.discard(ref.sha256)
    other = store.put_bytes(b"came later", "x")
    restore(project, tmp_path / "b.tar", force=True)
    assert store.path(ref).read_bytes() == b"kept" and store.is_sound(other.sha256)
    assert list(check(project, deep=True)) == []


def test_a_database_that_holds_files_in_gridfs_is_refused_with_the_way_out(project, database, tmp_path: Path) -> None:
    GridFSBucket(database, "artifacts").upload_from_stream("ab" * 32, b"potential", metadata={"put_at": now()})
    line = "holds files in GridFS"
    for opened in (
        lambda: connect(project),
        lambda: connect(project, any_version=True),
        lambda: cached_connection(project),
        lambda: migrate(project),
        lambda: list(check(project)),
        lambda: backup(project, tmp_path / "b.tar"),
    ):
        with pytest.raises(DatabaseError, match=line) as refused:
            opened()
        assert "0.1.0" in refused.value.fix and "gst artifacts move --to folder --remove" in refused.value.fix
    assert not (tmp_path / "b.tar").exists()
    # that version leaves garbage behind in its trash, which no document names
    database["artifacts.files"].update_one({}, {"$set": {"metadata.trashed_at": now()}})
    connect(project).client.close()


def test_the_setting_of_a_project_with_files_in_gridfs_is_refused(project: Project) -> None:
    text = project.file.read_text()
    project.file.write_text(text + "artifacts: {store: folder}\n")
    assert Project(project.root).settings.artifacts.store == "folder"
    project.file.write_text(text + "artifacts: {store: gridfs}\n")
    with pytest.raises(InputError, match=r"artifacts\.store.*0\.1\.0 run `gst artifacts move --to folder --remove`"):
        _ = Project(project.root).settings
