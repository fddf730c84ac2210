"""Bring the database to this version's collections, validators and indexes; doing it again changes nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION
from gst_jobflow.errors import DatabaseError

if TYPE_CHECKING:
    from pymongo.database import Database

    from gst_jobflow.settings import Project

_META = "gst_meta"


def load_schema(collection: str) -> dict[str, Any]:
    """The content of `db_schemas/<collection>.json`."""
    return json.loads((files("gst_jobflow.db_schemas") / f"{collection}.json").read_text())


def migrate(project: Project) -> list[str]:
    """Apply `db_schemas/` to the project's database and prepare launchpad and job store.

    Returns
    -------
    list of str
        What was changed; empty when all was as it should be.

    Raises
    ------
    DatabaseError
        The database is of a newer version than this program.
    """
    from gst_jobflow.store.connect import connect

    database = connect(project)
    changed = apply_schemas(database)
    changed += _prepare_launchpad(project, database)
    if "uuid_1_index_-1" not in database["outputs"].index_information():
        # jobflow looks outputs up by these two for every reference
        database["outputs"].create_index([("uuid", 1), ("index", -1)])
        changed.append("outputs: index")
    return changed


def apply_schemas(database: Database) -> list[str]:
    """Create collections, set validators, make indexes; what was changed."""
    meta = database[_META].find_one({"_id": "schema"}) or {"version": 0}
    if meta["version"] > SCHEMA_VERSION:
        raise DatabaseError(
            f"database '{database.name}' has schema version {meta['version']}, this program knows {SCHEMA_VERSION}",
            "upgrade gst_jobflow",
        )
    changed: list[str] = []
    present = {info["name"]: info for info in database.list_collections()}
    for name in DOCUMENTS:
        schema = load_schema(name)
        options = {"validator": schema["validator"], "validationLevel": "strict", "validationAction": "error"}
        if name not in present:
            database.create_collection(name, **options)
            changed.append(f"{name}: created")
        elif present[name]["options"].get("validator") != schema["validator"]:
            database.command("collMod", name, **options)
            changed.append(f"{name}: validator")
        known = set(database[name].index_information())
        for index in schema["indexes"]:
            keys = [(field, direction) for field, direction in index["keys"]]
            made = database[name].create_index(keys, unique=index.get("unique", False))
            if made not in known:
                changed.append(f"{name}: index {made}")
    if meta["version"] != SCHEMA_VERSION:
        database[_META].update_one({"_id": "schema"}, {"$set": {"version": SCHEMA_VERSION}}, upsert=True)
    return changed


def _prepare_launchpad(project: Project, database: Database) -> list[str]:
    """Start FireWorks' id counter and indexes once; never on a launchpad that holds fireworks."""
    if database["fw_id_assigner"].find_one() is not None:
        return []
    if database["fireworks"].find_one() is not None:
        raise DatabaseError(
            f"database '{database.name}' holds fireworks but no id counter",
            "restore it from a backup of the database",
        )
    from gst_jobflow.store.connect import launchpad

    launchpad(project).reset("", require_password=False)
    return ["launchpad: initialised"]
