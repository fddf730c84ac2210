"""What every stored document shares: identity, immutability, indexes and packed arrays.

Arrays (positions, forces, atomic numbers) are stored as packed little-endian bytes: a million structures of a
hundred atoms are read about ten times faster than as BSON lists and take a third of the room. `pack` and `unpack`
are the only way in and out; both refuse what is not finite.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gst_jobflow.base.strict import StrictModel

SCHEMA_VERSION = 3
"""Version of all collections together; a database with a newer one is refused."""

ConfigType = Literal[
    "crystal",
    "aimd",
    "melt_quench",
    "phase_transition",
    "hard_sphere",
    "rss",
    "device",
    "isolated_atom",
    "other",
]


class Index(BaseModel):
    """One index of a collection: fields with direction (1 or -1)."""

    keys: list[tuple[str, int]]
    unique: bool = False
    partial: dict[str, Any] | None = None


class Part(StrictModel):
    """A piece of a document; unknown keys are refused and values never change after they were made."""

    model_config = ConfigDict(frozen=True, ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)


class ArtifactRef(Part):
    """A file in the artifact store."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    name: str = Field(min_length=1, description="File name that people know it by")


class Cost(Part):
    """What a computation took."""

    wall_s: float = Field(ge=0)
    cores: int = Field(ge=1)
    core_hours: float = Field(ge=0)

    @classmethod
    def of(cls, wall_s: float, cores: int) -> Cost:
        """Cost of `wall_s` seconds on `cores` cores."""
        return cls(wall_s=wall_s, cores=cores, core_hours=wall_s * cores / 3600)


class Document(Part):
    """Base of all documents.

    Class attributes
    ----------------
    collection
        Name of the MongoDB collection.
    indexes
        Its indexes beside `_id`.
    mutable
        Whether documents change after they were inserted (plans that fill up: studies, cycles, attempts).
    """

    collection: ClassVar[str]
    indexes: ClassVar[tuple[Index, ...]] = ()
    mutable: ClassVar[bool] = False

    id: str = Field(alias="_id", min_length=1)
    schema_version: int = SCHEMA_VERSION
    created_at: datetime = Field(default_factory=lambda: now())

    def to_mongo(self) -> dict[str, Any]:
        """The document as pymongo takes it."""
        return self.model_dump(by_alias=True)


def now() -> datetime:
    """The time, UTC, in whole milliseconds as MongoDB keeps it."""
    time = datetime.now(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def derive_id(*parts: Any) -> str:
    """A 32-digit hexadecimal id from JSON-able parts: the same parts give the same id everywhere."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack(array: np.ndarray, dtype: str = "<f8") -> bytes:
    """Pack an array as little-endian bytes in C order.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    values = np.ascontiguousarray(array, dtype=dtype)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("array holds a value that is not finite")
    return values.tobytes()


def unpack(data: bytes, columns: int | None = None, dtype: str = "<f8") -> np.ndarray:
    """Unpack bytes of `pack` to shape (N,) or, with `columns`, (N, columns); the array may be written to."""
    values = np.frombuffer(data, dtype=dtype).copy()
    return values if columns is None else values.reshape(-1, columns)
