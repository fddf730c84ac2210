"""Tables of the newest documents of a collection, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from markupsafe import Markup
from pymongo.database import Database

from gst_jobflow.base.words import counted
from gst_jobflow.documents import DOCUMENTS
from gst_jobflow.report import words
from gst_jobflow.report.pages.elements import Table

Stored = dict[str, Any]
Names = dict[str, str]

PER_PAGE = 50
_MOST_SKIPPED = 1_000_000
SHORT_ID = 12
"""Characters of an id in a table."""


@dataclass(frozen=True)
class Listing:
    """How documents of a collection are listed.

    Attributes
    ----------
    fields
        What is read of each document.
    columns
        Names of the columns.
    row
        Cells of a document; it gets the names of the documents that `named` gives.
    numeric
        Right-aligned columns.
    named
        Collection and field of ids whose names are shown.
    choices
        Field by which the list can be narrowed, and its values.
    """

    fields: Sequence[str]
    columns: Sequence[str]
    row: Callable[[Stored, Names], list[Any]]
    numeric: frozenset[int] = frozenset()
    named: Sequence[tuple[str, str]] = ()
    choices: tuple[str, Sequence[str]] = ("", ())


@dataclass(frozen=True)
class ListedPage:
    """A page of a list: `number` counts from 1; `total` of the list or, where it is narrowed, of what is left."""

    table: Table
    number: int
    pages: int
    total: int
    choice: str = ""
    choices: Sequence[str] = field(default_factory=tuple)


def link(collection: str, id: str | None, text: str = "") -> Any:
    """Return a link to the page of a document; a dash without one."""
    if not id:
        return "–"
    return Markup('<a href="/document/{}/{}">{}</a>').format(collection, id, text or id[:SHORT_ID])


def state(text: str) -> Any:
    """Return a state as a coloured word."""
    return Markup('<span class="state {}">{}</span>').format(text, text)


def list_page(
    database: Database, collection: str, number: int, choice: str = "", where: Stored | None = None
) -> ListedPage:
    """Return a page of a list, newest documents first.

    Pages count from 1; a later `number` than the last gives the last. `choice` is a value of the field by which the
    list is narrowed, `where` are further conditions on indexed fields.
    """
    listing, stored = LISTINGS[collection], database[collection]
    name, values = listing.choices
    condition = dict(where or {})
    if choice in values:
        condition[name] = choice
    total = stored.count_documents(condition) if condition else stored.estimated_document_count()
    pages = max(1, -(-min(total, _MOST_SKIPPED) // PER_PAGE))
    number = min(max(number, 1), pages)
    found = list(
        stored.find(condition, dict.fromkeys(listing.fields, 1))
        .sort("created_at", -1)
        .skip((number - 1) * PER_PAGE)
        .limit(PER_PAGE)
    )
    names = _names(database, listing, found)
    rows = [listing.row(document, names) for document in found]
    table = Table([*listing.columns], rows, listing.numeric)
    return ListedPage(table, number, pages, total, choice if choice in values else "", values)


def _names(database: Database, listing: Listing, found: list[Stored]) -> Names:
    names: Names = {}
    for collection, path in listing.named:
        ids = sorted({each[path] for each in found if each.get(path)})
        if ids:
            found_there = database[collection].find({"_id": {"$in": ids}}, {"name": 1})
            names |= {each["_id"]: each["name"] for each in found_there}
    return names


def time_cell(time: datetime | None, *, seconds: bool = False) -> Any:
    """Return a UTC time that a table does not break into lines."""
    return Markup('<span class="t">{}</span>').format(words.moment(time)[: 19 if seconds else 16]) if time else "–"


def _dataset(each: Stored, names: Names) -> list[Any]:
    counts = each["counts"]
    by_type = {name for types in each["counts_by_config_type"].values() for name in types}
    return [
        link("datasets", each["_id"], each["name"]), f"{each['n_members']:,}", f"{counts.get('train', 0):,}",
        f"{counts.get('test', 0):,}", f"{each['n_atoms']:,}", ", ".join(sorted(by_type)).replace("_", " "),
        each["fingerprint"], link("datasets", each.get("parent_id"), names.get(each.get("parent_id") or "", "")),
        time_cell(each["created_at"]),
    ]  # fmt: skip


def _potential(each: Stored, names: Names) -> list[Any]:
    test, speed = each.get("rmse", {}).get("test"), each.get("speed")
    errors = [f"{test['energy_meV_per_atom']:.2f}", f"{test['force_meV_per_A']:.1f}"] if test else ["–", "–"]
    dataset, parent = each.get("dataset_id"), each.get("parent_id")
    return [
        link("potentials", each["_id"], each["name"]), each["kind"].upper(), " ".join(each["elements"]),
        words.number(each["n_densities"]), f"{each['n_functions']:,}", f"{each['cutoff_A']:g}", *errors,
        f"{speed['us_per_atom_step']:.3g}" if speed else "–",
        link("datasets", dataset, names.get(dataset or "", "")),
        link("potentials", parent, names.get(parent or "", "")), time_cell(each["created_at"]),
    ]  # fmt: skip


def _cycle(each: Stored, names: Names) -> list[Any]:
    chip = '<span class="flow {}">{}</span>'
    chips = [Markup(chip).format(operation["kind"], operation["kind"]) for operation in each["operations"]]
    done = sum(operation["state"] in ("finished", "skipped") for operation in each["operations"])
    return [
        link("cycles", each["_id"], each["name"]), state(each["state"]), each["device"], words.formula(each["formula"]),
        f"{each['n_atoms']:,}", f"{done} of {len(chips)}", Markup(" ").join(chips),
        link("potentials", each["potential_id"], names.get(each["potential_id"], "")), time_cell(each["created_at"]),
    ]  # fmt: skip


def _study(each: Stored, names: Names) -> list[Any]:
    ended = each.get("finished_at")
    return [
        link("studies", each["_id"], each["name"]), each["kind"], state(each["state"]), time_cell(each["created_at"]),
        time_cell(ended),
    ]  # fmt: skip


def attempt_row(each: Stored, names: Names) -> list[Any]:
    """Return the cells of an attempt."""
    ended = each.get("ended_at")
    took = words.duration((ended - each["started_at"]).total_seconds()) if ended else "–"
    what = ": ".join(part for part in (each.get("failure_class"), each.get("reason")) if part)
    host = " ".join(str(part) for part in (each["host"], each.get("slurm_job_id")) if part)
    return [
        link("attempts", each["_id"], each["job_name"]), "–" if each.get("fw_id") is None else str(each["fw_id"]),
        str(each["number"]), state(each["state"]), time_cell(each["started_at"], seconds=True), took, host, what,
    ]  # fmt: skip


ATTEMPT_FIELDS = ("job_name", "fw_id", "number", "state", "host", "slurm_job_id", "started_at", "ended_at",
                  "failure_class", "reason")  # fmt: skip
ATTEMPT_COLUMNS = ("job", "firework", "attempt", "state", "started (UTC)", "took", "host", "reason")
_KINDS = ("iteration", "robustness", "ablation", "hyperopt", "scaling", "validation", "evaluation", "ensemble",
          "analysis", "demo")  # fmt: skip

LISTINGS = {
    "datasets": Listing(
        ("name", "n_members", "counts", "counts_by_config_type", "n_atoms", "fingerprint", "parent_id", "created_at"),
        ("dataset", "labels", "train", "test", "atoms", "config types", "method", "changed from", "made (UTC)"),
        _dataset,
        frozenset({1, 2, 3, 4}),
        (("datasets", "parent_id"),),
    ),
    "potentials": Listing(
        ("name", "kind", "elements", "n_densities", "n_functions", "cutoff_A", "rmse.test", "speed", "dataset_id",
         "parent_id", "created_at"),
        ("potential", "kind", "elements", "P", "functions", "cutoff (Å)", "energy (meV/atom)", "forces (meV/Å)",
         "µs/atom/step", "dataset", "upfitted from", "made (UTC)"),
        _potential,
        frozenset(range(3, 9)),
        (("datasets", "dataset_id"), ("potentials", "parent_id")),
    ),
    "cycles": Listing(
        ("name", "state", "device", "formula", "n_atoms", "operations.kind", "operations.state", "potential_id",
         "created_at"),
        ("cycle", "state", "device", "composition", "atoms", "done", "operations", "potential", "made (UTC)"),
        _cycle,
        frozenset({4}),
        (("potentials", "potential_id"),),
    ),
    "studies": Listing(
        ("name", "kind", "state", "created_at", "finished_at"),
        ("study", "kind", "state", "begun (UTC)", "finished (UTC)"),
        _study,
        choices=("kind", _KINDS),
    ),
    "attempts": Listing(
        (*ATTEMPT_FIELDS, "created_at"),
        ATTEMPT_COLUMNS,
        attempt_row,
        frozenset({1, 2, 5}),
        choices=("state", ("running", "failed", "lost")),
    ),
}  # fmt: skip
"""How each collection with a page is listed."""


def heading(collection: str, total: int) -> str:
    """Return the number of documents in words."""
    return counted(total, DOCUMENTS[collection].__name__.lower(), collection)
