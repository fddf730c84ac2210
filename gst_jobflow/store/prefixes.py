"""Answer conditions on the beginning of a text in the order of another field of the same index."""

from __future__ import annotations

import re
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from gst_jobflow.documents import Document

MOST_VALUES = 100
"""The server merges the entries of up to 200 values in order; of more, it sorts all that match."""


def by_values(
    stored: Collection, model: type[Document], where: dict[str, Any], sort: list[tuple[str, int]]
) -> dict[str, Any]:
    """Replace each condition on a prefix, in a filter of `query.make_query`, by the values that begin with it, if few.

    A prefix is a range of an index, in which entries are not in the order of the index's next field: for the first page
    of a million documents, the server would sort all that match. Of single values, it reads the page from the index.
    Each value is found by one step into the index.
    """
    changed = dict(where)
    for field, conditions in where.items():
        prefix = _prefix_of(conditions)
        index = next((known.keys for known in model.indexes if known.keys[:2] == [(field, 1), (sort[0][0], -1)]), None)
        if prefix is None or index is None:
            continue
        try:
            values = _values(stored, index, prefix, "list" in str(model.model_fields[field].annotation))
        except OperationFailure:
            continue  # without the index, the query only takes longer
        if values is not None:
            rest = {sign: value for sign, value in conditions.items() if sign != "$regex"}
            changed[field] = {**rest, "$in": values}
    return changed


def _prefix_of(conditions: Any) -> str | None:
    """Return the requested prefix; None if there is none, or if values are requested too."""
    if not isinstance(conditions, dict) or "$regex" not in conditions or "$in" in conditions:
        return None
    # plain text follows the ^, with all special characters escaped
    return re.sub(r"\\(.)", r"\1", conditions["$regex"].removeprefix("^"), flags=re.S)


def _values(stored: Collection, index: list[tuple[str, int]], prefix: str, of_lists: bool) -> list[str] | None:
    """Return all values of the index's first field with this prefix; None for more than `MOST_VALUES`."""
    field = index[0][0]
    values: list[str] = []
    bounds = {"$gte": prefix, "$lt": prefix + "\U0010ffff"}
    while True:
        where = {field: {"$elemMatch": bounds} if of_lists else bounds}
        # the first entry of the index holds the smallest value
        found = stored.find_one(where, {field: 1, "_id": 0}, hint=index)
        if found is None:
            return values
        if len(values) == MOST_VALUES:
            return None
        held = found[field] if of_lists else [found[field]]
        smallest = min(text for text in held if text.startswith(prefix) and text > (values[-1] if values else ""))
        values.append(smallest)
        bounds = {"$gt": smallest, "$lt": bounds["$lt"]}
