"""Write a bundle: a folder or tar with documents, files, README and checksums; equal content gives equal bytes."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from gst_jobflow import __version__
from gst_jobflow.archive.manifests import (
    CHECKSUMS,
    CITATION,
    FOLDER_IN_TAR,
    MANIFEST,
    README,
    BundleFiles,
    BundleManifest,
    Citation,
    CollectionPart,
    LeftOut,
)
from gst_jobflow.archive.readme import Facts, citation_file, readme
from gst_jobflow.archive.selection import ORDER, Selection, select_with_origins
from gst_jobflow.archive.writing import ArchiveMember, Progress, write_folder, write_tar
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION
from gst_jobflow.exporting.compress import ThreadedGzip
from gst_jobflow.exporting.documents import to_line
from gst_jobflow.exporting.targets import check_target, move_to_target, part_of
from gst_jobflow.store import Results
from gst_jobflow.store.files.artifacts import sha256_of
from gst_jobflow.store.files.references import files_of

_JSON_LEVEL = 1  # most of it is digits in base64: higher levels save two per cent
_TAR_LEVEL = 1  # its members are compressed already
_BATCH = 500


@dataclass
class BundlePlan:
    """What a bundle would hold: documents and their bytes in the database by collection, files, and those left out."""

    documents: dict[str, int] = field(default_factory=dict)
    size_bytes: dict[str, int] = field(default_factory=dict)
    files: BundleFiles = field(default_factory=BundleFiles)


def kind_of_target(target: Path) -> str:
    """Return `folder`, `tar` or `tar.gz`, according to the name; InputError for other kinds of archives or files."""
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


def plan_bundle(results: Results, collection: str, id: str | None) -> BundlePlan:
    """Find what a bundle would hold, and write nothing; see `write_bundle`."""
    with _selected(results, collection, id) as selection:
        selection.note_all_files()
        plan = BundlePlan(files=_bundle_files(selection, allow_missing=True))
        for name in ORDER:
            if count := selection.n_documents(name):
                plan.documents[name] = count
                plan.size_bytes[name] = selection.size_bytes(name)
        return plan


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

    Raises
    ------
    InputError
        The target cannot be written.
    DataError
        A document is missing or cannot be read, or a file is missing or corrupt. Nothing is written.
    """
    kind = kind_of_target(target)
    check_target(target, force, is_bundle if kind == "folder" else None)
    with part_of(target) as scratch, _selected(results, collection, id) as selection:
        writer = _Writer(selection, scratch / "bundle", progress)
        manifest = BundleManifest(
            schema_version=SCHEMA_VERSION,
            made_by=f"gst_jobflow {__version__}",
            what={"collection": collection, **({"id": id} if id else {})},
            citation=citation or Citation(),
            collections=writer.write_documents(),
            newest_document=writer.facts.newest,
            files=_bundle_files(selection, allow_missing),
        )
        writer.write_texts(manifest)
        move_to_target(writer.complete(manifest, kind), target)
    return manifest


@contextmanager
def _selected(results: Results, collection: str, id: str | None) -> Iterator[Selection]:
    with Selection(results, everything=id is None) as selection:
        if id is not None:
            select_with_origins(selection, collection, id)
        yield selection


def _bundle_files(selection: Selection, allow_missing: bool) -> BundleFiles:
    left_out = [
        LeftOut(sha256=digest, size_bytes=size, name=name, reason=reason)
        for (digest, size, name), reason in selection.left_out()
    ]
    missing = [ref for ref in left_out if ref.reason == "missing"]
    if missing and not allow_missing:
        raise DataError(
            f"{len(missing)} files of documents are missing, the first '{missing[0].name}' ({missing[0].sha256})",
            "gst db check names them all; --allow-missing lists them in the bundle instead",
        )
    sizes = [size for _, size, _ in selection.held_files()]
    return BundleFiles(count=len(sizes), size_bytes=sum(sizes), left_out=left_out)


class _Writer:
    """Writes the parts of a bundle to a folder, and completes it as a folder or tar."""

    def __init__(self, selection: Selection, folder: Path, progress: Progress | None) -> None:
        self.selection, self.folder, self.progress = selection, folder, progress
        self.facts = Facts()

    def write_documents(self) -> dict[str, CollectionPart]:
        """Write a member for each collection that has documents, and note the files they name."""
        parts: dict[str, CollectionPart] = {}
        (self.folder / "documents").mkdir(parents=True)
        # documents are stored after those they name: when read in the other order, no document here names one that a
        # job stored meanwhile
        for name in reversed(ORDER):
            file = self.folder / "documents" / f"{name}.jsonl.gz"
            count = self._write_collection(name, file)
            if count == 0:
                file.unlink()
                continue
            digest, size = sha256_of(file)
            parts[name] = CollectionPart(documents=count, sha256=digest, size_bytes=size)
        return {name: parts[name] for name in ORDER if name in parts}

    def _write_collection(self, name: str, file: Path) -> int:
        model, count = DOCUMENTS[name], 0
        total = self.selection.n_documents(name)
        with file.open("wb") as raw, ThreadedGzip(raw, _JSON_LEVEL) as packed:
            for count, document in enumerate(self.selection.documents(name), 1):
                packed.write(to_line(model, document).encode() + b"\n")
                self.facts.take(name, document)
                self.selection.note_files(files_of(document, model))
                if self.progress and count % _BATCH == 0:
                    self.progress(name, count, total)
        return count

    def write_texts(self, manifest: BundleManifest) -> None:
        """Write README, citation, manifest, and the checksums of all members."""
        texts = {MANIFEST: manifest.model_dump_json(indent=2) + "\n", README: readme(manifest, self.facts)}
        if (citation := citation_file(manifest.citation)) is not None:
            texts[CITATION] = citation
        with (self.folder / CHECKSUMS).open("w", encoding="ascii") as out:
            for name, text in sorted(texts.items()):
                (self.folder / name).write_bytes(text.encode())
                out.write(f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n")
            for name, part in manifest.collections.items():
                out.write(f"{part.sha256}  documents/{name}.jsonl.gz\n")
            for member in self._files():
                out.write(f"{member.sha256}  {member.name}\n")

    def complete(self, manifest: BundleManifest, kind: str) -> Path:
        """Add the files to the folder, or pack folder and files into a tar; return the folder or tar."""
        files = self._shown(manifest.files.count)
        if kind == "folder":
            write_folder(self.folder, files)
            return self.folder
        target, inside = self.folder.with_suffix(".tar"), f"{FOLDER_IN_TAR}/"
        texts = [name for name in (MANIFEST, CHECKSUMS, README, CITATION) if (self.folder / name).is_file()]
        documents = [f"documents/{name}.jsonl.gz" for name in manifest.collections]
        with (
            target.open("wb") as raw,
            ThreadedGzip(raw, _TAR_LEVEL) if kind == "tar.gz" else nullcontext(raw) as out,
            tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            # the order in which an import needs them
            write_tar(tar, (ArchiveMember.of_path(name, self.folder / name) for name in texts), inside)
            write_tar(tar, files, inside)
            write_tar(tar, (ArchiveMember.of_path(name, self.folder / name) for name in documents), inside)
        return target

    def _files(self) -> Iterator[ArchiveMember]:
        for digest, size_bytes, _ in self.selection.held_files():
            yield ArchiveMember.of_artifact("files", self.selection.results.artifacts, digest, size_bytes)

    def _shown(self, total: int) -> Iterator[ArchiveMember]:
        for done, member in enumerate(self._files(), 1):
            yield member
            if self.progress:
                self.progress("files", done, total)
