"""Group structures for a split: frames of one trajectory, and structures made from one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gst_jobflow.base.errors import DataError
from gst_jobflow.datasets.table import places_in, texts_of

if TYPE_CHECKING:
    from pymongo.database import Database

_BATCH = 1000


def group_names(database: Database | None, structure_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Name the family of each structure.

    A structure's `group` is its own id, the trajectory that it is a frame of, or its parent. Chains belong together (a
    structure made from one made from a third), even if links are not among the structures.

    Parameters
    ----------
    database
        Where missing links are looked up; None: nowhere.
    structure_ids, groups
        Shape (n,), bytes.

    Returns
    -------
    numpy.ndarray
        The end of each chain, shape (n,). It does not depend on the other structures, so a dataset and its parent use
        the same name.
    """
    others = groups != structure_ids
    if not others.any():
        return structure_ids
    names = np.unique(groups[others])
    up = _up(database, names, structure_ids, groups)
    names = np.unique(np.concatenate([names, *([up[:, 1]] if len(up) else [])]))
    # a structure that is its own group belongs to the family named after it
    mine = places_in(names, np.where(others, groups, structure_ids))
    family = _components(names, up)
    end = np.full(family.max() + 1, len(names))
    ends = np.flatnonzero(~np.isin(names, up[:, 0]))
    end[family[ends]] = ends
    # only a document written by hand can make an endless chain: take its smallest name
    endless = np.flatnonzero(end[family] == len(names))
    np.minimum.at(end, family[endless], endless)
    return np.where(mine >= 0, names[end[family[mine]]], structure_ids)


def _up(database: Database | None, names: np.ndarray, structure_ids: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return (structure, its group) for names that are structures of another group, and recursively; shape (n, 2)."""
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
    """Return the group of a stored structure; raise DataError if its schema is older than groups."""
    if "group" not in structure:
        raise DataError(f"structure {structure['_id']} has no group", "gst db migrate")
    return structure["group"]


def _components(names: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number the family of each name, shape (n_names,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(edges):
        return np.arange(len(names))
    rows, columns = places_in(names, edges[:, 0]), places_in(names, edges[:, 1])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(names), len(names)))
    return connected_components(graph, directed=False)[1]
