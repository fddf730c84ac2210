"""Compare collections, validators and indexes with `db_schemas/`, and change what differs.

`gst_meta` records the indexes that we made. One that is on record, unchanged, and not wanted any more is dropped;
indexes of others are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import CollectionInvalid

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.store.schema.migrations import STEPS
from gst_jobflow.store.schema.versions import META_COLLECTION

INDEX_RECORD = "indexes"
"""`_id` of the record in `gst_meta`: `{"made": {collection: [{name, keys, options}]}}`."""
STRICT = {"validationLevel": "strict", "validationAction": "error"}

# jobflow looks up every output by these two
_OTHERS = {"outputs": [{"keys": [["uuid", 1], ["index", -1]]}]}
INDEX_OPTIONS = (
    "unique",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
    "collation",
    "hidden",
)
"""Options that distinguish indexes of the same keys."""


@dataclass(frozen=True)
class Change:
    """A difference from `db_schemas/`: what is wrong, what changes, and how.

    A `conflict` is not ours to change: an index of somebody else has the name of a wanted one.
    """

    collection: str
    kind: Literal["collection", "validator", "index"]
    problem: str
    done: str
    apply: Callable[[], Any]
    conflict: DatabaseError | None = None

    @property
    def text(self) -> str:
        """The change in words."""
        return f"{self.collection}: {self.done}"


@dataclass(frozen=True)
class IndexSpec:
    """An index as the server names and keeps it."""

    name: str
    keys: tuple[tuple[str, Any], ...]
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of the record: options as text, since their keys hold dots and dollars."""
        return {"name": self.name, "keys": [list(key) for key in self.keys], "options": json.dumps(self.options)}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> IndexSpec:
        """Read an entry of the record."""
        keys = tuple((field, direction) for field, direction in entry["keys"])
        return cls(entry["name"], keys, json.loads(entry["options"]))


def load_schema(collection: str) -> dict[str, Any]:
    """Return the content of `db_schemas/<collection>.json`."""
    return json.loads((files("gst_jobflow.db_schemas") / f"{collection}.json").read_text())


def pending_collections(database: Database) -> list[Change]:
    """Return the collections to create and the validators to set."""
    changes = []
    present = {info["name"]: info["options"] for info in database.list_collections()}
    for name in DOCUMENTS:
        wanted = {"validator": load_schema(name)["validator"], **STRICT}
        if name not in present:
            create = partial(_create, database, name, wanted)
            changes.append(Change(name, "collection", "the collection is missing", "created", create))
        elif {**STRICT, **{key: present[name].get(key) for key in wanted if key in present[name]}} != wanted:
            replace = partial(database.command, "collMod", name, **wanted)
            problem = "the validator is missing or of another version"
            changes.append(Change(name, "validator", problem, "validator", replace))
    return changes


def _create(database: Database, name: str, options: dict[str, Any]) -> None:
    try:
        database.create_collection(name, **options)
    except CollectionInvalid:  # another program's first document created it just now
        database.command("collMod", name, **options)


def pending_indexes(database: Database) -> list[Change]:
    """Return the indexes to create, those of ours to drop, and conflicts with those of others."""
    record = _record(database)
    replaced: list[Change] = []
    created: list[Change] = []
    dropped: list[Change] = []
    for name, indexes in _wanted().items():
        present = _present(database, name)
        recorded = _recorded(record, name)
        wanted = {spec.name: spec for spec in map(_spec, indexes)}
        ours = [spec for spec in present.values() if spec in recorded and spec != wanted.get(spec.name)]
        for spec in ours:
            drop = partial(database[name].drop_index, spec.name)
            change = Change(name, "index", f"index {spec.name} is outdated", f"index {spec.name} dropped", drop)
            (replaced if spec.name in wanted else dropped).append(change)
        for spec in wanted.values():
            existing = present.get(spec.name)
            if existing is None or existing in ours:
                make = partial(database[name].create_index, list(spec.keys), name=spec.name, **spec.options)
                problem = f"index {spec.name} is missing"
                created.append(Change(name, "index", problem, f"index {spec.name}", make))
            elif existing != spec:
                created.append(_conflict(name, spec.name))
    # create before dropping, so that no query is without its index; only one of the same name has to go first
    return [*replaced, *created, *dropped]


def _conflict(collection: str, index: str) -> Change:
    problem = f"index {index} has other options than it should (as unique)"
    error = DatabaseError(
        f"an index cannot be made: {collection} has an index {index} with other options",
        f"drop index {index} of {collection} by hand, then: gst db migrate",
    )
    return Change(collection, "index", problem, "", lambda: None, error)


def record_indexes(database: Database) -> None:
    """Record the wanted indexes before they are created, so that a kill leaves no unknown index."""
    record, held = _record(database), {}
    for name, indexes in _wanted().items():
        present = set(_present(database, name))
        # an index that we made stays on record until it is dropped
        kept = [spec for spec in _recorded(record, name) if spec.name in present]
        specs = {json.dumps(spec.as_dict()): spec for spec in [*kept, *map(_spec, indexes)]}
        held[name] = [spec.as_dict() for spec in specs.values()]
    if record is None or record.get("made") != held:
        database[META_COLLECTION].replace_one({"_id": INDEX_RECORD}, {"made": held}, upsert=True)


def _record(database: Database) -> dict[str, Any] | None:
    return database[META_COLLECTION].find_one({"_id": INDEX_RECORD})


def _recorded(record: dict[str, Any] | None, collection: str) -> list[IndexSpec]:
    """Return the indexes that we made; a database without a record is of version 1, whose indexes are known."""
    if record is None:
        return [_spec({"keys": _parse(text)}) for text in STEPS[1].INDEXES.get(collection, "").split(", ") if text]
    return [IndexSpec.from_dict(entry) for entry in record["made"].get(collection, [])]


def _parse(text: str) -> list[tuple[str, int]]:
    return [(word.removeprefix("-"), -1 if word.startswith("-") else 1) for word in text.split()]


def _wanted() -> dict[str, list[dict[str, Any]]]:
    return {**{name: load_schema(name)["indexes"] for name in DOCUMENTS}, **_OTHERS}


def _spec(index: dict[str, Any]) -> IndexSpec:
    keys = tuple((field, direction) for field, direction in index["keys"])
    options: dict[str, Any] = {"unique": True} if index.get("unique") else {}
    if index.get("partial"):
        options["partialFilterExpression"] = index["partial"]
    return IndexSpec("_".join(f"{field}_{direction}" for field, direction in keys), keys, options)


def _present(database: Database, name: str) -> dict[str, IndexSpec]:
    return {
        index: IndexSpec(index, tuple(info["key"]), {key: info[key] for key in INDEX_OPTIONS if info.get(key)})
        for index, info in database[name].index_information().items()
        if index != "_id_"
    }
