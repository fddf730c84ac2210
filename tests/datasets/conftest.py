"""Labels in a database, and members without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gst_jobflow.datasets.table import CategoricalColumn, Members, ids_of
from gst_jobflow.documents import Label
from gst_jobflow.store import Results
from tests.documents.test_documents import label, structure

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


@pytest.fixture
def results(project: Project) -> Results:
    return Results.open(project)


def number_id(index: int) -> str:
    return f"{index:032x}"


def add_labels(
    results: Results,
    number: int,
    *,
    fingerprint: str = "tblite:1",
    start: int = 0,
    groups: Sequence[str] | None = None,
    of_structure: dict[str, Any] | None = None,
    **of_label: Any,
) -> list[Label]:
    """Structures of two atoms with a label each; group by group where groups are given."""
    labels = []
    for place, index in enumerate(range(start, start + number)):
        id = number_id(index)
        changes = {"config_type": of_label.get("config_type", "crystal"), **(of_structure or {})}
        results.add(structure(_id=id, group=groups[place] if groups else id, **changes))
        labels.append(
            label(
                _id=Label.id_for(id, fingerprint),
                structure_id=id,
                fingerprint=fingerprint,
                **{"state": "converged", **of_label},
            )
        )
        results.add(labels[-1])
    return labels


def members_of(groups: Sequence[str], config_types: Sequence[str], formulas: Sequence[str] | None = None) -> Members:
    """Members whose ids are their numbers, all in train."""
    number = len(groups)
    ids = ids_of(number_id(index) for index in range(number))
    return Members(
        label_ids=ids,
        structure_ids=ids,
        groups=ids_of(groups),
        config_types=CategoricalColumn.of(config_types),
        formulas=CategoricalColumn.of(formulas or ["GeTe"] * number),
        n_atoms=np.full(number, 2, np.int32),
        energies_eV=np.arange(number, dtype=float),
        max_forces_eV_A=np.full(number, np.nan),
        test=np.zeros(number, bool),
    )
