"""Train and test by groups: a draw from a seed, folds, or a side that is kept from a parent."""

from __future__ import annotations

import hashlib

import numpy as np
from pydantic import Field

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.datasets.table import Members


class SplitSpec(StrictModel):
    """How train and test are drawn: by groups, so that structures made from one another never straddle the two."""

    test_fraction: float = Field(0.1, gt=0, lt=1)
    seed: int = Field(0, ge=0)


def ranks(names: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """A random number for each name that depends on nothing but the name, seed and purpose, shape (n,), uint64.

    What is drawn by them does not depend on the order of the members, and changes little when some are added.
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
        """Numbers of the groups of a config_type, in random order."""
        return np.flatnonzero(self.codes == code)


def draw_split(members: Members, spec: SplitSpec, parent: Members | None = None) -> np.ndarray:
    """Which members are tested: of each config_type at least one group is, where there are two.

    Parameters
    ----------
    parent
        Members of the dataset that a potential was fitted to before. Groups that were trained on stay in train, tested
        ones in test, so that no fit that goes on has seen what it is tested on; the others are drawn.

    Returns
    -------
    numpy.ndarray
        Mask of the test set, shape (n,).

    Raises
    ------
    DataError
        No member is left for one of the two.
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
            "label more structures: those made from one another are one group",
        )
    return mask


def _sides_before(members: Members, groups: _Groups, parent: Members | None) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the groups that were trained on and that were tested, shape (n_groups,)."""
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
    """Test those that are chosen, and whatever is of their groups.

    Returns
    -------
    tuple
        Mask of the test set, shape (n,), and how many came in by their group only.

    Raises
    ------
    InputError
        Nothing is chosen, or nothing is left to train on.
    """
    mask = np.isin(members.groups, members.groups[chosen])
    if not mask.any():
        raise InputError("no member is chosen for the test set", "gst dataset show DATASET tells what there is")
    if mask.all():
        raise InputError(
            "the test set takes all members, with what is of their groups", "choose fewer: something must be trained on"
        )
    return mask, int(mask.sum() - chosen.sum())


def folds(members: Members, n_folds: int, seed: int) -> list[np.ndarray]:
    """Masks of the test sets of a k-fold split: each group is tested once, each config_type dealt out evenly.

    Raises
    ------
    InputError
        Fewer groups than folds.
    """
    groups = _Groups(members, seed)
    if n_folds < 2 or len(groups) < n_folds:
        raise InputError(f"{n_folds} folds of {len(groups)} groups", "choose between 2 and the number of groups")
    # one after the other, type by type: small types do not all begin with the first fold
    order = np.concatenate([groups.of_type(code) for code in groups.types])
    fold = np.empty(len(groups), int)
    fold[order] = np.arange(len(groups)) % n_folds
    return [(fold == number)[groups.of_member] for number in range(n_folds)]
