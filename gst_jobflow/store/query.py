"""Readable filters over collections: `composition=Ge2Sb2Te5 iteration>=3 dmin<2.4`.

A filter is parsed into fields, comparisons and typed values; a user's text never becomes a MongoDB operator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gst_jobflow.documents import Document
from gst_jobflow.errors import InputError, nearest
from gst_jobflow.store.results import collection_of, public

if TYPE_CHECKING:
    from pymongo.database import Database

_CONDITION = re.compile(r"^(?P<field>[A-Za-z_][\w.]*)(?P<operator>!=|>=|<=|=|>|<)(?P<value>.*)$", re.S)
_OPERATORS = {"=": "$eq", "!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt"}
ALIASES = {"id": "_id", "composition": "formula", "dmin": "min_distance_A", "density": "density_g_cm3"}
"""Short names of fields in filters. `composition` also takes any writing of the formula."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "structures": ("id", "formula", "n_atoms", "config_type", "iteration", "min_distance_A", "density_g_cm3"),
    "labels": (
        "id",
        "structure_id",
        "formula",
        "fingerprint",
        "state",
        "energy_per_atom_eV",
        "max_force_eV_A",
        "reason",
    ),
    "datasets": ("id", "name", "fingerprint", "n_members", "counts", "iteration"),
    "potentials": ("id", "name", "elements", "n_densities", "n_functions", "cutoff_A", "rmse.test"),
    "studies": ("id", "name", "kind", "state", "finished_at"),
    "trajectories": ("id", "name", "protocol", "n_atoms", "duration_ps", "state", "final_temperature_K"),
    "cycles": ("id", "device", "formula", "n_atoms", "state", "potential_id"),
    "attempts": ("id", "job_name", "number", "state", "host", "started_at", "ended_at", "reason"),
}
"""Fields that a table shows when none are asked for."""


@dataclass(frozen=True)
class Query:
    """A checked query: MongoDB filter, order and limit."""

    model: type[Document]
    where: dict[str, Any]
    sort: list[tuple[str, int]]
    limit: int

    def count(self, database: Database) -> int:
        """How many documents match."""
        return database[self.model.collection].count_documents(self.where)

    def documents(self, database: Database) -> Iterator[dict[str, Any]]:
        """The documents as programs read them (`id`; packed arrays left out)."""
        packed = {name: 0 for name, field in self.model.model_fields.items() if "bytes" in str(field.annotation)}
        cursor = database[self.model.collection].find(self.where, packed or None).sort(self.sort).limit(self.limit)
        for document in cursor:
            yield public(document)


def make_query(collection: str, conditions: Iterable[str] = (), sort: str | None = None, limit: int = 0) -> Query:
    """Check and build a query.

    Parameters
    ----------
    collection
        Name of the collection.
    conditions
        Texts of conditions, each `field=value` or several apart by blanks; operators = != > >= < <=. A list field
        matches when one of its values does.
    sort
        Field to sort by, with `-` in front for falling order; newest first when none is given.
    limit
        At most this many; 0 for all.

    Raises
    ------
    InputError
        An unknown collection or field, or a condition or value that cannot be read.
    """
    model = collection_of(collection)
    where: dict[str, Any] = {}
    for condition in (part for text in conditions for part in text.split()):
        field, comparison, value = _parse(model, condition)
        where.setdefault(field, {})[comparison] = value
    order = [("created_at", -1)]
    if sort:
        order = [(_field(model, sort.removeprefix("-")), -1 if sort.startswith("-") else 1)]
    return Query(model, where, order, limit)


def _parse(model: type[Document], condition: str) -> tuple[str, str, Any]:
    match = _CONDITION.match(condition)
    if match is None:
        raise InputError(f"cannot read the condition '{condition}'", "write field=value with one of = != > >= < <=")
    field = _field(model, match["field"])
    value = _formula(match["value"]) if match["field"] == "composition" else _value(model, field, match["value"])
    return field, _OPERATORS[match["operator"]], value


def _field(model: type[Document], name: str) -> str:
    """The stored path of a field; paths into sub-documents (`rmse.test.force_meV_per_A`) need a known first part."""
    path = ALIASES.get(name, name)
    first = path.split(".")[0]
    if first != "_id" and first not in model.model_fields:
        known = sorted({*model.model_fields, *ALIASES} - {"schema_version"})
        raise InputError(f"{model.collection} have no field '{name}'", nearest(first, known))
    return path


def _value(model: type[Document], field: str, text: str) -> Any:
    annotation = "" if field == "_id" else str(model.model_fields[field.split(".")[0]].annotation)
    words = ("<class 'str'>", "str | None", "list[str]")
    if field == "_id" or ("." not in field and (annotation in words or annotation.startswith("typing.Literal"))):
        return text
    if "datetime" in annotation:
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as err:
            raise InputError(f"'{text}' is not a time", f"write {field} as 2026-01-31 or 2026-01-31T12:00:00Z") from err
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if annotation in ("<class 'int'>", "<class 'float'>", "float | None", "int | None"):
        raise InputError(f"'{text}' is not a number", f"{field} is one")
    return {"true": True, "false": False, "null": None}.get(text.lower(), text)


def _formula(text: str) -> str:
    from gst_jobflow.structures.composition import parse_formula, reduced_formula

    return reduced_formula(parse_formula(text))


def pick(document: dict[str, Any], path: str) -> Any:
    """The value at a dotted path of a public document; None where there is none."""
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
