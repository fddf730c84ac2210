"""Find the documents of a figure, and check that nothing that belongs to them is missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Cycle, Potential, Study
from gst_jobflow.report.catalogue.kinds import FigureKind
from gst_jobflow.store import Results
from gst_jobflow.store.lookup import get_located

_NAMED = 5


def chosen(results: Results, kind: FigureKind, words: Sequence[str]) -> list[Any]:
    """Return the documents that the user names; without a name the newest one that the figure can show.

    Raises InputError for an unknown document, one of another kind, or several for a figure of one, and DataError if
    there is none, or a study lacks members.
    """
    if len(words) > 1 and not kind.joins:
        raise InputError(f"{kind.name} shows one {kind.needs}, not {len(words)}", "draw them one by one")
    if not words:
        return [newest_document(results, kind)]
    found = [get_located(results, kind.model, word) for word in words]
    for word, document in zip(words, found, strict=True):
        if not results.database[kind.model.collection].count_documents({"_id": document.id, **kind.where}, limit=1):
            listed = " ".join(f"{key}={value}" for key, value in kind.where.items() if isinstance(value, str))
            raise InputError(
                f"{kind.name} needs a {kind.needs}; '{word}' is not one",
                f"gst query {kind.model.collection} {f'-w {listed} ' if listed else ''}lists them",
            )
    for document in found:
        check_complete(results, document)
    return found


def newest_document(results: Results, kind: FigureKind) -> Any:
    """Return the newest document that a figure can show; raises DataError if there is none."""
    found = next(iter(results.find(kind.model, kind.where, [("created_at", -1)])), None)
    if found is None:
        raise DataError(f"{kind.name} needs a {kind.needs}, and the database has none", f"make one: {kind.made_by}")
    check_complete(results, found)
    return found


def check_complete(results: Results, document: Any) -> None:
    """Refuse a study that lacks members, or a cycle that lacks runs, by a DataError that names them."""
    if isinstance(document, Study):
        members = [(member.collection, member.id) for member in document.members]
    elif isinstance(document, Cycle):
        members = [("trajectories", each.trajectory_id) for each in document.operations if each.trajectory_id]
    else:
        return
    ids = defaultdict(set)
    for collection, id in members:
        ids[collection].add(id)
    missing = []
    for collection, wanted in sorted(ids.items()):
        there = {each["_id"] for each in results.database[collection].find({"_id": {"$in": [*wanted]}}, {"_id": 1})}
        missing += [f"{collection} {id}" for id in sorted(wanted - there)]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise DataError(
            f"{type(document).__name__.lower()} {document.name} lacks {len(missing)} of its {len(members)} members: "
            f"{', '.join(missing[:_NAMED])}{more}",
            "import a bundle or restore a backup that holds them: gst import, gst db restore",
        )


def one_potential(results: Results, what: str, potential_ids: Sequence[str | None], mixed: bool) -> None:
    """Refuse one curve of several potentials by an InputError, unless the user wants it."""
    ids = list(dict.fromkeys(id for id in potential_ids if id))
    if len(ids) > 1 and not mixed:
        names = [f"{each.name} ({each.id[:8]})" for each in results.get_many(Potential, ids)]
        raise InputError(f"{what} would join several potentials: {', '.join(names)}", "draw each alone, or add --mixed")
