"""Documents that one process encodes as BSON and another one inserts, with the fields that the rules of writing need.

The classes have no slots: with them, pickling takes twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gst_jobflow.documents import Document, Label, Structure

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument


@dataclass(frozen=True)
class _Encoded:
    """A document that was valid when it was encoded."""

    model: ClassVar[type[Document]]
    collection: ClassVar[str]
    id: str
    data: bytes

    @classmethod
    def of(cls, document: Any) -> Self:
        """Encode a document."""
        from bson import encode

        values = {name: getattr(document, name) for name in cls.__match_args__ if name != "data"}
        return cls(data=encode(document.to_mongo()), **values)

    def to_mongo(self) -> RawBSONDocument:
        """Return the document as pymongo takes it."""
        from bson.raw_bson import RawBSONDocument

        return RawBSONDocument(self.data)

    def decode(self) -> Any:
        """Return the document."""
        from bson import decode

        return self.model.model_validate(decode(self.data))


@dataclass(frozen=True)
class EncodedStructure(_Encoded):
    """An encoded structure."""

    model = Structure
    collection = Structure.collection
    group: str
    tags: list[str]


@dataclass(frozen=True)
class EncodedLabel(_Encoded):
    """An encoded label."""

    model = Label
    collection = Label.collection
    structure_id: str
    fingerprint: str
    state: str
    n_atoms: int
    energy_eV: float | None
