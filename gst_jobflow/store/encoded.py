"""Documents that one process encodes as BSON and another one inserts, with the fields that the rules of writing need.

The classes have no slots: with them, pickling takes twice as long. Frozen, they would take three times as long to make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

from bson import decode, encode
from bson.raw_bson import RawBSONDocument

from gst_jobflow.documents import Document, Label, Structure
from gst_jobflow.documents.base import now


@cache
def _defaults(model: type[Document]) -> dict[str, Any]:
    """Return all keys of a document in the order of the model, with the values that only few documents change."""
    fields = model.model_fields.items()
    return {field.alias or name: field.get_default(call_default_factory=True) for name, field in fields}


@dataclass
class _Encoded:
    """A document that was valid when it was encoded."""

    model: ClassVar[type[Document]]
    collection: ClassVar[str]
    id: str
    data: bytes

    @classmethod
    def of(cls, document: Any) -> Self:
        """Encode a document."""
        values = {name: getattr(document, name) for name in cls.__match_args__ if name != "data"}
        return cls(data=encode(document.to_mongo()), **values)

    @classmethod
    def of_values(cls, values: dict[str, Any]) -> Self:
        """Encode the document of values whose types are right by construction.

        The model checks every field, which takes several times as long as encoding. Here it is asked only where a
        number is out of bounds, and names it; whatever else were wrong, the server would refuse.

        Raises
        ------
        pydantic.ValidationError
            A number is not finite or out of bounds.
        """
        if not cls._are_sound(values):
            return cls.of(cls.model(**values))
        document = {**_defaults(cls.model), "created_at": now(), **values}
        document["_id"] = document.pop("id")
        return cls(data=encode(document), **{name: values[name] for name in cls.__match_args__ if name != "data"})

    @staticmethod
    def _are_sound(values: dict[str, Any]) -> bool:
        raise NotImplementedError

    def to_mongo(self) -> RawBSONDocument:
        """Return the document as pymongo takes it."""
        return RawBSONDocument(self.data)

    def decode(self) -> Any:
        """Return the document."""
        return self.model.model_validate(decode(self.data))


@dataclass
class EncodedStructure(_Encoded):
    """An encoded structure."""

    model = Structure
    collection = Structure.collection
    group: str
    tags: list[str]
    formula: str
    config_type: str
    n_atoms: int
    min_distance_A: float | None

    @staticmethod
    def _are_sound(values: dict[str, Any]) -> bool:
        closest_A = values["min_distance_A"]
        numbers = (values["density_g_cm3"], values["volume_per_atom_A3"], 1.0 if closest_A is None else closest_A)
        return all(number is not None and 0 < number < math.inf for number in numbers)


@dataclass
class EncodedLabel(_Encoded):
    """An encoded label."""

    model = Label
    collection = Label.collection
    structure_id: str
    fingerprint: str
    state: str
    n_atoms: int
    energy_eV: float | None

    @staticmethod
    def _are_sound(values: dict[str, Any]) -> bool:
        # of finite numbers that are this large the model judges
        energies_eV = values["energy_eV"] + values["energy_per_atom_eV"]
        return math.isfinite(energies_eV + values["max_force_eV_A"] + sum(values["stress_eV_A3"] or ()))
