"""Join labels with their structures for conditions on both: on the server if one side is small, else here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database

FEW = 20_000
"""A look-up costs the server 30 to 60 µs; beyond this many it is faster to read the ids of both sides, at 2 µs each."""


def label_pipeline(
    database: Database, labels: dict[str, Any], structures: dict[str, Any]
) -> tuple[Collection, list[dict[str, Any]]]:
    """Return a collection and the pipeline that yields, from it, the labels that match and whose structures match.

    The filters on the two collections are those of `query.make_query`.
    """
    if _are_few(database["structures"], structures) or not _are_few(database["labels"], labels):
        return database["structures"], [
            {"$match": structures},
            {"$project": {"_id": 1}},
            {"$lookup": {"from": "labels", "localField": "_id", "foreignField": "structure_id", "as": "label"}},
            {"$unwind": "$label"},
            {"$replaceRoot": {"newRoot": "$label"}},
            {"$match": labels},
        ]
    return database["labels"], [
        {"$match": labels},
        {"$lookup": {"from": "structures", "localField": "structure_id", "foreignField": "_id", "as": "structure"}},
        # drops labels whose structure is gone: a negated condition would match them
        {"$unwind": "$structure"},
        {"$match": _below("structure", structures)},
        {"$unset": "structure"},
    ]


def label_ids(
    database: Database, labels: dict[str, Any], structures: dict[str, Any], sort: list[tuple[str, int]], limit: int = 0
) -> Iterator[str]:
    """Yield the ids of the labels that match and whose structures match, in order; all where the limit is 0."""
    if _are_few(database["structures"], structures) or _are_few(database["labels"], labels):
        collection, steps = label_pipeline(database, labels, structures)
        ordered = [{"$project": {name: 1 for name, _ in sort}}, {"$sort": dict(sort)}] if sort else []
        found = collection.aggregate([*steps, *ordered, {"$project": {"_id": 1}}])
        ids = (each["_id"] for each in found)
    else:
        wanted = {each["_id"] for each in database["structures"].find(structures, {"_id": 1})}
        every = database["labels"].find(labels, {"structure_id": 1})
        ids = (each["_id"] for each in (every.sort(sort) if sort else every) if each["structure_id"] in wanted)
    return islice(ids, limit or None)


def _are_few(collection: Collection, where: dict[str, Any]) -> bool:
    return collection.count_documents(where, limit=FEW + 1) <= FEW


def _below(name: str, where: dict[str, Any]) -> dict[str, Any]:
    """Return the filter for documents that are embedded under this name."""
    both = {"$and": [_below(name, each) for each in where["$and"]]} if "$and" in where else {}
    return {f"{name}.{key}": value for key, value in where.items() if key != "$and"} | both
