"""Look through the database and the files for what does not hold together; nothing is changed here.

Everything is streamed in batches: memory does not grow with the database.
"""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from gst_jobflow.base.processes import is_alive
from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, ArtifactRef, Dataset, Document
from gst_jobflow.store.connect import JOB_STORE_COLLECTION, connect
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.schema.migrate import load_schema
from gst_jobflow.store.schema.versions import META_COLLECTION, RESTORE_MARK, SCHEMA, read_version

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.base.settings import Project

T = TypeVar("T")

REFERENCES: dict[str, dict[str, str]] = {
    "structures": {"parents": "structures"},
    "labels": {"structure_id": "structures"},
    "datasets": {"parent_id": "datasets"},
    "potentials": {"dataset_id": "datasets", "parent_id": "potentials"},
    "trajectories": {
        "potential_id": "potentials",
        "cycle_id": "cycles",
        "start_structure_id": "structures",
        "final_structure_id": "structures",
    },
    "cycles": {
        "potential_id": "potentials",
        "structure_id": "structures",
        "barrier_structure_id": "structures",
        "operations.trajectory_id": "trajectories",
        "parent_trajectory_id": "trajectories",
    },
}
"""Fields that hold ids of other documents, and the collection of these. Members of studies name theirs themselves."""

_BATCH = 500
_REMEMBERED_FILES = 100_000
_INGEST = "gst ingest DIR  (what its job left on disk), or gst db restore from a backup"
_MIGRATE = "gst db check --repair"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, what, and the way out."""

    kind: str
    collection: str
    id: str
    what: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Return the finding as programs read it."""
        return asdict(self)


def check(project: Project, *, deep: bool = False) -> Iterator[Finding]:
    """Find what is wrong with a project's database and files.

    Parameters
    ----------
    project
        The project.
    deep
        Also hash every file again, and hold every document against the server's schema and its model.

    Raises
    ------
    DatabaseError
        The database cannot be reached.
    """
    database = connect(project, any_version=True)
    artifacts = ArtifactStore(project.artifacts_dir)
    try:
        yield from check_preparation(database)
        yield from check_references(database)
        yield from check_members(database, artifacts)
        yield from check_files(database, artifacts, deep=deep)
        yield from check_attempts(database)
        if deep:
            yield from check_documents(database)
    finally:
        database.client.close()


def check_preparation(database: Database) -> Iterator[Finding]:
    """Compare version, collections, validators and indexes with `db_schemas/`."""
    version = read_version(database)
    if version.half_restored:
        what = "a restore was cut off: the database is not whole"
        yield Finding("restore", META_COLLECTION, RESTORE_MARK, what, "gst db restore FILE.tar --force")
    if version.number != SCHEMA_VERSION:
        fix = "upgrade gst_jobflow" if version.number > SCHEMA_VERSION else _MIGRATE
        what = f"schema version {version.number}, this program has {SCHEMA_VERSION}"
        yield Finding("version", META_COLLECTION, SCHEMA, what, fix)
    elif version.upgrading_from is not None:
        what = f"half migrated from schema version {version.upgrading_from}"
        yield Finding("version", META_COLLECTION, SCHEMA, what, "gst db migrate")
    present = {info["name"]: info for info in database.list_collections()}
    for name in DOCUMENTS:
        schema = load_schema(name)
        if name not in present:
            yield Finding("collection", name, "", "the collection is missing", _MIGRATE)
            continue
        options = present[name]["options"]
        strict = (options.get("validationLevel", "strict"), options.get("validationAction", "error"))
        if options.get("validator") != schema["validator"] or strict != ("strict", "error"):
            what = "the validator is missing or not of this version"
            yield Finding("validator", name, "", what, _MIGRATE)
        yield from _indexes(database, name, schema["indexes"])
    yield from _indexes(database, JOB_STORE_COLLECTION, [{"keys": [["uuid", 1], ["index", -1]]}])
    if database["fw_id_assigner"].find_one() is None:
        yield Finding("launchpad", "fw_id_assigner", "", "the launchpad has no id counter", _MIGRATE)


def _indexes(database: Database, name: str, wanted: list[dict[str, Any]]) -> Iterator[Finding]:
    present = database[name].index_information().values()
    unique_by_keys = {tuple(map(tuple, index["key"])): bool(index.get("unique")) for index in present}
    for index in wanted:
        keys = tuple((field, direction) for field, direction in index["keys"])
        shown = "_".join(f"{field}_{direction}" for field, direction in keys)
        if keys not in unique_by_keys:
            yield Finding("index", name, "", f"index {shown} is missing", _MIGRATE)
        elif index.get("unique") and not unique_by_keys[keys]:
            what = f"index {shown} lets double values in"
            yield Finding("index", name, "", what, f"drop index {shown} of {name}, then gst db migrate")


def check_references(database: Database) -> Iterator[Finding]:
    """Find ids that lead to no document."""
    for name, fields in REFERENCES.items():
        rest = dict(fields)
        for field, target in fields.items():
            index = _index_that_covers(name, field)
            if index is not None:
                del rest[field]
                yield from _dangling_by_index(database, name, field, target, index)
        if not rest:
            continue
        # a text is more than nothing: an index on the field leads past all documents that name none
        named = [{field: {"$gt": ""}} for field in rest]
        documents = database[name].find({"$or": named}, {field: 1 for field in rest})
        for batch in _batches(documents, _BATCH):
            links = [
                (document["_id"], field, target, id)
                for document in batch
                for field, target in rest.items()
                for id in ids_at(document, field.split("."))
            ]
            yield from _dangling(database, name, links)
    for batch in _batches(database["studies"].find({}, {"members": 1}), _BATCH):
        links = [
            (study["_id"], "members", member.get("collection", ""), member.get("id", ""))
            for study in batch
            for member in study.get("members") or []
        ]
        yield from _dangling(database, "studies", links)


def _index_that_covers(name: str, field: str) -> list[tuple[str, int]] | None:
    """Return the keys of an index that begins with this field, if the field holds one id (not a list)."""
    model = DOCUMENTS[name]
    if field not in model.model_fields or model.model_fields[field].annotation not in (str, str | None):
        return None
    return next((list(index.keys) for index in model.indexes if index.keys[0][0] == field), None)


def _dangling_by_index(
    database: Database, name: str, field: str, target: str, index: list[tuple[str, int]]
) -> Iterator[Finding]:
    """Compare two indexes in the order of their ids, without reading a document."""
    from pymongo.errors import OperationFailure

    known = (found["_id"] for found in database[target].find({}, {"_id": 1}).sort("_id", 1).hint([("_id", 1)]))
    named = database[name].find({field: {"$gt": ""}}, {"_id": 0, field: 1}).sort(field, 1)
    try:
        ids = _distinct(found[field] for found in named.hint(index))
        for batch in _batches(_left_out(ids, known), _BATCH):
            # once more, one by one: both may have come in while we were on the way
            for id in _missing(database, target, batch):
                for document in database[name].find({field: id}, {"_id": 1}):
                    yield _dangling_finding(name, document["_id"], field, target, id)
    except OperationFailure as err:
        if err.code != _BAD_HINT:
            raise
        # `check_preparation` says that the index is missing; it goes without, only slower
        for found in database[name].find({field: {"$gt": ""}}, {field: 1}):
            yield from _dangling(database, name, [(found["_id"], field, target, found[field])])


_BAD_HINT = 2


def _distinct(ordered: Iterable[str]) -> Iterator[str]:
    last = None
    for item in ordered:
        if item != last:
            yield item
        last = item


def _left_out(wanted: Iterable[str], there: Iterator[str]) -> Iterator[str]:
    """Yield items of `wanted` that are not in `there`; both are sorted (by bytes in MongoDB and Python)."""
    current = next(there, None)
    for id in wanted:
        while current is not None and (not isinstance(current, str) or current < id):
            current = next(there, None)
        if current != id:
            yield id


def ids_at(value: Any, path: list[str]) -> Iterator[str]:
    """Yield every id at a path, through lists on the way."""
    if isinstance(value, list):
        for item in value:
            yield from ids_at(item, path)
    elif not path:
        if isinstance(value, str):
            yield value
    elif isinstance(value, dict):
        yield from ids_at(value.get(path[0]), path[1:])


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
    return Finding("reference", name, str(source), f"{field} names {target} '{id}', which is not there", _INGEST)


def _missing(database: Database, name: str, ids: Iterable[str]) -> list[str]:
    if name not in DOCUMENTS:
        return list(ids)
    missing: list[str] = []
    for batch in _batches(iter(ids), _BATCH):
        found = {document["_id"] for document in database[name].find({"_id": {"$in": batch}}, {"_id": 1})}
        missing += [id for id in batch if id not in found]
    return missing


def check_members(database: Database, artifacts: ArtifactStore) -> Iterator[Finding]:
    """Check that the labels in the member files of datasets exist, and as many as the dataset says."""
    for dataset in database[Dataset.collection].find({}, {"members": 1, "n_members": 1}):
        digest = next((ref["sha256"] for ref in references_to_files(dataset.get("members"))), None)
        if digest is None or artifacts.size_of(digest) is None:
            continue  # `check_files` says so
        n_members, n_missing, first = 0, 0, ""
        try:
            with artifacts.open(digest) as file, gzip.open(file, "rt", encoding="utf-8") as lines:
                for batch in _batches(lines, _BATCH):
                    missing = _missing(database, "labels", [json.loads(line)["label_id"] for line in batch])
                    n_members, n_missing = n_members + len(batch), n_missing + len(missing)
                    first = first or (missing or [""])[0]
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as err:
            what = f"its member file cannot be read: {type(err).__name__}"
            yield Finding("members", Dataset.collection, dataset["_id"], what, _file_fix(digest))
            continue
        if n_missing:
            what = f"{n_missing} of its {n_members} labels are not there, the first '{first}'"
            yield Finding("reference", Dataset.collection, dataset["_id"], what, _INGEST)
        if n_members != dataset.get("n_members"):
            what = f"its member file has {n_members} lines, n_members says {dataset.get('n_members')}"
            yield Finding("members", Dataset.collection, dataset["_id"], what, "make the dataset again")


def check_files(database: Database, artifacts: ArtifactStore, *, deep: bool = False) -> Iterator[Finding]:
    """Find missing and corrupt files of documents; only `deep` hashes their content."""
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
                what = "is corrupt: its content does not have this SHA-256"
            elif len(sound) < _REMEMBERED_FILES:
                sound.add(digest)
        if what:
            yield Finding("file", name, str(document), f"file '{ref['name']}' ({digest}) {what}", _file_fix(digest))


def check_stored(artifacts: ArtifactStore) -> Iterator[Finding]:
    """Hash every stored file, whether a document names it or not."""
    for file in artifacts.stored():
        if not artifacts.is_sound(file.digest):
            what = "is corrupt: its content does not have this SHA-256"
            yield Finding("file", "artifacts", file.digest, what, _file_fix(file.digest))


def _file_fix(digest: str) -> str:
    return f"gst db restore from a backup, or put another copy back as artifacts/{digest[:2]}/{digest[2:]}"


def all_files(database: Database) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (collection, document id, reference) for every file that a document names."""
    from bson import decode
    from bson.codec_options import CodecOptions
    from bson.raw_bson import RawBSONDocument

    for name, model in DOCUMENTS.items():
        fields = file_fields(model)
        if not fields:
            continue
        raw = database[name].with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
        for found in raw.find({}, {field: 1 for field in fields}):
            if b"sha256" not in found.raw:
                continue  # most structures name none, and to take a million apart takes long
            document = decode(found.raw)
            for field in fields:
                for ref in references_to_files(document.get(field)):
                    yield name, document["_id"], ref


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
    """Yield every stored `ArtifactRef` within a value of a document."""
    if isinstance(value, dict):
        if value.keys() == ArtifactRef.model_fields.keys():
            try:
                yield ArtifactRef.model_validate(value).model_dump()
            except ValidationError:
                return  # `check_documents` says so
        else:
            for part in value.values():
                yield from references_to_files(part)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, (dict, list)):
                yield from references_to_files(part)


def check_attempts(database: Database) -> Iterator[Finding]:
    """Find running attempts whose process on this host has died."""
    for attempt in database["attempts"].find({"state": "running", "host": socket.gethostname()}):
        if not is_alive(attempt["pid"], attempt["process_started"]):
            what = f"says running, but its process {attempt['pid']} is gone"
            yield Finding("attempt", "attempts", attempt["_id"], what, "gst recover, or gst db check --repair")


def check_documents(database: Database) -> Iterator[Finding]:
    """Validate every document against the server's schema and against its model."""
    for name, model in DOCUMENTS.items():
        against = {"$nor": [load_schema(name)["validator"]]}
        for found in database[name].find(against, {"_id": 1}):
            what = "is against the schema of its collection"
            yield Finding("schema", name, str(found["_id"]), what, _document_fix(name))
        for found in database[name].find():
            try:
                model.model_validate(found)
            except ValidationError as err:
                first = err.errors(include_url=False, include_input=False)[0]
                place = ".".join(map(str, first["loc"]))
                what = f"cannot be read: {place + ': ' if place else ''}{first['msg']}"[:300]
                yield Finding("model", name, str(found["_id"]), what, _document_fix(name))


def _document_fix(name: str) -> str:
    return f"look at it (gst query {name} -w id=ID --json), remove it by hand, then {_INGEST}"


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
