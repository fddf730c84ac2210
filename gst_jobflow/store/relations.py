"""Name the fields that hold ids of other documents; only members of studies name their collection themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Relation:
    """A field that holds the id, or ids, of documents of another collection.

    Attributes
    ----------
    collection, field
        The documents that hold the id, and its dotted path in them.
    target
        Collection of the documents that are named.
    origin
        What `gst show` calls the target on the page of the document; empty: not shown there.
    made
        What it calls the document on the page of the target; the field then has an index.
    kept
        Whether the target must exist; free-form fields may name documents that are gone.
    """

    collection: str
    field: str
    target: str
    origin: str = ""
    made: str = ""
    kept: bool = True


RELATIONS = (
    Relation("labels", "structure_id", "structures", "label of", "labels"),
    Relation("structures", "parents", "structures", "made from", "structures made from it"),
    Relation("structures", "source.potential_id", "potentials", "moved by", kept=False),
    Relation("trajectories", "potential_id", "potentials", "moved by", "trajectories"),
    Relation("trajectories", "start_structure_id", "structures", "started from", "trajectories that start from it"),
    Relation("trajectories", "final_structure_id", "structures"),
    Relation("trajectories", "cycle_id", "cycles", "part of", "trajectories"),
    Relation("cycles", "potential_id", "potentials", "moved by", "cycles"),
    Relation("cycles", "structure_id", "structures", "cell", "cycles of this cell"),
    Relation("cycles", "barrier_structure_id", "structures", "barrier", "cycles with this barrier"),
    Relation("cycles", "operations.trajectory_id", "trajectories"),
    Relation("cycles", "parent_trajectory_id", "trajectories", "continues", "cycles that continue it"),
    Relation("potentials", "dataset_id", "datasets", "fitted to", "potentials"),
    Relation("potentials", "parent_id", "potentials", "upfitted from", "potentials upfitted from it"),
    Relation("datasets", "parent_id", "datasets", "changed from", "datasets changed from it"),
)

MADE_BY_JOBS = ("labels", "potentials", "trajectories")
"""Collections whose documents name the job that made them, in `job_uuid`."""


def relations_of(collection: str) -> Iterator[Relation]:
    """Yield the relations whose ids the documents of a collection hold."""
    return (relation for relation in RELATIONS if relation.collection == collection)


def relations_to(collection: str) -> Iterator[Relation]:
    """Yield the relations whose ids are those of documents of a collection."""
    return (relation for relation in RELATIONS if relation.target == collection)


def ids_at(value: Any, path: list[str]) -> Iterator[str]:
    """Yield every id at a path, through lists on the way."""
    if isinstance(value, list):
        for item in value:
            yield from ids_at(item, path)
    elif not path:
        if isinstance(value, str):
            yield value
    elif isinstance(value, dict):
        yield from ids_at(value.get(path[0]), path[1:])
