"""Find what is wrong with the database and its files; nothing is changed.

Everything is streamed in batches, so memory does not grow with the database.
"""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pydantic import ValidationError
from pymongo.database import Database
from pymongo.errors import OperationFailure

from gst_jobflow.base.batches import batches
from gst_jobflow.base.processes import is_alive
from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import first_complaint
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Dataset
from gst_jobflow.store.connect import connect
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.files.references import all_files, references_to_files
from gst_jobflow.store.relations import ids_at, relations_of
from gst_jobflow.store.schema.preparation import load_schema, pending_collections, pending_indexes
from gst_jobflow.store.schema.versions import META_COLLECTION, RESTORE_MARK, SCHEMA, read_version

_BATCH = 500
_REMEMBERED_FILES = 100_000
_BAD_HINT = 2
_INGEST = "gst ingest DIR  (what its job left on disk), or gst db restore from a backup"
_REPAIR = "gst db check --repair"
_CORRUPT = "is corrupt: its content does not have this SHA-256"


@dataclass(frozen=True)
class Finding:
    """One fault: its kind and place, what is wrong, and what to do."""

    kind: str
    collection: str
    id: str
    what: str
    fix: str


def check(project: Project, *, deep: bool = False) -> Iterator[Finding]:
    """Find what is wrong with a project's database and files; raises as `connect`.

    With `deep`, also hash every file, and validate every document against the server's schema and its model.
    """
    database = connect(project, any_version=True)
    artifacts = ArtifactStore(project.artifacts_dir)
    with database.client:
        yield from check_preparation(database)
        yield from check_references(database)
        yield from check_members(database, artifacts)
        yield from check_named_files(database, artifacts, deep=deep)
        yield from check_attempts(database)
        if deep:
            yield from check_documents(database)


def check_preparation(database: Database) -> Iterator[Finding]:
    """Compare version, collections, validators and indexes with `db_schemas/`."""
    version = read_version(database)
    if version.half_restored:
        what = "a restore was cut off: the database is incomplete"
        yield Finding("restore", META_COLLECTION, RESTORE_MARK, what, "gst db restore FILE.tar --force")
    if version.number != SCHEMA_VERSION:
        fix = "upgrade gst_jobflow" if version.number > SCHEMA_VERSION else _REPAIR
        what = f"schema version {version.number}, this program has {SCHEMA_VERSION}"
        yield Finding("version", META_COLLECTION, SCHEMA, what, fix)
    elif version.upgrading_from is not None:
        what = f"half migrated from schema version {version.upgrading_from}"
        yield Finding("version", META_COLLECTION, SCHEMA, what, "gst db migrate")
    collections = pending_collections(database)
    missing = {change.collection for change in collections if change.kind == "collection"}
    indexes = [change for change in pending_indexes(database) if change.collection not in missing]
    for change in (*collections, *indexes):
        fix = change.conflict.fix if change.conflict else _REPAIR
        yield Finding(change.kind, change.collection, "", change.problem, fix)
    if database["fw_id_assigner"].find_one() is None:
        yield Finding("launchpad", "fw_id_assigner", "", "the launchpad has no id counter", _REPAIR)


def check_references(database: Database) -> Iterator[Finding]:
    """Find ids of documents that do not exist."""
    for name in DOCUMENTS:
        slow: dict[str, str] = {}
        for relation in relations_of(name):
            if not relation.kept:
                continue
            index = _index_of(name, relation.field)
            if index is None:
                slow[relation.field] = relation.target
            else:
                yield from _dangling_by_index(database, name, relation.field, relation.target, index)
        # comparing with the empty text lets an index skip the documents that name nothing
        named = {"$or": [{field: {"$gt": ""}} for field in slow]}
        for batch in batches(database[name].find(named, dict.fromkeys(slow, 1)), _BATCH) if slow else ():
            links = [
                (document["_id"], field, target, id)
                for document in batch
                for field, target in slow.items()
                for id in ids_at(document, field.split("."))
            ]
            yield from _dangling(database, name, links)
    for batch in batches(database["studies"].find({}, {"members": 1}), _BATCH):
        links = [
            (study["_id"], "members", member.get("collection", ""), member.get("id", ""))
            for study in batch
            for member in study.get("members") or []
        ]
        yield from _dangling(database, "studies", links)


def _index_of(name: str, field: str) -> list[tuple[str, int]] | None:
    """Return the keys of an index that begins with this field, if the field holds one id (not a list)."""
    model = DOCUMENTS[name]
    if field not in model.model_fields or model.model_fields[field].annotation not in (str, str | None):
        return None
    return next((list(index.keys) for index in model.indexes if index.keys[0][0] == field), None)


def _dangling_by_index(
    database: Database, name: str, field: str, target: str, index: list[tuple[str, int]]
) -> Iterator[Finding]:
    """Compare two indexes in the order of their ids, without reading a document."""
    existing = (found["_id"] for found in database[target].find({}, {"_id": 1}).sort("_id", 1).hint([("_id", 1)]))
    named = database[name].find({field: {"$gt": ""}}, {"_id": 0, field: 1}).sort(field, 1)
    try:
        ids = (id for id, _ in groupby(found[field] for found in named.hint(index)))
        for batch in batches(_absent(ids, existing), _BATCH):
            # look each one up again: both documents may have been written since
            for id in _missing(database, target, batch):
                for document in database[name].find({field: id}, {"_id": 1}):
                    yield _dangling_finding(name, document["_id"], field, target, id)
    except OperationFailure as err:
        if err.code != _BAD_HINT:
            raise
        # the index is missing, which `check_preparation` reports: go on slowly without it
        for found in database[name].find({field: {"$gt": ""}}, {field: 1}):
            yield from _dangling(database, name, [(found["_id"], field, target, found[field])])


def _absent(wanted: Iterable[str], existing: Iterator[str]) -> Iterator[str]:
    """Yield items of `wanted` that are not in `existing`; both are sorted (MongoDB and Python sort by bytes)."""
    current = next(existing, None)
    for id in wanted:
        while current is not None and (not isinstance(current, str) or current < id):
            current = next(existing, None)
        if current != id:
            yield id


def _dangling(database: Database, name: str, links: list[tuple[str, str, str, str]]) -> Iterator[Finding]:
    """Yield a finding for each `(id, field, target collection, target id)` whose target is missing."""
    wanted: dict[str, set[str]] = {}
    for _, _, target, id in links:
        wanted.setdefault(target, set()).add(id)
    missing = {(target, id) for target, ids in wanted.items() for id in _missing(database, target, ids)}
    for source, field, target, id in links:
        if (target, id) in missing:
            yield _dangling_finding(name, source, field, target, id)


def _dangling_finding(name: str, source: Any, field: str, target: str, id: str) -> Finding:
    return Finding("reference", name, str(source), f"{field} names {target} '{id}', which does not exist", _INGEST)


def _missing(database: Database, name: str, ids: Iterable[str]) -> list[str]:
    if name not in DOCUMENTS:
        return list(ids)
    missing: list[str] = []
    for batch in batches(ids, _BATCH):
        found = {document["_id"] for document in database[name].find({"_id": {"$in": batch}}, {"_id": 1})}
        missing += [id for id in batch if id not in found]
    return missing


def check_members(database: Database, artifacts: ArtifactStore) -> Iterator[Finding]:
    """Check that the labels in the member files of datasets exist, and that each file has `n_members` lines."""
    for dataset in database[Dataset.collection].find({}, {"members": 1, "n_members": 1}):
        digest = next((ref["sha256"] for ref in references_to_files(dataset.get("members"))), None)
        if digest is None or artifacts.size_of(digest) is None:
            continue  # `check_named_files` reports it
        n_members, n_missing, first = 0, 0, ""
        try:
            with artifacts.open(digest) as file, gzip.open(file, "rt", encoding="utf-8") as lines:
                for batch in batches(lines, _BATCH):
                    missing = _missing(database, "labels", [json.loads(line)["label_id"] for line in batch])
                    n_members, n_missing = n_members + len(batch), n_missing + len(missing)
                    first = first or (missing or [""])[0]
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as err:
            what = f"its member file cannot be read: {type(err).__name__}"
            yield Finding("members", Dataset.collection, dataset["_id"], what, _file_fix(digest))
            continue
        if n_missing:
            what = f"{n_missing} of its {n_members} labels do not exist, the first '{first}'"
            yield Finding("reference", Dataset.collection, dataset["_id"], what, _INGEST)
        if n_members != dataset.get("n_members"):
            what = f"its member file has {n_members} lines, n_members says {dataset.get('n_members')}"
            yield Finding("members", Dataset.collection, dataset["_id"], what, "make the dataset again")


def check_named_files(database: Database, artifacts: ArtifactStore, *, deep: bool = False) -> Iterator[Finding]:
    """Find missing and, by their size, corrupt files of documents; `deep` hashes their content."""
    sound: set[str] = set()
    for name, document, ref in all_files(database):
        digest, what = ref["sha256"], ""
        size_bytes = artifacts.size_of(digest)
        if size_bytes is None:
            what = "is missing"
        elif size_bytes != ref["size_bytes"]:
            what = f"has {size_bytes} bytes instead of {ref['size_bytes']}"
        elif deep and digest not in sound:
            if not artifacts.is_sound(digest):
                what = _CORRUPT
            elif len(sound) < _REMEMBERED_FILES:
                sound.add(digest)
        if what:
            yield Finding("file", name, str(document), f"file '{ref['name']}' ({digest}) {what}", _file_fix(digest))


def check_stored_files(artifacts: ArtifactStore) -> Iterator[Finding]:
    """Hash every stored file, whether a document names it or not."""
    for file in artifacts.stored():
        if not artifacts.is_sound(file.digest):
            yield Finding("file", "artifacts", file.digest, _CORRUPT, _file_fix(file.digest))


def _file_fix(digest: str) -> str:
    return f"gst db restore from a backup, or put another copy back as artifacts/{digest[:2]}/{digest[2:]}"


def check_attempts(database: Database) -> Iterator[Finding]:
    """Find running attempts whose process on this host has died."""
    for attempt in database["attempts"].find({"state": "running", "host": socket.gethostname()}):
        if not is_alive(attempt["pid"], attempt["process_started"]):
            what = f"is marked running, but its process {attempt['pid']} has died"
            yield Finding("attempt", "attempts", attempt["_id"], what, "gst recover, or gst db check --repair")


def check_documents(database: Database) -> Iterator[Finding]:
    """Validate every document against the server's schema and against its model."""
    for name, model in DOCUMENTS.items():
        against = {"$nor": [load_schema(name)["validator"]]}
        for found in database[name].find(against, {"_id": 1}):
            what = "does not satisfy the schema of its collection"
            yield Finding("schema", name, str(found["_id"]), what, _document_fix(name))
        for found in database[name].find():
            try:
                model.model_validate(found)
            except ValidationError as err:
                what = f"cannot be read: {first_complaint(err)}"
                yield Finding("model", name, str(found["_id"]), what, _document_fix(name))


def _document_fix(name: str) -> str:
    return f"look at it (gst query {name} -w id=ID --json), remove it by hand, then {_INGEST}"
