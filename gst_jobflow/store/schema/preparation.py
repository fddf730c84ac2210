"""What of collections, validators and indexes is not as `db_schemas/` says, and how it is brought there.

`gst_meta` keeps a record of the indexes that we made. One that is on the record, unchanged, and not wanted any more is
dropped; indexes of others are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.store.schema.migrations import STEPS
from gst_jobflow.store.schema.versions import META_COLLECTION

if TYPE_CHECKING:
    from pymongo.database import Database

INDEX_RECORD = "indexes"
"""`_id` of the record in `gst_meta`: `{"made": {collection: [{name, keys, options}]}}`."""
STRICT = {"validationLevel": "strict", "validationAction": "error"}

# jobflow looks outputs up by these two for every reference
_OTHERS = {"outputs": [{"keys": [["uuid", 1], ["index", -1]]}]}
INDEX_OPTIONS = (
    "unique",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
    "collation",
    "hidden",
)
"""What beside its keys makes an index what it is."""


@dataclass(frozen=True)
class Change:
    """One thing to do, and what it is called."""

    text: str
    apply: Callable[[], Any]


@dataclass(frozen=True)
class IndexSpec:
    """An index as the server names and keeps it."""

    name: str
    keys: tuple[tuple[str, Any], ...]
    options: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Convert to the form of the record: lists and text only, since field names hold dots and dollars."""
        return {"name": self.name, "keys": [list(key) for key in self.keys], "options": json.dumps(self.options)}

    @classmethod
    def from_dict(cls, entry: dict[str, Any]) -> IndexSpec:
        """Read the form of the record."""
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
            changes.append(Change(f"{name}: created", partial(_create, database, name, wanted)))
        elif {**STRICT, **{key: present[name].get(key) for key in wanted if key in present[name]}} != wanted:
            changes.append(Change(f"{name}: validator", partial(database.command, "collMod", name, **wanted)))
    return changes


def _create(database: Database, name: str, options: dict[str, Any]) -> None:
    from pymongo.errors import CollectionInvalid

    try:
        database.create_collection(name, **options)
    except CollectionInvalid:  # somebody's first document made it just now
        database.command("collMod", name, **options)


def pending_indexes(database: Database) -> list[Change]:
    """Return the indexes to create, and those of ours to drop.

    Raises
    ------
    DatabaseError
        An index of the same name and other options is there that we did not make.
    """
    record = _record(database)
    changes = []
    for name, indexes in _wanted().items():
        present = _present(database, name)
        made = _made(record, name)
        wanted = {spec.name: spec for spec in map(_spec, indexes)}
        ours = [spec for spec in present.values() if spec in made and spec != wanted.get(spec.name)]
        changes += [
            Change(f"{name}: index {spec.name} dropped", partial(database[name].drop_index, spec.name)) for spec in ours
        ]
        for spec in wanted.values():
            there = present.get(spec.name)
            if there is None or there in ours:
                changes.append(Change(f"{name}: index {spec.name}", partial(_make, database, name, spec)))
            elif there != spec:
                raise DatabaseError(
                    f"an index cannot be made: {name} has an index {spec.name} with other options",
                    f"drop index {spec.name} of {name} by hand, then: gst db migrate",
                )
    # what is new comes first, so that no query is without an index meanwhile; one that is replaced has to go before
    return sorted(changes, key=lambda change: change.text.endswith("dropped") and not _replaced(change, changes))


def _replaced(drop: Change, changes: list[Change]) -> bool:
    return any(change.text == drop.text.removesuffix(" dropped") for change in changes)


def record_indexes(database: Database) -> None:
    """Record the wanted indexes before they are created, so that a kill leaves no unknown index."""
    record, held = _record(database), {}
    for name, indexes in _wanted().items():
        present = set(_present(database, name))
        # what we made once and is still there stays on the record until it is dropped
        kept = [spec for spec in _made(record, name) if spec.name in present]
        specs = {json.dumps(spec.as_dict()): spec for spec in [*kept, *map(_spec, indexes)]}
        held[name] = [spec.as_dict() for spec in specs.values()]
    if record is None or record.get("made") != held:
        database[META_COLLECTION].replace_one({"_id": INDEX_RECORD}, {"made": held}, upsert=True)


def _record(database: Database) -> dict[str, Any] | None:
    return database[META_COLLECTION].find_one({"_id": INDEX_RECORD})


def _made(record: dict[str, Any] | None, collection: str) -> list[IndexSpec]:
    """Return the indexes that we created; a database without a record is of version 1, whose indexes are known."""
    if record is None:
        return [_spec({"keys": _parse(text)}) for text in STEPS[1].INDEXES.get(collection, ())]
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
    return dict(_read_indexes(database, name))


def _read_indexes(database: Database, name: str) -> Iterator[tuple[str, IndexSpec]]:
    for index, info in database[name].index_information().items():
        if index != "_id_":
            options = {key: info[key] for key in INDEX_OPTIONS if info.get(key)}
            yield index, IndexSpec(index, tuple(info["key"]), options)


def _make(database: Database, name: str, spec: IndexSpec) -> None:
    database[name].create_index(list(spec.keys), name=spec.name, **spec.options)
