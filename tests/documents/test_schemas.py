"""db_schemas/ is what the models say, and the server enforces it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.documents.schemas import collection_schema, main, schema_text
from gst_jobflow.store.schema.preparation import load_schema
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

FOLDER = Path(__file__).parents[2] / "db_schemas"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_agree_with_the_models(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == schema_text(DOCUMENTS[name])
    assert load_schema(name) == json.loads(schema_text(DOCUMENTS[name]))


def test_removed_collections_leave_no_schema_file() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(DOCUMENTS)


def test_a_stale_file_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert main([str(tmp_path), "--check"]) == 0
    (tmp_path / "labels.json").write_text("{}")
    assert main([str(tmp_path), "--check"]) == 1
    assert "labels" in capsys.readouterr().out


def test_packed_arrays_are_binary_and_times_are_dates() -> None:
    properties = collection_schema(DOCUMENTS["labels"])["validator"]["$jsonSchema"]["properties"]
    assert properties["forces"]["bsonType"] == ["binData", "null"]
    assert properties["created_at"]["bsonType"] == ["date"]
    assert properties["state"]["enum"] == ["converged", "failed", "quarantined", "excluded"]


@pytest.mark.mongo
def test_the_server_takes_our_documents_and_refuses_others(project: Project) -> None:
    from pymongo.errors import WriteError

    from gst_jobflow.store.connect import connect

    database = connect(project)
    for document in (structure(), label()):
        database[document.collection].insert_one(document.to_mongo())
    good = structure().to_mongo()
    for change in (
        {"n_atoms": "two"},
        {"n_atoms": 0},
        {"config_type": "cristal"},
        {"colour": "red"},
        {"positions": [[0.0, 0.0, 0.0]]},
        {"created_at": "yesterday"},
        {"pbc": [True]},
    ):
        with pytest.raises(WriteError, match="Document failed validation"):
            database["structures"].insert_one({**good, "_id": "b" * 32, **change})
    for missing in ("formula", "created_at", "schema_version"):
        with pytest.raises(WriteError):
            database["structures"].insert_one(
                {key: value for key, value in {**good, "_id": "c" * 32}.items() if key != missing}
            )
    with pytest.raises(WriteError):
        database["structures"].update_one({"_id": "a" * 32}, {"$set": {"density_g_cm3": -1.0}})
    with pytest.raises(WriteError):
        database["attempts"].insert_one({"_id": "x", "started_at": datetime.now(UTC)})
    assert database["structures"].count_documents({}) == 1
