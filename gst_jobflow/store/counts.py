"""Count documents by the values of a field from an index, without reading them one by one."""

from __future__ import annotations

from typing import Any

from pymongo.collection import Collection

from gst_jobflow.documents import Document

MOST_VALUES = 50
"""Each value is counted by a pipeline of its own; for more values, grouping all documents is as fast."""


def by_index(
    stored: Collection, model: type[Document], where: dict[str, Any], path: str
) -> list[dict[str, Any]] | None:
    """Count documents by the values of a field, which holds no list, from an index alone; None if no index allows that.

    Grouping makes the server convert each entry of an index into a document. Stepping from value to value and counting
    between them takes half the time. `where` is a filter of `query.make_query`. Returns `{"_id": value, "count": n}`,
    largest first.
    """
    equal = _equalities(where)
    # without a condition, some fields have a million values, and finding that out is slow
    if not equal or not _has_index(model, set(equal), path):
        return None
    # each value is one step into the index
    values = [found["_id"] for found in stored.aggregate([{"$match": where}, {"$group": {"_id": f"${path}"}}])]
    if not 0 < len(values) <= MOST_VALUES:
        return None
    first, *others = (_counted({**equal, path: value}, value) for value in values)
    together = [{"$unionWith": {"coll": stored.name, "pipeline": other}} for other in others]
    return list(stored.aggregate([*first, *together, {"$sort": {"count": -1, "_id": 1}}]))


def _counted(where: dict[str, Any], value: Any) -> list[dict[str, Any]]:
    counted = {"$group": {"_id": None, "count": {"$sum": 1}}}
    return [{"$match": where}, counted, {"$set": {"_id": {"$literal": value}}}]


def _equalities(where: dict[str, Any]) -> dict[str, Any] | None:
    """Return the filter as field and value; None if it holds other conditions."""
    if not all(isinstance(conditions, dict) and set(conditions) == {"$eq"} for conditions in where.values()):
        return None
    return {field: conditions["$eq"] for field, conditions in where.items()}


def _has_index(model: type[Document], fixed: set[str], path: str) -> bool:
    """Whether an index begins with the fixed fields, in any order, and then `path`; none of them may be a list."""
    fields = [model.model_fields.get(name) for name in (*fixed - {"_id"}, path)]
    if any(field is None or "list" in str(field.annotation) for field in fields):
        return False
    names = [[name for name, _ in index.keys[: len(fixed) + 1]] for index in model.indexes]
    return any({*keys[:-1]} == fixed and keys[-1] == path for keys in names if len(keys) == len(fixed) + 1)
