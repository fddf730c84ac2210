"""Thin the training structures of some config types, for ablations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gst_jobflow.datasets.split import ranks
from gst_jobflow.datasets.table import Members


def thin(members: Members, kinds: Iterable[str], keep: float, seed: int) -> tuple[Members, int]:
    """Keep a share of the training members of some config types, and all others.

    With the same seed, a smaller share is part of every larger one. Of n members, round(keep · n) stay. Return the
    members that stay, and the number of those left out.
    """
    concerned = np.flatnonzero(members.config_types.isin(kinds) & ~members.test)
    order = np.argsort(ranks(members.label_ids[concerned], seed, "fraction"), kind="stable")
    gone = concerned[order[round(keep * len(concerned)) :]]
    kept = np.ones(len(members), bool)
    kept[gone] = False
    return members.take(kept), len(gone)
