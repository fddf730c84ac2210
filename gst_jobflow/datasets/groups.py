"""Group structures for a split: frames of one trajectory, and structures made from one another."""

from __future__ import annotations

import numpy as np
from pymongo.database import Database

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.table import places_in, texts_of

_BATCH = 1000


def group_names(database: Database | None, structure_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Name the family of each structure; ids, groups and names are bytes of the shape (n,).

    A structure's `group` is its own id, the trajectory that it is a frame of, or its parent. Chains belong together (a
    structure made from one made from a third), even if links are not among the structures: missing ones are looked up
    in the database, if there is one. The name is the end of the chain. It does not depend on the other structures, so a
    dataset and its parent use the same name.
    """
    others = groups != structure_ids
    if not others.any():
        return structure_ids
    names, place = np.unique(groups[others], return_inverse=True)
    up = _links(database, names, structure_ids, groups)
    ends: dict[bytes, bytes] = {}
    found = np.array([_end(name, up, ends) for name in names.tolist()])[place]
    families = structure_ids.astype(f"S{max(found.itemsize, structure_ids.itemsize)}")
    families[others] = found
    return families


def _end(name: bytes, up: dict[bytes, bytes], ends: dict[bytes, bytes]) -> bytes:
    """Follow a chain to its end, and note the end of all on the way."""
    path: dict[bytes, None] = {}
    while name in up and name not in ends and name not in path:
        path[name] = None
        name = up[name]
    if name in path:
        # only documents written by hand can make a loop: take its smallest name
        loop = list(path)
        name = min(loop[loop.index(name) :])
    last = ends.get(name, name)
    ends.update(dict.fromkeys(path, last))
    return last


def _links(
    database: Database | None, names: np.ndarray, structure_ids: np.ndarray, groups: np.ndarray
) -> dict[bytes, bytes]:
    """Return the group of each name that is a structure of another group, and of these groups again."""
    order = np.argsort(structure_ids, kind="stable")
    sorted_ids, sorted_groups = structure_ids[order], groups[order]
    links: dict[bytes, bytes] = {}
    seen: set[bytes] = set()
    left = names
    while len(left):
        seen.update(left.tolist())
        places = places_in(sorted_ids, left)
        here = places >= 0
        found = list(zip(left[here].tolist(), sorted_groups[places[here]].tolist(), strict=True))
        found += _looked_up(database, left[~here])
        links |= {id: group for id, group in found if id != group}
        left = np.array(sorted({group for _, group in found} - seen), dtype=np.bytes_)
    return links


def _looked_up(database: Database | None, ids: np.ndarray) -> list[tuple[bytes, bytes]]:
    if database is None:
        return []
    found: list[tuple[bytes, bytes]] = []
    texts = texts_of(ids)
    for start in range(0, len(texts), _BATCH):
        where = {"_id": {"$in": texts[start : start + _BATCH]}}
        found += [
            (item["_id"].encode(), group_of(item).encode()) for item in database["structures"].find(where, {"group": 1})
        ]
    return found


def group_of(structure: dict[str, str]) -> str:
    """Return the group of a stored structure; raise DataError if its schema is older than groups."""
    if "group" not in structure:
        raise DataError(f"structure {structure['_id']} has no group", "gst db migrate")
    return structure["group"]
