"""Leave labels out of future datasets with a reason, and take them back in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pymongo.database import Database

from gst_jobflow.base.batches import batches
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import now
from gst_jobflow.documents.label import Exclusion
from gst_jobflow.store import Results

_BATCH = 1000


def exclude_labels(results: Results, ids: Sequence[str], reason: str, by: str) -> Counter[str]:
    """Exclude converged labels; datasets that hold them stay as they are.

    Return the labels by what became of them: `excluded`, `were excluded`, and the states of those that never enter a
    dataset. Raises InputError if there is no such label, or no reason.
    """
    if not reason.strip():
        raise InputError("no reason is given", 'say why, for example --reason "wrong smearing"')
    entry = Exclusion(reason=reason.strip(), by=by, at=now()).model_dump()
    before = _states(results.database, ids)
    for part in batches(ids, _BATCH):
        where = {"_id": {"$in": list(part)}, "state": "converged"}
        results.database["labels"].update_many(where, {"$set": {"state": "excluded", "exclusion": entry}})
    words = {"converged": "excluded", "excluded": "were excluded"}
    return Counter(words.get(state, state) for state in before.values())


def include_labels(results: Results, ids: Sequence[str]) -> Counter[str]:
    """Take excluded labels back in; return the numbers of labels that are now `converged` or were not excluded.

    Raises InputError if there is no such label.
    """
    before = _states(results.database, ids)
    for part in batches(ids, _BATCH):
        where = {"_id": {"$in": list(part)}, "state": "excluded"}
        results.database["labels"].update_many(where, {"$set": {"state": "converged", "exclusion": None}})
    return Counter("converged" if state == "excluded" else "were not excluded" for state in before.values())


def _states(database: Database, ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in batches(ids, _BATCH):
        labels = database["labels"].find({"_id": {"$in": list(part)}}, {"state": 1})
        found |= {label["_id"]: label["state"] for label in labels}
    if missing := [id for id in ids if id not in found]:
        raise InputError(f"there is no label {missing[0]}", "gst query labels lists ids")
    return found
