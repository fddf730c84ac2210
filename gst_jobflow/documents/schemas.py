"""Generate a JSON Schema validator and indexes for each collection from the document models.

`python -m gst_jobflow.documents.schemas DIR` writes `db_schemas/`; with `--check` it only compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gst_jobflow.documents import DOCUMENTS, SCHEMA_VERSION, Document

# pymongo writes integers as int or long and floats as double
_BSON_TYPES = {
    "string": ["string"],
    "integer": ["int", "long"],
    "number": ["double", "int", "long"],
    "boolean": ["bool"],
    "object": ["object"],
    "array": ["array"],
    "null": ["null"],
}
_KEPT = (
    "enum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "pattern",
    "required",
)


def collection_schema(model: type[Document]) -> dict[str, Any]:
    """Return validator and indexes of a collection, the content of `db_schemas/<collection>.json`."""
    json_schema = model.model_json_schema(by_alias=True, mode="serialization")
    # refuses documents of an older program that still runs; they stay in its manifest
    json_schema["properties"]["schema_version"] = {"type": "integer", "enum": [SCHEMA_VERSION]}
    json_schema["required"] = ["_id", "schema_version", "created_at", *json_schema["required"][1:]]
    return {
        "collection": model.collection,
        "schema_version": SCHEMA_VERSION,
        "validator": {"$jsonSchema": _to_bson(json_schema, json_schema.get("$defs", {}))},
        "indexes": [index.model_dump(exclude_defaults=True) for index in model.indexes],
    }


def _to_bson(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _to_bson(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if "anyOf" in node:
        return _merge_any_of([_to_bson(option, definitions) for option in node["anyOf"]])
    result: dict[str, Any] = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        result["enum"] = [node["const"]]
    if node.get("format") == "date-time":
        return {"bsonType": ["date"]}
    if node.get("format") in ("binary", "base64", "base64url"):
        return {"bsonType": ["binData"]}
    if "type" in node:
        result["bsonType"] = _BSON_TYPES[node["type"]]
    for ours, servers in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if ours in node:  # exclusive bounds are flags in draft 4, which the server follows
            result[servers] = node[ours]
            result[ours] = True
    if "properties" in node:
        result["properties"] = {key: _to_bson(value, definitions) for key, value in node["properties"].items()}
        result["additionalProperties"] = False
    elif isinstance(node.get("additionalProperties"), dict) and node["additionalProperties"]:
        result["additionalProperties"] = _to_bson(node["additionalProperties"], definitions)
    if "prefixItems" in node:
        result["items"] = [_to_bson(item, definitions) for item in node["prefixItems"]]
    elif node.get("items"):
        result["items"] = _to_bson(node["items"], definitions)
    return result


def _merge_any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    """Join "T or null" into one schema, for readable messages of the server."""
    null = [option for option in options if option == {"bsonType": ["null"]}]
    others = [option for option in options if option not in null]
    if null and len(others) == 1 and "enum" not in others[0]:
        return {**others[0], "bsonType": [*others[0]["bsonType"], "null"]}
    return {"anyOf": options}


def schema_text(model: type[Document]) -> str:
    """Return the text of `db_schemas/<collection>.json`."""
    return json.dumps(collection_schema(model), indent=2) + "\n"


def main(arguments: list[str]) -> int:
    """Write or check the folder given as the first argument."""
    folder, check = Path(arguments[0]), "--check" in arguments
    stale = []
    for name, model in DOCUMENTS.items():
        file = folder / f"{name}.json"
        if not file.is_file() or file.read_text() != schema_text(model):
            stale.append(name)
            if not check:
                file.write_text(schema_text(model))
    verb = "differ from the models" if check else "written"
    print(f"{folder}: {', '.join(stale) or 'none'} {verb}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
