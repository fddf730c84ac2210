"""Find documents by what a reader types: an id or its beginning, a name or a part of it, the number of a firework."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo.database import Database

from gst_jobflow.store.lookup import NAMED, SHORTEST_PREFIX, ids_beginning, matches

_LONGEST = 200
_NAMES_FOUND = 20
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Hit:
    """A document that fits; `name` is empty where it has none."""

    collection: str
    id: str
    name: str


@dataclass(frozen=True)
class Hits:
    """What fits a text; `alone` if it is the one document that the text names."""

    hits: list[Hit]
    firework: int | None = None
    hint: str = ""

    @property
    def alone(self) -> Hit | None:
        """Return the only document."""
        return self.hits[0] if len(self.hits) == 1 and self.firework is None else None


def find_hits(database: Database, text: str) -> Hits:
    """Return the documents that a text may mean."""
    text = text.strip()[:_LONGEST]
    if not text:
        return Hits([], hint="Type an id or its beginning, a name or a part of it, or the number of a firework.")
    found = dict.fromkeys(matches(database, text))
    if len(text) >= SHORTEST_PREFIX:
        # a name may be the beginning of an id, too
        found |= dict.fromkeys(ids_beginning(database, text))
    for collection in NAMED:
        found |= dict.fromkeys((collection, id) for id in _with_names_like(database, collection, text))
    hits = [Hit(collection, id, _name(database, collection, id)) for collection, id in found]
    firework = int(text) if text.isdecimal() and int(text) <= _LARGEST else None
    if firework is not None and database["attempts"].find_one({"fw_id": firework}, {"_id": 1}) is None:
        firework = None
    short = (
        "" if len(text) >= SHORTEST_PREFIX else f" The beginning of an id has at least {SHORTEST_PREFIX} characters."
    )
    return Hits(hits, firework, "" if hits or firework is not None else f"Nothing fits '{text}'.{short}")


def _with_names_like(database: Database, collection: str, text: str) -> list[str]:
    """Return the ids of the newest documents whose name holds a text; names are read from their index."""
    folded = text.casefold()
    names = [name for name in database[collection].distinct("name") if folded in name.casefold()][:_NAMES_FOUND]
    found = database[collection].find({"name": {"$in": names}}, {"_id": 1}).limit(_NAMES_FOUND) if names else ()
    return [each["_id"] for each in found]


def _name(database: Database, collection: str, id: str) -> str:
    found = database[collection].find_one({"_id": id}, {"name": 1, "job_name": 1, "formula": 1}) or {}
    return found.get("name") or found.get("job_name") or found.get("formula") or ""
