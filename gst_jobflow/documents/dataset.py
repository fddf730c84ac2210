"""What is stored of a dataset."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from gst_jobflow.documents.base import ArtifactRef, Document, Index


class Dataset(Document):
    """An immutable list of labels of one method, split in train and test.

    The list itself is an artifact (a line per member: label_id, structure_id, config_type, split), so a dataset of
    a million members is a small document. `_id` is the hash of members, split, weights and reference energies.
    """

    collection: ClassVar[str] = "datasets"
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("name", 1)]),
        Index(keys=[("fingerprint", 1)]),
        Index(keys=[("parent_id", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    fingerprint: str = Field(description="The one method of all its labels")
    elements: list[str]
    n_members: int = Field(ge=1)
    n_atoms: int = Field(ge=1, description="Atoms of all members together")
    counts: dict[str, int] = Field(description="Members of train and test")
    counts_by_config_type: dict[str, dict[str, int]] = Field(description="{train,test}{TYPE: members}")
    config_type_weights: dict[str, float] = Field(default_factory=dict)
    reference_energies_eV: dict[str, float] = Field(description="Energy per element that the fit subtracts; pinned")
    reference_energies_source: str
    selection: dict[str, Any] = Field(default_factory=dict, description="What was left out, by which rule")
    split: dict[str, Any] = Field(description="How train and test were drawn: rule, fraction, seed")
    members: ArtifactRef
    parent_id: str | None = None
    iteration: int = Field(0, ge=0)
