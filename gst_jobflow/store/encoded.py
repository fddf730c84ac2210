"""Documents as BSON, made in one process and put in by another, with what the rules of putting in look at.

The classes have no slots: with them it takes twice as long to pickle them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gst_jobflow.documents import Label, Structure

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument


@dataclass(frozen=True)
class EncodedStructure:
    """A structure; it was a valid `Structure` when it was encoded."""

    collection: ClassVar[str] = Structure.collection
    id: str
    group: str
    tags: list[str]
    data: bytes

    @classmethod
    def of(cls, structure: Structure) -> EncodedStructure:
        """Encode a structure."""
        return cls(structure.id, structure.group, structure.tags, _encode(structure.to_mongo()))

    def to_mongo(self) -> RawBSONDocument:
        """Return the document as pymongo takes it."""
        return _raw(self.data)

    def decode(self) -> Structure:
        """Decode the structure."""
        from bson import decode

        return Structure.model_validate(decode(self.data))


@dataclass(frozen=True)
class EncodedLabel:
    """A label; it was a valid `Label` when it was encoded."""

    collection: ClassVar[str] = Label.collection
    id: str
    structure_id: str
    fingerprint: str
    state: str
    n_atoms: int
    energy_eV: float | None
    data: bytes

    @classmethod
    def of(cls, label: Label) -> EncodedLabel:
        """Encode a label."""
        return cls(
            label.id,
            label.structure_id,
            label.fingerprint,
            label.state,
            label.n_atoms,
            label.energy_eV,
            _encode(label.to_mongo()),
        )

    def to_mongo(self) -> RawBSONDocument:
        """Return the document as pymongo takes it."""
        return _raw(self.data)

    def decode(self) -> Label:
        """Decode the label."""
        from bson import decode

        return Label.model_validate(decode(self.data))


def _encode(fields: dict[str, Any]) -> bytes:
    from bson import encode

    return encode(fields)


def _raw(data: bytes) -> RawBSONDocument:
    from bson.raw_bson import RawBSONDocument

    return RawBSONDocument(data)
