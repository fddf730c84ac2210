"""The page of one document: what `gst show` says, tables of its kind, figures, lineage and files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import IO, Any

from markupsafe import Markup
from pymongo.database import Database

from gst_jobflow.base.strict import flattened
from gst_jobflow.base.words import size
from gst_jobflow.documents import DOCUMENTS, Cycle, Potential, Study
from gst_jobflow.report import words
from gst_jobflow.report.collect import CycleData
from gst_jobflow.report.pages.elements import PagePart, Table
from gst_jobflow.report.pages.sections import plain_table, study_parts
from gst_jobflow.report.pages.study import errors_table, operations_table
from gst_jobflow.report.web.figures import figures_of
from gst_jobflow.report.web.listing import SHORT_ID, heading, link, state, time_cell
from gst_jobflow.store import Results
from gst_jobflow.store.files.references import files_of
from gst_jobflow.store.lineage import Lineage, Link, lineage

logger = logging.getLogger(__name__)

_DRAWN = ("datasets", "potentials", "studies", "trajectories", "cycles")
_SETTINGS = ("plan", "config", "cell", "settings", "selection", "split", "method", "source", "versions")
_READABLE = {
    "n_atoms": "atoms", "n_members": "labels", "n_densities": "densities P", "n_functions": "functions",
    "cutoff_A": "cutoff (Å)", "speed.us_per_atom_step": "time a step (µs/atom)",
    "min_distance_A": "closest contact (Å)", "density_g_cm3": "density (g/cm³)",
    "energy_per_atom_eV": "energy (eV/atom)", "max_force_eV_A": "largest force (eV/Å)",
    "duration_ps": "duration (ps)", "final_temperature_K": "temperature at the end (K)", "wall_s": "wall time (s)",
    "structure_id": "structure", "potential_id": "potential", "created_at": "made", "fingerprint": "method",
}  # fmt: skip
"""Names of fields for people."""
_GENERATIONS = 8
_CHILDREN = 60
_LONGEST = 400


def document_page(results: Results, collection: str, id: str, version: str) -> dict[str, Any]:
    """Return the content of the page of a document that exists; its figures are asked for with `version`."""
    found = lineage(results, id, collection)
    document = results.get(DOCUMENTS[collection], id) if collection in _DRAWN else None
    kind = DOCUMENTS[collection].__name__.lower()
    stored = (
        results.database[collection].find_one({"_id": id}, dict.fromkeys((*_SETTINGS, "name", "job_name"), 1)) or {}
    )
    return {
        "kind": f"{document.kind} study" if isinstance(document, Study) else kind,
        "name": stored.get("name") or stored.get("job_name") or f"{kind} {id[:SHORT_ID]}",
        "state": found.summary.get("state", ""),
        "id": id,
        "collection": collection,
        "facts": [(_READABLE.get(name, name.replace("_", " ")), _text(value)) for name, value in _facts(found)],
        "parts": _parts(document),
        "figures": figures_of(results, document) if document is not None else [],
        "version": version,
        "tree": _tree(results.database, collection, id) if collection in ("potentials", "datasets") else [],
        "origins": [_link_row(results.database, each) for each in found.origins],
        "made": [_link_row(results.database, each) for each in found.made],
        "attempts": _attempts(found),
        "files": _files(found),
        "settings": [
            (field, rows) for field in _SETTINGS if (rows := _flat(stored.get(field)))
        ],
    }  # fmt: skip


def _facts(found: Lineage) -> Iterator[tuple[str, Any]]:
    left_out = ("id", "name", "state", "rmse.test", "kind", *_SETTINGS)
    yield from ((name, value) for name, value in found.summary.items() if name not in left_out)
    yield from found.cost.items()


def _parts(document: Any) -> list[PagePart]:
    """Return the tables of a kind of document; one that is incomplete says so."""
    try:
        if isinstance(document, Cycle):
            return [
                PagePart("Operations", table=operations_table(CycleData(document, [None] * len(document.operations))))
            ]
        if isinstance(document, Potential):
            table = errors_table(document)
            return [PagePart("Root-mean-square errors", table=table)] if table else []
        return study_parts(document) if isinstance(document, Study) else []
    except Exception as err:
        # a study that failed or was made by hand may lack what its kind promises
        logger.warning("tables of %s: %s: %s", document.id, type(err).__name__, err)
        table = plain_table(document) if isinstance(document, Study) else None
        return [PagePart("Results", "This document lacks a part of what its kind usually holds.", table)]


def _tree(database: Database, collection: str, id: str) -> list[tuple[int, str, str, bool]]:
    """Return ancestors, the document and what was made from it: depth, id, name, and whether it is the document."""
    stored, fields = database[collection], {"name": 1, "parent_id": 1}
    line: list[dict[str, Any]] = []
    above = stored.find_one({"_id": id}, fields)
    while above is not None and len(line) < _GENERATIONS and above["_id"] not in [each["_id"] for each in line]:
        line.insert(0, above)
        above = stored.find_one({"_id": above["parent_id"]}, fields) if above.get("parent_id") else None
    rows = [(depth, each["_id"], each["name"], each["_id"] == id) for depth, each in enumerate(line)]
    seen = {each["_id"] for each in line}

    def descend(parent: str, depth: int) -> None:
        for child in stored.find({"parent_id": parent}, fields).limit(_CHILDREN):
            if child["_id"] not in seen and len(rows) < _CHILDREN and depth < 2 * _GENERATIONS:
                seen.add(child["_id"])
                rows.append((depth, child["_id"], child["name"], False))
                descend(child["_id"], depth + 1)

    descend(id, len(line))
    return rows if len(rows) > 1 else []


def _link_row(database: Database, each: Link) -> tuple[str, str, list[Any], str]:
    """Return relation, number and collection, links by name, and further words."""
    named = "name" in DOCUMENTS[each.collection].model_fields
    there = database[each.collection].find({"_id": {"$in": each.ids}}, {"name": 1}) if named and each.ids else ()
    names = {found["_id"]: found["name"] for found in there}
    ids = [
        Markup("<s>{}</s> (not in the database)").format(id[:SHORT_ID])
        if id in each.missing
        else link(each.collection, id, names.get(id, ""))
        for id in each.ids
    ]
    more = "…" if each.count > len(each.ids) and each.ids else ""
    detail = _text(each.detail) if each.detail else ""
    return each.relation, heading(each.collection, each.count), ids, " ".join(filter(None, (more, detail)))


def _attempts(found: Lineage) -> Table | None:
    if not found.attempts:
        return None
    rows = [
        [link("attempts", each["id"], str(each["number"])), state(each["state"]),
         time_cell(each["started_at"], seconds=True), each["host"], each["directory"], each.get("reason", "")]
        for each in found.attempts
    ]  # fmt: skip
    return Table(["attempt", "state", "started (UTC)", "host", "directory", "reason"], rows)


def _files(found: Lineage) -> Table | None:
    """Tabulate the files that a document names; the digest is the end of the path in the store."""
    if not found.files:
        return None
    rows = []
    for file in found.files:
        digest = "".join(file["path"].rsplit("/", 2)[1:])
        address = '<a href="/file/{}/{}/{}" download>{}</a>'
        there = file["state"] == "there"
        name = Markup(address).format(found.collection, found.id, digest, file["name"]) if there else file["name"]
        rows.append([name, size(file["size_bytes"]), file["state"], digest])
    return Table(["file", "size", "state", "SHA-256"], rows, frozenset({1}))


def open_file(results: Results, collection: str, id: str, digest: str) -> tuple[IO[bytes], str] | None:
    """Open a file that a document names, and return it with its name; None if there is no such file."""
    stored = results.database[collection].find_one({"_id": id})
    for ref in files_of(stored, DOCUMENTS[collection]) if stored else ():
        if ref["sha256"] == digest:
            with suppress(FileNotFoundError):
                return results.artifacts.open(digest), ref["name"]
    return None


def _flat(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [(path, _text(each)) for path, each in flattened(value)]
    return [("", _text(value))] if value else []


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{words.moment(value)} UTC"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_text(each)}" for key, each in value.items() if each != "")
    if isinstance(value, list) and any(isinstance(each, (dict, list)) for each in value):
        text = json.dumps(value, default=str)
    else:
        text = words.number(value, 6)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
