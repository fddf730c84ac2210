"""Which structures stay on one side of a split: frames of one trajectory, and whatever was made from each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.table import places_in, texts_of

if TYPE_CHECKING:
    from pymongo.database import Database

_BATCH = 1000


def group_names(database: Database | None, structure_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Name of the family of each structure.

    A structure's `group` is itself, the trajectory that it is a frame of, or the structure that it was made from.
    Chains belong together (a structure made from one made from a third), also where the ones between are no members:
    their groups are looked up.

    Parameters
    ----------
    database
        Where structures between are looked up; None: nowhere.
    structure_ids, groups
        Ids and their groups, shape (n,), bytes.

    Returns
    -------
    numpy.ndarray
        Where the chain of groups ends: that does not depend on which others are asked about, so a dataset and the one
        that it goes on from call a family by one name. Shape (n,).
    """
    others = groups != structure_ids
    if not others.any():
        return structure_ids
    names = np.unique(groups[others])
    up = _up(database, names, structure_ids, groups)
    names = np.unique(np.concatenate([names, *([up[:, 1]] if len(up) else [])]))
    # a structure with a group of its own belongs to the family that calls itself by its id
    mine = places_in(names, np.where(others, groups, structure_ids))
    family = _components(names, up)
    end = np.full(family.max() + 1, len(names))
    ends = np.flatnonzero(~np.isin(names, up[:, 0]))
    end[family[ends]] = ends
    # a chain without an end cannot be made by content, only written by hand: the smallest name then
    endless = np.flatnonzero(end[family] == len(names))
    np.minimum.at(end, family[endless], endless)
    return np.where(mine >= 0, names[end[family[mine]]], structure_ids)


def _up(database: Database | None, names: np.ndarray, structure_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(structure, its group) for all of the names that are structures with another group, and for those groups again.

    Shape (n, 2).
    """
    order = np.argsort(structure_ids, kind="stable")
    sorted_ids, sorted_groups = structure_ids[order], groups[order]
    edges: list[tuple[bytes, bytes]] = []
    seen: set[bytes] = set()
    left = names
    while len(left):
        seen.update(left.tolist())
        places = places_in(sorted_ids, left)
        here = places >= 0
        found = list(zip(left[here].tolist(), sorted_groups[places[here]].tolist(), strict=True))
        found += _looked_up(database, left[~here])
        edges += [(id, group) for id, group in found if id != group]
        left = np.array(sorted({group for _, group in found} - seen), dtype=np.bytes_)
    return np.array(edges, dtype=np.bytes_).reshape(-1, 2)


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
    """The group of a stored structure.

    Raises
    ------
    DataError
        It is of an older schema, which did not know groups.
    """
    if "group" not in structure:
        raise DataError(f"structure {structure['_id']} does not say what group it is of", "gst db migrate")
    return structure["group"]


def _components(names: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number of the family of each name, shape (n_names,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return np.arange(len(names))
    rows, columns = places_in(names, edges[:, 0]), places_in(names, edges[:, 1])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1]
