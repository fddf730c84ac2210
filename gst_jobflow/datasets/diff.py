"""Compare two datasets by streaming both: members, sides, weights, energies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gst_jobflow.datasets.members import read_members
from gst_jobflow.documents import Dataset
from gst_jobflow.store import ArtifactStore, Results

ONLY_FIRST, ONLY_SECOND, MOVED, BOTH = "only in the first", "only in the second", "moved", "in both"


@dataclass(frozen=True)
class Difference:
    """How two datasets differ.

    `members` holds numbers by config_type: of `ONLY_FIRST`, `ONLY_SECOND`, `MOVED` (from train to test or back) and
    `BOTH` (on the same side of both). `moved` counts "train to test" and "test to train". `weights` and
    `reference_energies_eV` are {config_type or element: (first, second)} that differ; None for a missing one. `fields`
    are {field: (first, second)} of name, method and settings that differ.
    """

    first: str
    second: str
    members: dict[str, dict[str, int]]
    moved: dict[str, int]
    weights: dict[str, tuple[float | None, float | None]]
    reference_energies_eV: dict[str, tuple[float | None, float | None]]
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    @property
    def same(self) -> bool:
        """Whether a fit would see no difference."""
        changed = any(self.members[kind] for kind in (ONLY_FIRST, ONLY_SECOND, MOVED))
        return not (changed or self.weights or self.reference_energies_eV or "fingerprint" in self.fields)


def diff_datasets(results: Results, first: Dataset, second: Dataset) -> Difference:
    """Compare two datasets; memory does not grow with their size."""
    members: dict[str, Counter[str]] = {kind: Counter() for kind in (ONLY_FIRST, ONLY_SECOND, MOVED, BOTH)}
    moved: Counter[str] = Counter()
    for kind, before, after in member_changes(results.artifacts, first, second, also_same=True):
        member = before or after
        members[kind][member["config_type"]] += 1
        if kind == MOVED:
            moved[f"{before['split']} to {after['split']}"] += 1
    said = ("name", "fingerprint", "split", "selection", "iteration", "reference_energies_source")
    return Difference(
        first=first.id,
        second=second.id,
        members={kind: dict(sorted(counts.items())) for kind, counts in members.items()},
        moved=dict(sorted(moved.items())),
        weights=_changed(first.config_type_weights, second.config_type_weights, 1.0),
        reference_energies_eV=_changed(first.reference_energies_eV, second.reference_energies_eV, None),
        fields={
            name: (getattr(first, name), getattr(second, name))
            for name in said
            if getattr(first, name) != getattr(second, name)
        },
    )


def member_changes(
    artifacts: ArtifactStore, first: Dataset, second: Dataset, also_same: bool = False
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Stream (difference, member of the first, member of the second) in the order of label ids; {} if absent.

    Raises as `read_members`.
    """
    left, right = read_members(artifacts, first), read_members(artifacts, second)
    before, after = next(left, None), next(right, None)
    while before is not None or after is not None:
        if after is None or (before is not None and before["label_id"] < after["label_id"]):
            assert before is not None  # the loop's condition
            yield ONLY_FIRST, before, {}
            before = next(left, None)
        elif before is None or after["label_id"] < before["label_id"]:
            yield ONLY_SECOND, {}, after
            after = next(right, None)
        else:
            if before["split"] != after["split"]:
                yield MOVED, before, after
            elif also_same:
                yield BOTH, before, after
            before, after = next(left, None), next(right, None)


def _changed(
    first: dict[str, float], second: dict[str, float], missing: float | None
) -> dict[str, tuple[float | None, float | None]]:
    pairs = {key: (first.get(key, missing), second.get(key, missing)) for key in sorted({*first, *second})}
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}
