"""Model of a dataset."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from gst_jobflow.documents.base import ArtifactRef, Document, Index


class Dataset(Document):
    """An immutable list of labels of one method, split in train and test.

    The list is an artifact (a line a member: label_id, structure_id, config_type, split). `_id` is the hash of members,
    split, weights and reference energies.
    """

    collection: ClassVar[str] = "datasets"
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("name", 1)]),
        Index(keys=[("fingerprint", 1)]),
        Index(keys=[("parent_id", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    fingerprint: str = Field(description="Method of all its labels")
    elements: list[str]
    n_members: int = Field(ge=1)
    n_atoms: int = Field(ge=1, description="Number of atoms of all members")
    counts: dict[str, int] = Field(description="Number of members in train and test")
    counts_by_config_type: dict[str, dict[str, int]] = Field(description="{train,test}{TYPE: members}")
    config_type_weights: dict[str, float] = Field(default_factory=dict)
    reference_energies_eV: dict[str, float] = Field(description="Energy per element subtracted by fits")
    reference_energies_source: str
    selection: dict[str, Any] = Field(default_factory=dict, description="Rules of the selection, and what they omitted")
    split: dict[str, Any] = Field(description="Rule, fraction and seed of the split")
    members: ArtifactRef
    parent_id: str | None = None
    iteration: int = Field(0, ge=0)
