"""Split members into train and test by groups: drawn from a seed, in folds, or as chosen."""

from __future__ import annotations

import hashlib

import numpy as np
from pydantic import Field

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.datasets.table import Members


class SplitSpec(StrictModel):
    """How to draw train and test; groups of structures made from one another stay on one side."""

    test_fraction: float = Field(0.1, gt=0, lt=1, description="Share of the groups of each config_type to test")
    seed: int = Field(0, ge=0)


def ranks(names: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """Draw a random number for each name that depends only on name, seed and purpose; shape (n,), uint64.

    A choice by these numbers does not depend on the order of the members, and changes little when some are added.
    """
    salt = hashlib.blake2b(f"{purpose} {seed}".encode(), digest_size=16).digest()
    digests = b"".join(hashlib.blake2b(name, digest_size=8, salt=salt).digest() for name in names.tolist())
    return np.frombuffer(digests, "<u8")


class _Groups:
    """Groups of members in random order, each with the config_type of its first member."""

    def __init__(self, members: Members, seed: int) -> None:
        _, self.first, self.of_member = np.unique(
            ranks(members.groups, seed, "split"), return_index=True, return_inverse=True
        )
        self.codes = members.config_types.codes[self.first]
        known = members.config_types.known
        self.types = sorted(set(self.codes.tolist()), key=lambda code: known[code])

    def __len__(self) -> int:
        return len(self.first)

    def of_type(self, code: int) -> np.ndarray:
        """Return the numbers of the groups of a config_type, in random order."""
        return np.flatnonzero(self.codes == code)


def draw_split(members: Members, spec: SplitSpec, parent: Members | None = None) -> np.ndarray:
    """Draw the test set: a share of the groups of each config_type, at least one if there are two.

    `parent` has the members of the dataset that the potential was fitted to before. Its groups keep their side, so that
    a continued fit has not seen its test set; the others are drawn. Return the mask of the test set, shape (n,). Raises
    DataError if one side is empty.
    """
    groups = _Groups(members, spec.seed)
    trained, tested = _sides_before(members, groups, parent)
    test = tested.copy()
    for code in groups.types:
        mine = groups.of_type(code)
        n_test = 0 if len(mine) < 2 else max(1, round(spec.test_fraction * len(mine)))
        free = mine[~(trained[mine] | tested[mine])]
        missing = n_test - int(tested[mine].sum())
        test[free[: max(0, missing)]] = True
    mask = test[groups.of_member]
    if mask.all() or not mask.any():
        raise DataError(
            f"{len(members)} labels in {len(groups)} groups give no {'test' if not mask.any() else 'train'} set with "
            f"test_fraction {spec.test_fraction}",
            "label more structures; those made from one another are one group",
        )
    return mask


def _sides_before(members: Members, groups: _Groups, parent: Members | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the masks of the groups that the parent trained on and tested, shape (n_groups,)."""
    trained, tested = np.zeros(len(groups), bool), np.zeros(len(groups), bool)
    if parent is not None:
        for mask, side in ((trained, ~parent.test), (tested, parent.test)):
            known = np.isin(members.groups, parent.groups[side]) | np.isin(
                members.structure_ids, parent.structure_ids[side]
            )
            mask[groups.of_member[known]] = True
        tested &= ~trained
    return trained, tested


def given_split(members: Members, chosen: np.ndarray) -> tuple[np.ndarray, int]:
    """Test the chosen members, and the rest of their groups.

    Return the mask of the test set, shape (n,), and how many joined by their group only. Raises InputError if one side
    is empty.
    """
    mask = np.isin(members.groups, members.groups[chosen])
    if not mask.any():
        raise InputError("no member is chosen for the test set", "gst dataset show DATASET lists what it holds")
    if mask.all():
        raise InputError(
            "with their groups, the chosen members are all of the dataset", "choose fewer: the training set is empty"
        )
    return mask, int(mask.sum() - chosen.sum())


def folds(members: Members, n_folds: int, seed: int) -> list[np.ndarray]:
    """Return the test masks of a k-fold split: each group is tested once, each config_type dealt out evenly.

    Raises InputError for fewer than two folds, or fewer groups than folds.
    """
    groups = _Groups(members, seed)
    if n_folds < 2 or len(groups) < n_folds:
        raise InputError(f"{len(groups)} groups do not make {n_folds} folds", "choose 2 or more, not more than groups")
    # dealt in one round through all types, so that small types do not all start in the first fold
    order = np.concatenate([groups.of_type(code) for code in groups.types])
    fold = np.empty(len(groups), int)
    fold[order] = np.arange(len(groups)) % n_folds
    return [(fold == number)[groups.of_member] for number in range(n_folds)]
