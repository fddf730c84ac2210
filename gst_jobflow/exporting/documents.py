"""Convert documents to lines of JSON and back, exactly.

A line is relaxed Extended JSON, which mongoimport reads too: packed arrays are
`{"$binary": {"base64": …, "subType": "00"}}`, times `{"$date": "2026-01-31T12:00:00.000Z"}`; all else is plain JSON.
Doubles have the shortest digits that read back to the same bits. A document passes through its model, so its line
depends on its content only, not on the order of its fields in the database.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.strict import first_complaint
from gst_jobflow.documents import Document

_FIX = "another program made this bundle; ask who gave it to you"
LONGEST_LINE = 64 << 20
"""Bytes; a document of MongoDB's 16 MB is 22 MB in base64."""


def to_line(model: type[Document], stored: dict[str, Any]) -> str:
    """Return the line of a stored document, without a newline.

    Raises DataError if it cannot be read, or holds values that the format cannot.
    """
    try:
        values = model.model_validate(stored).to_mongo()
    except ValidationError as err:
        problem = f"document '{stored.get('_id')}' of {model.collection} cannot be read: {first_complaint(err)}"
        raise DataError(problem, "gst db check --deep") from err
    packed = 0

    def special(value: Any) -> dict[str, Any]:
        nonlocal packed
        packed += 1
        if isinstance(value, bytes):
            return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": "00"}}
        if isinstance(value, datetime):
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            text = aware.astimezone(UTC).isoformat(timespec="milliseconds")
            return {"$date": text.replace("+00:00", "Z")}
        raise TypeError(type(value).__name__)

    try:
        line = json.dumps(values, default=special, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as err:
        problem = f"document '{stored['_id']}' of {model.collection} holds a value that JSON cannot: {err}"
        raise DataError(problem[:300], "gst db check --deep; correct this document by hand") from err
    # search the document itself only if the line has more "$: a text may look like such a key
    if line.count('"$') != packed and _has_dollar_key(values):
        problem = f"document '{stored['_id']}' of {model.collection} has a key that begins with $"
        raise DataError(problem, "rename it: Extended JSON reserves such keys")
    return line


def _has_dollar_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(key.startswith("$") or _has_dollar_key(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_dollar_key, value))


def from_line(line: str | bytes, where: str) -> dict[str, Any]:
    """Return the stored form of a line; errors name its place by `where`.

    Raises DataError if it is not JSON, no document, or holds special values other than bytes and times.
    """
    try:
        values = json.loads(line, object_hook=_special, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise DataError(f"{where} is not a document: {str(err)[:200]}", _FIX) from err
    if not isinstance(values, dict) or not isinstance(values.get("_id"), str):
        raise DataError(f"{where} is not a document: it has no _id", _FIX)
    return values


def _special(values: dict[str, Any]) -> Any:
    if not any(key.startswith("$") for key in values):
        return values
    if values.keys() == {"$date"} and isinstance(values["$date"], str):
        time = datetime.fromisoformat(values["$date"].replace("Z", "+00:00"))
        if time.tzinfo is None:
            raise ValueError(f"the time {values['$date']} has no zone")
        return time
    if values.keys() == {"$binary"} and isinstance(values["$binary"], dict):
        inner = values["$binary"]
        if inner.keys() == {"base64", "subType"} and inner["subType"] == "00" and isinstance(inner["base64"], str):
            try:
                return base64.b64decode(inner["base64"], validate=True)
            except binascii.Error as err:
                raise ValueError("a $binary is not base64") from err
    raise ValueError(f"special value {sorted(values)} is neither $date nor $binary")


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")
