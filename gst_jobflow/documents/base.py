"""Base of all documents: identity, immutability, indexes and packed arrays.

Arrays (positions, forces, atomic numbers) are packed little-endian bytes, read about ten times faster than BSON lists
and a third of their size; use `pack` and `unpack`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from gst_jobflow.base.strict import StrictModel

if TYPE_CHECKING:
    import numpy as np

SCHEMA_VERSION = 5
"""Version of all collections; a database with another one is refused."""

ConfigType = Literal[
    "crystal",
    "aimd",
    "melt_quench",
    "phase_transition",
    "hard_sphere",
    "rss",
    "device",
    "failure",
    "isolated_atom",
    "other",
]


class Index(BaseModel):
    """An index of a collection: fields with direction (1 or -1)."""

    keys: list[tuple[str, int]]
    unique: bool = False
    partial: dict[str, Any] | None = None


class Part(StrictModel):
    """Part of a document: immutable, refuses unknown keys."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)


class ArtifactRef(Part):
    """A file in the artifact store."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    name: str = Field(min_length=1, description="File name")


class Cost(Part):
    """Cost of a computation."""

    wall_s: float = Field(ge=0)
    cores: int = Field(ge=1)
    core_hours: float = Field(ge=0)

    @classmethod
    def of(cls, wall_s: float, cores: int) -> Cost:
        """Return the cost of `wall_s` seconds on `cores` cores."""
        return cls(wall_s=wall_s, cores=cores, core_hours=wall_s * cores / 3600)


class Document(Part):
    """Base of all documents.

    Class attributes
    ----------------
    collection
        Name of the MongoDB collection.
    indexes
        Its indexes besides `_id`.
    mutable
        Whether documents change after insertion (studies, cycles, attempts).
    """

    collection: ClassVar[str]
    indexes: ClassVar[tuple[Index, ...]] = ()
    mutable: ClassVar[bool] = False

    id: str = Field(alias="_id", min_length=1)
    schema_version: int = SCHEMA_VERSION
    created_at: datetime = Field(default_factory=lambda: now())

    def to_mongo(self) -> dict[str, Any]:
        """Return the document for pymongo."""
        return self.model_dump(by_alias=True)


def now() -> datetime:
    """Return the time, UTC, in whole milliseconds like MongoDB."""
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)


# json.dumps would make an encoder for every id
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def derive_id(*parts: Any) -> str:
    """Return a 32-digit hexadecimal id, determined by its JSON-able parts."""
    # the same text of plain strings in a tenth of the time
    plain = {*map(type, parts)} == {str}
    text = f"[{','.join(map(encode_basestring_ascii, parts))}]" if plain else _encode(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def all_finite(values: np.ndarray) -> bool:
    """Return whether all floats are finite: mostly by the sum of their squares, which takes a third of the time."""
    import numpy as np

    flat = values.ravel()
    # the squares of huge numbers overflow
    return math.isfinite(np.vdot(flat, flat)) or bool(np.isfinite(flat).all())


def pack(array: np.ndarray, dtype: str = "<f8", *, known_finite: bool = False) -> bytes:
    """Pack an array as little-endian bytes in C order; `known_finite` leaves out the check.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    import numpy as np

    values = np.ascontiguousarray(array, dtype=dtype)
    if not known_finite and values.dtype.kind == "f" and not all_finite(values):
        raise ValueError("array holds a value that is not finite")
    return values.tobytes()


def unpack(data: bytes, columns: int | None = None, dtype: str = "<f8") -> np.ndarray:
    """Unpack bytes of `pack` to a writable array of shape (N,) or, with `columns`, (N, columns)."""
    import numpy as np

    values = np.frombuffer(data, dtype=dtype).copy()
    return values if columns is None else values.reshape(-1, columns)
