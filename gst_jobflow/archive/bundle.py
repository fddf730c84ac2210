"""Write a bundle: a folder or tar with documents, files, checksums and words, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from gst_jobflow import __version__
from gst_jobflow.archive.bundle_format import (
    CHECKSUMS,
    CITATION,
    FOLDER_IN_TAR,
    MANIFEST,
    README,
    BundleManifest,
    Citation,
    CollectionPart,
    FilesPart,
    LeftOut,
)
from gst_jobflow.archive.members import add_member
from gst_jobflow.archive.readme import Facts, citation_file, readme
from gst_jobflow.archive.selection import ORDER, Selection, find_files, select
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION
from gst_jobflow.exporting.compress import ThreadedGzip
from gst_jobflow.exporting.documents import to_line
from gst_jobflow.exporting.targets import check_target, finish, part_of
from gst_jobflow.store.check import file_fields, references_to_files
from gst_jobflow.store.files.artifacts import ArtifactStore, sha256_of

if TYPE_CHECKING:
    from gst_jobflow.store import Results

_JSON_LEVEL = 1  # most of it is digits in base64: higher levels save two per cent
_TAR_LEVEL = 1  # what is in it is compressed already
_CHUNK_BYTES = 1 << 20
_BATCH = 500

Progress = Callable[[str, int, int], None]


@dataclass
class Plan:
    """What a bundle would hold.

    Attributes
    ----------
    documents, size_bytes
        By collection: how many, and bytes as the database holds them.
    n_files, files_bytes
        Without those that are left out.
    left_out
        Files that documents name and that would not be in it.
    """

    documents: dict[str, int] = field(default_factory=dict)
    size_bytes: dict[str, int] = field(default_factory=dict)
    n_files: int = 0
    files_bytes: int = 0
    left_out: list[LeftOut] = field(default_factory=list)


def kind_of_target(target: Path) -> str:
    """Return `folder`, `tar` or `tar.gz`, according to the name.

    Raises
    ------
    InputError
        It ends in that of an archive that we do not write.
    """
    for ending, kind in ((".tar", "tar"), (".tar.gz", "tar.gz"), (".tgz", "tar.gz")):
        if target.name.endswith(ending):
            return kind
    if target.name.endswith((".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".json", ".jsonl", ".xyz", ".extxyz")):
        raise InputError(f"{target.name}: a bundle is a folder, .tar or .tar.gz", "name another with -o")
    return "folder"


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("kind") == BundleManifest.model_fields["kind"].default


def plan_bundle(results: Results, collection: str, id: str | None, scratch: Path) -> Plan:
    """Find what a bundle would hold, and write nothing; see `write_bundle`."""
    selection = _selection(results, collection, id, scratch)
    try:
        find_files(results, selection)
        plan = Plan(left_out=_left_out(results.artifacts, selection))
        for name in ORDER:
            if count := selection.count(results, name):
                plan.documents[name] = count
                plan.size_bytes[name] = selection.size_bytes(results, name)
        missing = [ref for ref in plan.left_out if ref.reason == "missing"]
        n_files, n_bytes = selection.n_files()
        plan.n_files, plan.files_bytes = n_files - len(missing), n_bytes - sum(ref.size_bytes for ref in missing)
        return plan
    finally:
        selection.close()


def write_bundle(
    results: Results,
    collection: str,
    id: str | None,
    target: Path,
    *,
    citation: Citation | None = None,
    force: bool = False,
    allow_missing: bool = False,
    progress: Progress | None = None,
) -> BundleManifest:
    """Write a document with everything it came from, or the whole database, completely or not at all.

    Parameters
    ----------
    collection, id
        The document; `all` and None for the whole database.
    target
        A folder, or a file that ends in .tar, .tar.gz or .tgz.
    citation
        Title, authors and licence, as the depositor states them.
    force
        Replace an existing bundle.
    allow_missing
        List missing files in the bundle instead of refusing to write it.
    progress
        Called with what is being written, how many are done, and how many there are.

    Raises
    ------
    InputError
        The target cannot be written.
    DataError
        A document is missing or cannot be read, or a file is missing or corrupt. Nothing is written.
    """
    kind = kind_of_target(target)
    check_target(target, force, is_bundle if kind == "folder" else None)
    with part_of(target) as scratch:
        selection = _selection(results, collection, id, scratch)
        try:
            folder, facts = scratch / "bundle", Facts()
            (folder / "documents").mkdir(parents=True)
            manifest = BundleManifest(
                schema_version=SCHEMA_VERSION,
                made_by=f"gst_jobflow {__version__}",
                what={"collection": collection, **({"id": id} if id else {})},
                citation=citation or Citation(),
                collections=_write_documents(results, selection, folder, facts, progress),
                newest_document=facts.newest,
                files=_files_part(results.artifacts, selection, allow_missing),
            )
            _write_words(folder, manifest, facts, selection)
            made = _add_files(kind, folder, results.artifacts, manifest, selection, progress)
        finally:
            selection.close()
        finish(made, target)
    return manifest


def _add_files(
    kind: str,
    folder: Path,
    artifacts: ArtifactStore,
    manifest: BundleManifest,
    selection: Selection,
    progress: Progress | None,
) -> Path:
    """Complete the folder of a bundle by its files, or pack both into a tar; return which one it is."""
    if kind == "folder":
        _copy_files(artifacts, manifest, selection, folder, progress)
        return folder
    tar = folder.with_suffix(".tar")
    _write_tar(tar, kind, folder, artifacts, manifest, selection, progress)
    return tar


def _selection(results: Results, collection: str, id: str | None, scratch: Path) -> Selection:
    if collection == "all":
        return Selection(scratch, everything=True)
    assert id is not None  # the caller sees to it
    return select(results, collection, id, scratch)


# -- documents


def _write_documents(
    results: Results, selection: Selection, folder: Path, facts: Facts, progress: Progress | None
) -> dict[str, CollectionPart]:
    """Write a member for each collection that has documents, and note the files they name."""
    parts: dict[str, CollectionPart] = {}
    # documents are stored after those they name: read the other way round, what a job stores meanwhile is not
    # named by anything in here before it is in here itself
    for name in reversed(ORDER):
        file = folder / "documents" / f"{name}.jsonl.gz"
        count = _write_collection(results, selection, name, file, facts, progress)
        if count == 0:
            file.unlink()
            continue
        digest, size = sha256_of(file)
        parts[name] = CollectionPart(documents=count, sha256=digest, size_bytes=size)
    return {name: parts[name] for name in ORDER if name in parts}


def _write_collection(
    results: Results, selection: Selection, name: str, file: Path, facts: Facts, progress: Progress | None
) -> int:
    model, fields, count = DOCUMENTS[name], file_fields(DOCUMENTS[name]), 0
    total = selection.count(results, name)
    refs: list[dict[str, Any]] = []
    with file.open("wb") as raw, ThreadedGzip(raw, _JSON_LEVEL) as packed:
        for count, document in enumerate(selection.documents(results, name), 1):
            packed.write(to_line(model, document).encode() + b"\n")
            facts.take(name, document)
            refs += (ref for key in fields for ref in references_to_files(document.get(key)))
            if len(refs) > _BATCH:
                selection.add_files(refs)
                refs = []
            if progress and count % _BATCH == 0:
                progress(name, count, total)
    selection.add_files(refs)
    return count


# -- files


def _left_out(artifacts: ArtifactStore, selection: Selection) -> list[LeftOut]:
    # a licensed file is left out whether it is there or not: a bundle of what was imported is the same
    left_out = [
        LeftOut(sha256=digest, size_bytes=size, name=name, reason="licensed")
        for digest, size, name in selection.files(licensed=True)
    ]
    left_out += (
        LeftOut(sha256=digest, size_bytes=size, name=name, reason="missing")
        for digest, size, name in selection.files(licensed=False)
        if artifacts.size_of(digest) is None
    )
    return sorted(left_out, key=lambda ref: ref.sha256)


def _files_part(artifacts: ArtifactStore, selection: Selection, allow_missing: bool) -> FilesPart:
    left_out = _left_out(artifacts, selection)
    missing = [ref for ref in left_out if ref.reason == "missing"]
    if missing and not allow_missing:
        raise DataError(
            f"{len(missing)} files of documents are missing, the first '{missing[0].name}' ({missing[0].sha256})",
            "gst db check names them all; --allow-missing lists them in the bundle instead",
        )
    count, size_bytes = selection.n_files()
    lost_bytes = sum(ref.size_bytes for ref in missing)
    return FilesPart(count=count - len(missing), size_bytes=size_bytes - lost_bytes, left_out=left_out)


def _kept(manifest: BundleManifest, selection: Selection) -> Iterator[tuple[str, int]]:
    """Yield SHA-256 and size of each file that the bundle holds."""
    missing = {ref.sha256 for ref in manifest.files.left_out}
    for digest, size, _ in selection.files(licensed=False):
        if digest not in missing:
            yield digest, size


class _Hashed:
    """A file that is hashed as it is read: nothing corrupt gets into a bundle."""

    def __init__(self, stream: IO[bytes], digest: str) -> None:
        self._stream, self._wanted, self._seen = stream, digest, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._seen.update(data)
        return data

    def check(self) -> None:
        """Raise DataError if what was read is not what the name says."""
        if self._seen.hexdigest() != self._wanted:
            raise DataError(
                f"file {self._wanted} is corrupt; no bundle is written",
                "gst db check --deep; put it back from a backup, or move it away and export with --allow-missing",
            )


def _copy_files(
    artifacts: ArtifactStore,
    manifest: BundleManifest,
    selection: Selection,
    folder: Path,
    progress: Progress | None,
) -> None:
    for done, (digest, _) in enumerate(_kept(manifest, selection), 1):
        target = folder / "files" / digest[:2] / digest[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        with artifacts.open(digest) as source, target.open("wb") as out:
            hashed = _Hashed(source, digest)
            while chunk := hashed.read(_CHUNK_BYTES):
                out.write(chunk)
            hashed.check()
        if progress:
            progress("files", done, manifest.files.count)


# -- words and checksums


def _write_words(folder: Path, manifest: BundleManifest, facts: Facts, selection: Selection) -> None:
    """Write README, citation, manifest, and the checksums of everything."""
    words = {MANIFEST: manifest.text(), README: readme(manifest, facts).encode()}
    if (citation := citation_file(manifest.citation)) is not None:
        words[CITATION] = citation.encode()
    for name, content in words.items():
        (folder / name).write_bytes(content)
    with (folder / CHECKSUMS).open("w", encoding="ascii") as out:
        for name, content in sorted(words.items()):
            out.write(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
        for name, part in manifest.collections.items():
            out.write(f"{part.sha256}  documents/{name}.jsonl.gz\n")
        for digest, _ in _kept(manifest, selection):
            out.write(f"{digest}  files/{digest[:2]}/{digest[2:]}\n")


# -- tar


def _write_tar(
    file: Path,
    kind: str,
    folder: Path,
    artifacts: ArtifactStore,
    manifest: BundleManifest,
    selection: Selection,
    progress: Progress | None,
) -> None:
    """Write the members in the order in which an import needs them."""
    with (
        file.open("wb") as raw,
        ThreadedGzip(raw, _TAR_LEVEL) if kind == "tar.gz" else nullcontext(raw) as out,
        tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (MANIFEST, CHECKSUMS, README, CITATION):
            if (folder / name).is_file():
                content = (folder / name).read_bytes()
                add_member(tar, f"{FOLDER_IN_TAR}/{name}", BytesIO(content), len(content), 0o644)
        for done, (digest, size) in enumerate(_kept(manifest, selection), 1):
            with artifacts.open(digest) as source:
                hashed = _Hashed(source, digest)
                add_member(tar, f"{FOLDER_IN_TAR}/files/{digest[:2]}/{digest[2:]}", hashed, size, 0o644)
                hashed.check()
            if progress:
                progress("files", done, manifest.files.count)
        for name, part in manifest.collections.items():
            with (folder / "documents" / f"{name}.jsonl.gz").open("rb") as packed:
                add_member(tar, f"{FOLDER_IN_TAR}/documents/{name}.jsonl.gz", packed, part.size_bytes, 0o644)
