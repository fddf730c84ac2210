"""Export, import into an empty database, export: the same bytes; damaged and hostile bundles change nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.archive.bundle import plan_bundle, write_bundle
from gst_jobflow.archive.import_bundle import import_bundle
from gst_jobflow.archive.manifests import Citation
from gst_jobflow.archive.selection import is_licensed
from gst_jobflow.base.errors import DatabaseError, DataError, InputError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Label, Structure
from gst_jobflow.store import Results
from gst_jobflow.store.check import check
from tests.documents.test_documents import label
from tests.report import synthetic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo

SAID = Citation(title="A study", authors=["Doe, Jane", "A Group"], licence="CC-BY-4.0", doi="10.0/x")


@pytest.fixture
def study(project: Project) -> Iterator[Results]:
    """A whole study: structures, labels (some failed), a dataset, a potential, a cycle, trajectories, attempts."""
    results = Results.open(project)
    synthetic.add_study(results)
    yield results
    results.database.client.close()


def empty(results: Results) -> None:
    for name in DOCUMENTS:
        results.database[name].delete_many({})
    shutil.rmtree(results.artifacts.root)


def content(results: Results) -> dict[str, dict[str, Any]]:
    return {name: {found["_id"]: found for found in results.database[name].find()} for name in DOCUMENTS}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["bundle", "bundle.tar", "bundle.tar.gz"])
def test_export_import_into_an_empty_database_export_is_identical(
    project: Project, study: Results, tmp_path: Path, name: str
) -> None:
    before = content(study)
    assert all(before[collection] for collection in DOCUMENTS if collection != "attempts")
    first, second = tmp_path / name, tmp_path / f"again-{name}"
    manifest = write_bundle(study, "all", None, first, citation=SAID)
    assert manifest.documents == sum(map(len, before.values()))
    empty(study)
    report = import_bundle(study, first)
    assert {key: taken.new for key, taken in report.collections.items()} == {k: len(v) for k, v in before.items() if v}
    assert report.problems == [] and report.notes == [] and report.files["new"] == manifest.files.count > 0
    assert content(study) == before
    assert list(check(project, deep=True)) == []
    assert write_bundle(study, "all", None, second, citation=SAID) == manifest
    assert tree(first) == tree(second) if first.is_dir() else first.read_bytes() == second.read_bytes()
    again = import_bundle(study, first)
    assert again.changed == 0 and content(study) == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_checksums_are_those_of_sha256sum(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "b", citation=SAID)
    done = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=tmp_path / "b", capture_output=True)
    assert done.returncode == 0
    named = {line.split("  ")[1] for line in (tmp_path / "b" / "checksums.sha256").read_text().splitlines()}
    assert named | {"checksums.sha256"} == set(tree(tmp_path / "b"))


def test_a_study_takes_its_origins_and_not_what_others_made(study: Results, tmp_path: Path) -> None:
    other = label(_id=Label.id_for("b" * 32, "x:1"), structure_id="b" * 32, fingerprint="x:1")
    study.add(other)
    study.database["structures"].insert_one({**study.database["structures"].find_one({}), "_id": "b" * 32})
    manifest = write_bundle(study, "studies", synthetic.STUDY_ID, tmp_path / "s.tar")
    assert manifest.what == {"collection": "studies", "id": synthetic.STUDY_ID}
    before = content(study)
    empty(study)
    import_bundle(study, tmp_path / "s.tar")
    after = content(study)
    assert other.id not in after["labels"] and "b" * 32 not in after["structures"]
    assert after["cycles"] == before["cycles"] and after["trajectories"] == before["trajectories"]
    with gzip.open(study.artifacts.path(synthetic_dataset(study).members)) as members:
        assert {json.loads(line)["label_id"] for line in members} <= set(after["labels"])


def synthetic_dataset(results: Results) -> Any:
    from gst_jobflow.documents import Dataset

    return next(results.find(Dataset, {}))


def test_a_dry_run_counts_and_writes_nothing(study: Results, tmp_path: Path) -> None:
    plan = plan_bundle(study, "potentials", synthetic.POTENTIAL_ID)
    manifest = write_bundle(study, "potentials", synthetic.POTENTIAL_ID, tmp_path / "p")
    assert plan.documents == {name: part.documents for name, part in manifest.collections.items()}
    assert plan.files == manifest.files
    assert "studies" not in plan.documents and plan.documents["labels"] == synthetic_dataset(study).n_members
    before = content(study)
    empty(study)
    report = import_bundle(None, tmp_path / "p", dry_run=True)
    assert report.collections["labels"].new == plan.documents["labels"] and not any(content(study).values())
    import_bundle(study, tmp_path / "p")
    assert content(study)["potentials"] == {synthetic.POTENTIAL_ID: before["potentials"][synthetic.POTENTIAL_ID]}


def test_a_target_is_replaced_only_when_it_is_a_bundle_and_force_is_given(study: Results, tmp_path: Path) -> None:
    target = tmp_path / "b"
    write_bundle(study, "all", None, target)
    before = tree(target)
    with pytest.raises(InputError, match="exists already"):
        write_bundle(study, "all", None, target)
    assert tree(target) == before
    write_bundle(study, "all", None, target, force=True, citation=SAID)
    assert tree(target) != before
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="something else"):
        write_bundle(study, "all", None, mine, force=True)
    assert (mine / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="a bundle is a folder"):
        write_bundle(study, "all", None, tmp_path / "b.zip")


def test_a_missing_licence_is_said_and_not_invented(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "none")
    text = (tmp_path / "none" / "README.md").read_text()
    assert "NO LICENCE IS STATED" in text and "CC" not in text and not (tmp_path / "none" / "CITATION.cff").exists()
    assert json.loads((tmp_path / "none" / "manifest.json").read_text())["citation"]["licence"] == ""
    write_bundle(study, "all", None, tmp_path / "said", citation=SAID)
    text = (tmp_path / "said" / "README.md").read_text()
    assert "NO LICENCE" not in text and "| licence | CC-BY-4.0 |" in text and synthetic.FINGERPRINT in text
    import yaml

    cited = yaml.safe_load((tmp_path / "said" / "CITATION.cff").read_text())
    assert cited["authors"] == [{"family-names": "Doe", "given-names": "Jane"}, {"name": "A Group"}]
    assert cited["license"] == "CC-BY-4.0" and cited["title"] == "A study"


def test_licensed_files_stay_out_and_are_listed(study: Results, tmp_path: Path) -> None:
    secret = b"PAW_PBE Ge_d, not to be passed on"
    structure = next(study.find(Structure, {}))
    refs = [study.artifacts.put_bytes(secret, "POTCAR.gz"), study.artifacts.put_bytes(b"titles", "POTCAR.spec")]
    study.add(label(_id="v", structure_id=structure.id, fingerprint="vasp:1", files=refs))
    first = write_bundle(study, "all", None, tmp_path / "a.tar")
    assert [(ref.name, ref.reason) for ref in first.files.left_out] == [("POTCAR.gz", "licensed")]
    assert secret not in (tmp_path / "a.tar").read_bytes()
    empty(study)
    assert import_bundle(study, tmp_path / "a.tar").left_out == 1
    assert study.artifacts.size_of(refs[0].sha256) is None and study.artifacts.size_of(refs[1].sha256) == 6
    assert write_bundle(study, "all", None, tmp_path / "b.tar") == first
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_missing_file_stops_the_export_unless_it_is_allowed(study: Results, tmp_path: Path) -> None:
    ref = synthetic_dataset(study).members
    study.artifacts.discard(ref.sha256)
    with pytest.raises(DataError, match=ref.sha256):
        write_bundle(study, "all", None, tmp_path / "b")
    assert list(tmp_path.glob("*b*")) == [] and list(tmp_path.glob(".b*")) == []
    manifest = write_bundle(study, "all", None, tmp_path / "b", allow_missing=True)
    assert [(left.sha256, left.reason) for left in manifest.files.left_out] == [(ref.sha256, "missing")]
    assert ref.sha256 in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize("name", ["b", "b.tar", "b.tar.gz"])
def test_a_corrupt_file_never_gets_into_a_bundle(study: Results, tmp_path: Path, name: str) -> None:
    path = study.artifacts.path(synthetic_dataset(study).members)
    good = path.read_bytes()
    path.chmod(0o644)
    for bad in (good[:-1], good[:-1] + bytes([good[-1] ^ 1])):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"corrupt|shorter"):
            write_bundle(study, "all", None, tmp_path / name)
        assert not (tmp_path / name).exists() and [p for p in tmp_path.iterdir() if p.name.startswith(".")] == []
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("gzip")]


def test_a_flipped_byte_anywhere_changes_nothing(study: Results, tmp_path: Path) -> None:
    tar = tmp_path / "b.tar"
    write_bundle(study, "all", None, tar, citation=SAID)
    good = tar.read_bytes()
    with tarfile.open(tar) as opened:
        members = opened.getmembers()
    empty(study)
    for member in members:
        bad = bytearray(good)
        bad[member.offset_data + member.size // 2] ^= 1
        tar.write_bytes(bad)
        with pytest.raises(DataError):
            import_bundle(study, tar)
    for size in (0, 100, len(good) // 2, members[-1].offset):
        tar.write_bytes(good[:size])
        with pytest.raises(DataError):
            import_bundle(study, tar)
    assert not any(content(study).values()) and not study.artifacts.root.exists()


def changed_tar(tar: Path, changes: dict[str, bytes | None], *, checksums: bool = True) -> None:
    """Write a tar again with other members; checksums and the manifest's are made to fit, as an attacker would."""
    with tarfile.open(tar) as opened:
        members = {member.name.split("/", 1)[1]: opened.extractfile(member).read() for member in opened}
    members = {name: data for name, data in (members | changes).items() if data is not None}
    if checksums:
        manifest = json.loads(members["manifest.json"])
        for name, part in manifest["collections"].items():
            data = members[f"documents/{name}.jsonl.gz"]
            part.update(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
            part["documents"] = gzip.decompress(data).count(b"\n")
        if "manifest.json" not in changes:
            members["manifest.json"] = json.dumps(manifest).encode()
        lines = [f"{hashlib.sha256(data).hexdigest()}  {n}\n" for n, data in members.items() if n != "checksums.sha256"]
        members["checksums.sha256"] = "".join(lines).encode()
    with tarfile.open(tar, "w") as out:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"x/{name}")
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


def read_member(tar: Path, name: str) -> bytes:
    with tarfile.open(tar) as opened:
        return opened.extractfile(f"gst-bundle/{name}").read()


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b'{"_id":"x"}',
        b'{"_id":"x","a":{"$where":"1"}}',
        b'{"_id":{"$gt":""}}',
        b'{"_id":"x","n":NaN}',
        b'{"_id":"x","b":{"$binary":{"base64":"!!!","subType":"00"}}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_document_is_refused_before_anything_is_written(study: Results, tmp_path: Path, line: bytes) -> None:
    tar = tmp_path / "b.tar"
    write_bundle(study, "all", None, tar)
    name = "documents/trajectories.jsonl.gz"
    changed_tar(tar, {name: gzip.compress(gzip.decompress(read_member(tar, name)) + line + b"\n")})
    empty(study)
    with pytest.raises(DataError, match="trajectories"):
        import_bundle(study, tar)
    assert not any(content(study).values()) and not study.artifacts.root.exists()


def test_an_archive_packed_again_in_another_order_is_read(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "b")
    before = content(study)
    with tarfile.open(tmp_path / "again.tar", "w") as tar:
        for file in sorted((tmp_path / "b").rglob("*"), reverse=True):
            tar.add(file, f"./{file.relative_to(tmp_path / 'b')}", recursive=False)
        tar.add(__file__, "./notes.txt")
    empty(study)
    import_bundle(study, tmp_path / "again.tar")
    assert content(study) == before


def test_names_that_leave_the_folder_and_links_are_never_followed(study: Results, tmp_path: Path) -> None:
    tar, outside = tmp_path / "b.tar", tmp_path / "outside"
    outside.write_text("mine")
    write_bundle(study, "all", None, tar)
    good = tar.read_bytes()
    empty(study)
    digest = hashlib.sha256(b"evil").hexdigest()
    for name in ("../outside", "/etc/gst-evil", f"files/../../{digest}", f"x/files/{digest[:2]}/../{digest[2:]}"):
        tar.write_bytes(good)
        with tarfile.open(tar, "a") as opened:
            entry = tarfile.TarInfo(name)
            entry.size = 4
            opened.addfile(entry, io.BytesIO(b"evil"))
        import_bundle(study, tar)
        assert outside.read_text() == "mine" and study.artifacts.size_of(digest) is None
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        tar.write_bytes(good)
        with tarfile.open(tar, "a") as opened:
            entry = tarfile.TarInfo(f"gst-bundle/files/{digest[:2]}/{digest[2:]}")
            entry.type, entry.linkname = kind, str(outside)
            opened.addfile(entry)
        with pytest.raises(DataError, match="not a plain file"):
            import_bundle(study, tar)
    assert not (tmp_path / digest).exists()


def test_a_folder_with_links_is_refused(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "b")
    file = tmp_path / "b" / "documents" / "labels.jsonl.gz"
    file.rename(tmp_path / "labels")
    file.symlink_to(tmp_path / "labels")
    with pytest.raises(DataError, match="cannot be read"):
        import_bundle(study, tmp_path / "b")
    file.unlink()
    (tmp_path / "labels").rename(file)
    (tmp_path / "b" / "documents").rename(tmp_path / "elsewhere")
    (tmp_path / "b" / "documents").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link"):
        import_bundle(study, tmp_path / "b")


@pytest.mark.parametrize(("key", "error"), [("format", DataError), ("schema_version", DatabaseError)])
def test_newer_bundles_are_refused(study: Results, tmp_path: Path, key: str, error: type[Exception]) -> None:
    tar = tmp_path / "b.tar"
    write_bundle(study, "all", None, tar)
    values = json.loads(read_member(tar, "manifest.json"))
    values[key] += 1
    changed_tar(tar, {"manifest.json": json.dumps(values).encode()})
    empty(study)
    with pytest.raises(error, match=r"knows|reads"):
        import_bundle(study, tar)
    assert not any(content(study).values())


def test_documents_of_an_older_version_are_brought_to_this_one(study: Results, tmp_path: Path) -> None:
    tar, before = tmp_path / "b.tar", content(study)
    write_bundle(study, "all", None, tar)
    name, old = "documents/structures.jsonl.gz", []
    for line in gzip.decompress(read_member(tar, name)).splitlines():
        values = {**json.loads(line), "schema_version": 1}
        del values["group"]  # new in version 2
        old.append(json.dumps(values).encode() + b"\n")
    manifest = json.loads(read_member(tar, "manifest.json"))
    changed_tar(tar, {name: gzip.compress(b"".join(old))})
    assert manifest["schema_version"] == SCHEMA_VERSION
    empty(study)
    import_bundle(study, tar)
    after = content(study)
    assert {doc["schema_version"] for doc in after["structures"].values()} == {SCHEMA_VERSION}
    assert {id: doc["group"] for id, doc in after["structures"].items()} == {
        id: doc["parents"][0] if doc["parents"] else id for id, doc in before["structures"].items()
    }


def test_two_energies_for_one_label_are_refused_with_both_ids(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "b")
    mine = study.database["labels"].find_one({"state": "converged"})
    study.database["labels"].update_one({"_id": mine["_id"]}, {"$set": {"energy_eV": mine["energy_eV"] + 5.0}})
    before = content(study)
    report = import_bundle(study, tmp_path / "b")
    assert report.n_problems == 1 and report.collections["labels"].refused == 1
    assert mine["_id"] in report.problems[0] and mine["structure_id"] in report.problems[0]
    assert content(study) == before


def test_a_converged_label_replaces_a_failed_one_and_tags_are_joined(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "b")
    before = content(study)
    mine = study.database["labels"].find_one({"state": "converged"})
    failed = {"state": "failed", "failure_class": "crash", "energy_eV": None, "forces": None}
    study.database["labels"].update_one({"_id": mine["_id"]}, {"$set": failed})
    study.database["structures"].update_one({"_id": mine["structure_id"]}, {"$set": {"tags": ["mine"]}})
    report = import_bundle(study, tmp_path / "b")
    assert report.collections["labels"].replaced == 1 and report.collections["labels"].new == 0
    after = content(study)
    assert after["labels"] == before["labels"]
    tags = after["structures"][mine["structure_id"]]["tags"]
    assert tags == ["mine", *before["structures"][mine["structure_id"]]["tags"]]


def test_of_what_changes_the_state_that_is_further_on_wins(study: Results, tmp_path: Path) -> None:
    write_bundle(study, "all", None, tmp_path / "finished")
    done = content(study)
    cycle = study.database["cycles"].find_one({})
    earlier = [{**operation, "state": "waiting"} for operation in cycle["operations"]]
    study.database["cycles"].update_one({}, {"$set": {"state": "waiting", "operations": earlier}})
    study.database["studies"].update_one({}, {"$set": {"state": "running"}})
    started = content(study)
    write_bundle(study, "all", None, tmp_path / "started")
    report = import_bundle(study, tmp_path / "finished")
    assert report.collections["cycles"].replaced == report.collections["studies"].replaced == 1
    assert content(study) == done != started
    report = import_bundle(study, tmp_path / "started")
    assert report.changed == 0 and content(study) == done
    study.database["studies"].update_one({}, {"$set": {"name": "renamed"}})
    report = import_bundle(study, tmp_path / "finished")
    assert report.changed == 0 and "stays" in report.notes[0]
    assert study.database["studies"].find_one({})["name"] == "renamed"


def test_an_import_that_was_cut_off_is_completed_by_another(
    study: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(study, "all", None, tmp_path / "b.tar")
    before = content(study)
    empty(study)
    put_labels, calls = Results.put_labels, []

    def cut_off(self: Results, labels: Any) -> Any:
        calls.append(1)
        put_labels(self, labels[: len(labels) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Results, "put_labels", cut_off)
        with pytest.raises(KeyboardInterrupt):
            import_bundle(study, tmp_path / "b.tar")
    assert calls and 0 < study.database["labels"].count_documents({}) < len(before["labels"])
    import_bundle(study, tmp_path / "b.tar")
    assert content(study) == before


def test_a_file_and_a_folder_do_not_take_each_others_place(study: Results, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.tar").mkdir()
    for name in ("file", "folder.tar"):
        with pytest.raises(InputError, match="is to be written"):
            write_bundle(study, "all", None, tmp_path / name, force=True)
    assert (tmp_path / "file").read_text() == "mine" and (tmp_path / "folder.tar").is_dir()


@pytest.mark.parametrize(
    ("name", "licensed"),
    [
        ("POTCAR", True),
        ("POTCAR.gz", True),
        ("Ge_d.POTCAR", True),
        ("potcar.relax1.gz", True),
        ("error.1.POTCAR", True),
        ("vdw_kernel.bindat", True),
        ("POTCAR.spec", False),
        ("OUTCAR", False),
        ("potential.yace", False),
        ("vasprun.xml", False),
    ],
)
def test_names_of_licensed_files(name: str, licensed: bool) -> None:
    assert is_licensed(name) is licensed
