"""Which documents and manifests name which files.

Garbage collection counts references generously: whatever looks like a SHA-256, in any field that can hold a file. Too
many references keep garbage; one too few loses data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from bson import decode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pydantic import BaseModel, ValidationError
from pymongo.collection import Collection
from pymongo.database import Database

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import DOCUMENTS, ArtifactRef, Document
from gst_jobflow.store.id_table import IdTable
from gst_jobflow.store.manifest import manifests_below

_HASH = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_READ_BYTES = 8 << 20
_LAUNCH_FOLDERS = (("attempts", "directory"), ("launches", "launch_dir"))


@cache
def file_fields(model: type[Document]) -> tuple[str, ...]:
    """Return the fields of a document model that can hold an `ArtifactRef` at any depth, including free-form fields."""
    return tuple(name for name, field in model.model_fields.items() if _can_hold_file(field.annotation))


def _can_hold_file(annotation: Any) -> bool:
    if annotation is Any or annotation is ArtifactRef:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return any(_can_hold_file(field.annotation) for field in annotation.model_fields.values())
    return any(_can_hold_file(part) for part in get_args(annotation))


def references_to_files(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every valid `ArtifactRef` within a value of a stored document."""
    if isinstance(value, dict):
        if value.keys() == ArtifactRef.model_fields.keys():
            try:
                yield ArtifactRef.model_validate(value).model_dump()
            except ValidationError:
                return  # `gst db check --deep` reports it
        else:
            for part in value.values():
                yield from references_to_files(part)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, (dict, list)):
                yield from references_to_files(part)


def files_of(document: dict[str, Any], model: type[Document]) -> Iterator[dict[str, Any]]:
    """Yield every valid `ArtifactRef` of a stored document."""
    for field in file_fields(model):
        yield from references_to_files(document.get(field))


def all_files(database: Database) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (collection, document id, reference) for every file that a document names."""
    for name, model in DOCUMENTS.items():
        fields = file_fields(model)
        for found in as_bytes(database[name]).find({}, dict.fromkeys(fields, 1)) if fields else ():
            # most structures name no file, and decoding a million of them is slow
            if b"sha256" in found.raw:
                document = decode(found.raw)
                for ref in files_of(document, model):
                    yield name, document["_id"], ref


def as_bytes(collection: Collection) -> Collection:
    """Return the collection with documents that stay BSON (`.raw`) until they are read."""
    return collection.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))


def note_references(project: Project, database: Database, table: IdTable) -> None:
    """Note the hashes of all files that documents, job outputs, fireworks and manifests name.

    Manifests are read first: a running ingest may move a reference from there to the database, never back. One that
    cannot be read is a DataError, since what it names is not known.
    """
    for file in _manifests(project, database):
        table.add("manifests", _hashes_in(file))
    for name in database.list_collection_names():
        if not name.startswith("system."):
            table.add(name, _hashes_of(database, name))


def _hashes_of(database: Database, name: str) -> Iterator[str]:
    fields = file_fields(DOCUMENTS[name]) if name in DOCUMENTS else None
    if fields == ():
        return
    # searched as bytes: decoding a million documents takes minutes
    for document in as_bytes(database[name]).find(
        {}, None if fields is None else {"_id": 0, **dict.fromkeys(fields, 1)}
    ):
        for found in _HASH.findall(document.raw):
            yield found.decode()


def _manifests(project: Project, database: Database) -> Iterator[Path]:
    """Yield the manifests below the project and in every existing launch directory of attempts and FireWorks."""
    folders = {project.root, project.runs_dir}
    for name, field in _LAUNCH_FOLDERS:
        folders |= {Path(found[field]) for found in database[name].find({field: {"$type": "string"}}, {field: 1})}
    walked: set[Path] = set()
    inside = (project.root.resolve(), project.runs_dir.resolve())
    for folder in sorted(folder.resolve() for folder in folders if folder.is_dir()):
        if folder not in inside and any(folder.is_relative_to(parent) for parent in inside):
            continue
        for file in manifests_below(folder, _stop, {project.artifacts_dir.resolve(), project.private_dir.resolve()}):
            if file not in walked:
                walked.add(file)
                yield file


def _stop(err: OSError) -> None:
    if not isinstance(err, FileNotFoundError):  # removed meanwhile
        raise _unreadable(err) from err


def _hashes_in(file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as stream:
            rest = b""
            while chunk := stream.read(_READ_BYTES):
                text = rest + chunk
                yield from (found.decode() for found in _HASH.findall(text))
                rest = text[-130:]  # a hash may lie across two chunks
    except FileNotFoundError:
        return
    except OSError as err:
        raise _unreadable(err) from err


def _unreadable(err: OSError) -> DataError:
    return DataError(
        f"{err.filename} cannot be read ({err.strerror}), so the files that it names are unknown; nothing was removed",
        "run this as the user who owns the folder",
    )
