"""Query collections by readable conditions: `composition=Ge2Sb2Te5 iteration>=3 dmin<2.4`.

Conditions are parsed into fields, comparisons and typed values; a user's text never becomes a MongoDB operator.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pymongo.database import Database

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.settings import Project
from gst_jobflow.documents import Document, Label, Structure, unpack
from gst_jobflow.store.counts import by_index
from gst_jobflow.store.label_join import label_ids, label_pipeline
from gst_jobflow.store.prefixes import by_values
from gst_jobflow.store.results import Results, model_of, public
from gst_jobflow.structures.composition import parse_formula, reduced_formula

if TYPE_CHECKING:
    # most queries need no numpy
    from ase import Atoms

_CONDITION = re.compile(r"^(?P<field>[A-Za-z_][\w.]*)(?P<operator>!=|>=|<=|=|>|<|~)(?P<value>.*)$", re.S)
_PATH = re.compile(r"^[A-Za-z_]\w*(\.\w+)*$", re.ASCII)
_OPERATORS = {"=": "$eq", "!=": "$ne", ">=": "$gte", "<=": "$lte", ">": "$gt", "<": "$lt"}
_OF_SEVERAL = {"=": "$in", "!=": "$nin"}
_INT64 = 2**63
_BATCH = 500
ALIASES = {"id": "_id", "composition": "formula", "dmin": "min_distance_A", "density": "density_g_cm3"}
"""Short names of fields in filters. `composition` also takes any writing of the formula."""
_OWNERS: dict[str, type[Document]] = {"label": Label, "structure": Structure}
_COPIED = ("formula", "config_type", "n_atoms")
"""Fields that a label has from its structure, which never changes them."""

_COLUMNS = {
    "structures": "id formula n_atoms config_type iteration min_distance_A density_g_cm3",
    "labels": "id structure_id formula fingerprint state energy_per_atom_eV max_force_eV_A reason",
    "datasets": "id name fingerprint n_members counts iteration",
    "potentials": "id name elements n_densities n_functions cutoff_A rmse.test speed.us_per_atom_step converged",
    "studies": "id name kind state finished_at",
    "trajectories": "id name protocol n_atoms duration_ps state final_temperature_K",
    "cycles": "id device formula n_atoms state potential_id",
    "attempts": "id job_name number state host started_at ended_at reason",
}
COLUMNS = {name: tuple(words.split()) for name, words in _COLUMNS.items()}
"""Fields that a table shows by default."""

_NUMBERS = {
    "structures": "n_atoms min_distance_A density_g_cm3",
    "labels": "energy_per_atom_eV max_force_eV_A wall_s",
    "datasets": "n_members n_atoms",
    "potentials": "rmse.test.energy_meV_per_atom rmse.test.force_meV_per_A n_functions speed.us_per_atom_step",
    "studies": "",
    "trajectories": "n_atoms duration_ps final_temperature_K cost.core_hours",
    "cycles": "n_atoms",
    "attempts": "number",
}
NUMBERS = {name: tuple(words.split()) for name, words in _NUMBERS.items()}
"""Fields whose smallest, mean and largest value a summary shows by default."""


@dataclass(frozen=True)
class Query:
    """A checked query: MongoDB filter, order and limit; of labels also a filter on their structures."""

    model: type[Document]
    where: dict[str, Any]
    sort: list[tuple[str, int]]
    limit: int
    structures: dict[str, Any] = field(default_factory=dict)

    def count(self, database: Database, at_most: int = 0) -> int:
        """Count matching documents, at most `at_most`, since counting a million is slow."""
        if self.structures:
            return sum(1 for _ in label_ids(database, self.where, self.structures, [], at_most))
        limit: dict[str, Any] = {"limit": at_most} if at_most else {}
        return database[self.model.collection].count_documents(self.where, **limit)

    def aggregate(self, database: Database, stages: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """Run the stages of a pipeline on the server over all documents that match, in any order."""
        if self.structures:
            collection, first = label_pipeline(database, self.where, self.structures)
            return collection.aggregate([*first, *stages])
        return database[self.model.collection].aggregate([{"$match": self.where}, *stages])

    def cursor(self, database: Database, fields: dict[str, int] | None = None) -> Iterator[dict[str, Any]]:
        """Return the stored documents in order."""
        stored = database[self.model.collection]
        if self.structures:
            return self._joined(database, fields)
        where = by_values(stored, self.model, self.where, self.sort)
        return stored.find(where, fields).sort(self.sort).limit(self.limit)

    def _joined(self, database: Database, fields: dict[str, int] | None) -> Iterator[dict[str, Any]]:
        ids = label_ids(database, self.where, self.structures, self.sort, self.limit)
        for batch in batches(ids, _BATCH):
            found = {label["_id"]: label for label in database["labels"].find({"_id": {"$in": batch}}, fields)}
            yield from (found[id] for id in batch if id in found)

    def documents(self, database: Database) -> Iterator[dict[str, Any]]:
        """Yield the documents for output: with `id` and without packed arrays."""
        packed = {name: 0 for name, field in self.model.model_fields.items() if "bytes" in str(field.annotation)}
        for document in self.cursor(database, packed or None):
            yield public(document)


def make_query(collection: str, conditions: Iterable[str] = (), sort: str | None = None, limit: int = 0) -> Query:
    """Check and build a query.

    Parameters
    ----------
    conditions
        Each `field=value`, or several separated by blanks; operators = != > >= < <=, and ~ for the beginning of a text.
        `field=a,b` matches either value, `field!=a,b` neither; a comma within a value follows a backslash. A list field
        matches when one of its values does.
    sort
        Field to sort by, with `-` in front for descending order; None: newest first.
    limit
        Return at most this many; 0: all.

    Raises
    ------
    InputError
        The collection or a field is unknown, or a condition or value cannot be read.
    """
    model = model_of(collection)
    structures: dict[str, Any] = {}
    if model is Label:
        where, structures = label_filters(conditions)
    else:
        where = _filter(model, _apart(conditions))
    order = [("created_at", -1)]
    if sort:
        order = [(field_path(model, sort.removeprefix("-")), -1 if sort.startswith("-") else 1)]
    return Query(model, where, order, limit, structures)


def label_filters(
    conditions: Iterable[str], first: type[Label | Structure] = Label
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split conditions on labels and on their structures into a MongoDB filter for each.

    Parameters
    ----------
    conditions
        As `make_query` takes them, on fields of either collection; `label.` or `structure.` before a field says whose
        it is.
    first
        Whose the fields are that both have. `formula`, `config_type` and `n_atoms` are the same in both; `id` and
        `created_at` are not, and are refused without a prefix beside conditions on the other of the two.

    Raises
    ------
    InputError
        As `make_query`, or a field that both have and that could be meant of either.
    """
    parts: dict[type[Document], list[str]] = {Label: [], Structure: []}
    unclear, mixed = "", False
    for condition in _apart(conditions):
        name = _match(condition)["field"]
        prefix, _, rest = name.partition(".")
        if prefix in _OWNERS and rest:
            model, condition = _OWNERS[prefix], condition.removeprefix(f"{prefix}.")
        else:
            owners = _owners(name)
            model = first if first in owners else owners[0]
            if len(owners) == 2 and _root(name) not in _COPIED:
                unclear = name
        mixed |= model is not first
        parts[model].append(condition)
    if unclear and mixed:
        raise InputError(
            f"'{unclear}' may be that of the label or of its structure", f"write label.{unclear} or structure.{unclear}"
        )
    return _filter(Label, parts[Label]), _filter(Structure, parts[Structure])


def structures_where(database: Database, conditions: Iterable[str]) -> list[str]:
    """Return the sorted ids of the structures that meet conditions, as `make_query` takes them."""
    found = database["structures"].find(make_query("structures", conditions).where, {"_id": 1})
    return sorted(structure["_id"] for structure in found)


def _owners(name: str) -> list[type[Document]]:
    """Return which of labels and structures have a field."""
    owners: list[type[Document]] = [each for each in (Label, Structure) if _root(name) in each.model_fields]
    if not owners:
        known = {*Label.model_fields, *Structure.model_fields, *ALIASES} - {"schema_version"}
        raise InputError(f"neither labels nor their structures have a field '{name}'", nearest(_root(name), known))
    return owners


def _root(name: str) -> str:
    path = ALIASES.get(name, name)
    return "id" if path == "_id" else path.partition(".")[0]


def _apart(conditions: Iterable[str]) -> Iterator[str]:
    return (part for text in conditions for part in text.split())


def _filter(model: type[Document], conditions: Iterable[str]) -> dict[str, Any]:
    where: dict[str, Any] = {}
    for condition in conditions:
        field, comparison, value = _parse(model, condition)
        if comparison in where.get(field, {}):
            # both conditions of one kind on one field hold: a list may have both values
            where.setdefault("$and", []).append({field: {comparison: value}})
        else:
            where.setdefault(field, {})[comparison] = value
    return where


def _match(condition: str) -> re.Match[str]:
    match = _CONDITION.match(condition)
    if match is None:
        raise InputError(f"cannot read the condition '{condition}'", "write field=value with one of = != > >= < <= ~")
    return match


def _parse(model: type[Document], condition: str) -> tuple[str, str, Any]:
    match = _match(condition)
    field, operator = field_path(model, match["field"]), match["operator"]
    if operator == "~":
        return field, "$regex", _prefix(model, field, match["value"])
    texts = [text.replace("\\,", ",") for text in re.split(r"(?<!\\),", match["value"])]
    is_formula = match["field"] == "composition"
    values = [reduced_formula(parse_formula(text)) if is_formula else _value(model, field, text) for text in texts]
    if len(values) == 1:
        return field, _OPERATORS[operator], values[0]
    if operator not in _OF_SEVERAL:
        raise InputError(f"'{condition}' compares with several values", "only = and != take several")
    return field, _OF_SEVERAL[operator], values


def _prefix(model: type[Document], field: str, text: str) -> str:
    """Return an anchored pattern for plain text; all special characters are escaped."""
    if not _is_text(_leaf(model, field)):
        raise InputError(f"{field} is not text", "~ compares the beginning of a text; use = != > >= < <=")
    if not text or "\0" in text:
        raise InputError(f"cannot look for {field} that begins with {text!r}", f"for example {field}~abc")
    return "^" + re.escape(text)


def field_path(model: type[Document], name: str) -> str:
    """Return the stored path of a field; InputError, with the nearest name, if the documents have no such field.

    Free-form fields (`source`, `plan`) accept any name below them.
    """
    path = ALIASES.get(name, name)
    if not _PATH.match(path):
        raise InputError(f"'{name}' is not the name of a field", "names are letters, digits and _, joined by dots")
    if _leaf(model, path) is bytes:
        raise InputError(
            f"{name} holds packed numbers, which no condition can compare", "read it with find() or unpack()"
        )
    return path


def _leaf(model: type[Document], path: str) -> Any:
    """Return the type at a path, of a list that of its items; `Any` below free-form fields."""
    annotation: Any = model
    for part in path.split("."):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if part == "_id" and annotation is model:
                annotation = str
                continue
            if part not in annotation.model_fields:
                known = {*annotation.model_fields} - {"schema_version"}
                known |= set(ALIASES) if annotation is model else set()
                raise InputError(f"{model.collection} have no field '{path}'", nearest(part, known))
            annotation = annotation.model_fields[part].annotation
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        else:
            return Any
        annotation = _held(annotation)
    return annotation


def _held(annotation: Any) -> Any:
    """Return the type without None, of a list that of its items."""
    options = [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
    if len(options) != 1:
        return Any
    return _held(get_args(options[0])[0]) if get_origin(options[0]) is list else options[0]


def _may_be_list(model: type[Document], path: str) -> bool:
    """Whether the path may go through a list, which a path into a part of a document may."""
    field = model.model_fields.get(path)
    return field is None or "list" in str(field.annotation)


def _is_text(annotation: Any) -> bool:
    return annotation is str or get_origin(annotation) is Literal


def _value(model: type[Document], field: str, text: str) -> Any:
    """Convert text to the field's type, below free-form fields to the type that it looks like."""
    annotation = _leaf(model, field)
    if _is_text(annotation):
        return text
    if text.lower() == "null":
        return None
    if annotation is datetime:
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError as err:
            raise InputError(f"'{text}' is not a time", f"write {field} as 2026-01-31 or 2026-01-31T12:00:00Z") from err
    number = _number(text)
    if number is not None:
        return number
    if annotation in (int, float):
        raise InputError(f"'{text}' is not a number", f"{field} is one")
    return {"true": True, "false": False}.get(text.lower(), text)


def _number(text: str) -> int | float | None:
    """Return the finite number in the text, if the server can hold it; else None."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if isinstance(number, int) and abs(number) < _INT64:
            return number
        if math.isfinite(number):
            return float(number)
    return None


def summarise_groups(
    database: Database, query: Query, group_by: str, numbers: Iterable[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Count documents by groups and summarise their numbers, on the server.

    Parameters
    ----------
    group_by
        Field whose values make the groups; a list counts once for each of its values.
    numbers
        Numeric fields to summarise; None: those of `NUMBERS`.

    Yields
    ------
    dict
        `group`, `count`, and for each number `{"min", "mean", "max"}` (None if no document has it); largest group
        first.

    Raises
    ------
    InputError
        A field is unknown or not a number.
    """
    model = query.model
    path = field_path(model, group_by)
    chosen = list(NUMBERS[model.collection] if numbers is None else numbers)
    fields = [field_path(model, name) for name in chosen]
    for name, stored in zip(chosen, fields, strict=True):
        if _leaf(model, stored) not in (int, float, Any):
            raise InputError(f"{name} is no number", f"for example {', '.join(NUMBERS[model.collection]) or 'none'}")
    group: dict[str, Any] = {"_id": f"${path}", "count": {"$sum": 1}}
    for place, stored in enumerate(fields):
        # names of accumulators must not hold dots, so they are numbered
        group |= {f"{word}{place}": {f"${word}": f"${stored}"} for word in ("min", "avg", "max")}
    pipeline: list[dict[str, Any]] = []
    if _may_be_list(model, path):
        pipeline.append({"$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": True}})
    pipeline += [{"$group": group}, {"$sort": {"count": -1, "_id": 1}}]
    if query.limit:
        pipeline.append({"$limit": query.limit})
    return _groups(database, query, path, chosen, pipeline)


def _groups(
    database: Database, query: Query, path: str, chosen: list[str], pipeline: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    stored = database[query.model.collection]
    counts = None
    if not (chosen or query.limit or query.structures):
        counts = by_index(stored, query.model, query.where, path)
    for found in query.aggregate(database, pipeline) if counts is None else counts:
        measured = {
            name: {"min": found[f"min{place}"], "mean": found[f"avg{place}"], "max": found[f"max{place}"]}
            for place, name in enumerate(chosen)
        }
        yield {"group": found["_id"], "count": found["count"], **measured}


def find(
    where: Project | Results,
    what: str | type[Document],
    conditions: str | Iterable[str] = "",
    /,
    *,
    sort: str | None = None,
    limit: int = 0,
) -> Iterator[Any]:
    """Stream typed documents: `find(project, "structures", "composition=Ge2Sb2Te5 dmin<2.4")`.

    Conditions, `sort` and `limit` are those of `make_query`; an invalid query raises InputError at once, not at the
    first document.
    """
    texts = [conditions] if isinstance(conditions, str) else conditions
    query = make_query(what if isinstance(what, str) else what.collection, texts, sort, limit)
    results = where if isinstance(where, Results) else Results.open(where)
    return _models(results.database, query)


def _models(database: Database, query: Query) -> Iterator[Any]:
    for found in query.cursor(database):
        yield query.model.model_validate(found)


def frames(results: Results, query: Query) -> Iterator[Atoms]:
    """Stream the atoms of structures or of converged labels; InputError, at once, for documents without atoms.

    `info` holds `structure_id` and `config_type`, of labels also `label_id` and `fingerprint`. Atoms of labels have a
    `SinglePointCalculator` with energy (eV), forces (eV/Å) and, if computed, stress (eV/Å³, Voigt).
    """
    from gst_jobflow.store.atoms import atoms_of

    if query.model is Structure:
        return (atoms_of(structure, results.artifacts) for structure in _models(results.database, query))
    if query.model is Label:
        return _labelled(results, query)
    raise InputError(f"{query.model.collection} hold no atoms", "use extxyz for structures and labels")


def _labelled(results: Results, query: Query) -> Iterator[Atoms]:
    from ase.calculators.singlepoint import SinglePointCalculator

    from gst_jobflow.store.atoms import atoms_of

    converged = {"$and": [query.where, {"state": "converged"}]}
    labels = _models(results.database, replace(query, where=converged))
    for batch in batches(labels, _BATCH):
        structures = results.get_many(Structure, [label.structure_id for label in batch])
        for label, structure in zip(batch, structures, strict=True):
            atoms = atoms_of(structure, results.artifacts)
            atoms.info.update(label_id=label.id, fingerprint=label.fingerprint, config_type=label.config_type)
            values = {"energy": label.energy_eV, "forces": unpack(label.forces, 3)}
            if label.stress_eV_A3 is not None:
                values["stress"] = label.stress_eV_A3
            atoms.calc = SinglePointCalculator(atoms, **values)
            yield atoms


def value_at(document: dict[str, Any], path: str) -> Any:
    """Return the value at a dotted path (or short name) of a public document; None if there is none."""
    if path == "_id":
        path = "id"
    elif path not in document:
        path = ALIASES.get(path, path)
    value: Any = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
