"""Model of a study: several runs with one question."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from gst_jobflow.documents.base import ArtifactRef, Document, Index, Part


class Member(Part):
    """A document that belongs to a study."""

    collection: str
    id: str
    role: str = ""


class Study(Document):
    """A plan, its members and its table."""

    collection: ClassVar[str] = "studies"
    mutable: ClassVar[bool] = True
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("kind", 1), ("state", 1)]),
        Index(keys=[("name", 1)]),
        Index(keys=[("members.id", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    name: str
    kind: Literal[
        "demo",
        "ablation",
        "hyperopt",
        "robustness",
        "scaling",
        "validation",
        "iteration",
        "ensemble",
        "evaluation",
        "analysis",
    ]
    state: Literal["waiting", "running", "finished", "failed"] = "waiting"
    plan: dict[str, Any]
    members: list[Member] = Field(default_factory=list)
    table: list[dict[str, Any]] = Field(default_factory=list)
    outcome: dict[str, Any] = Field(default_factory=dict, description="Result: a few numbers and ids")
    workflow_ids: list[int] = Field(default_factory=list, description="Ids of its fireworks")
    files: list[ArtifactRef] = Field(default_factory=list, description="Data behind the table and its figures")
    report: ArtifactRef | None = None
    finished_at: datetime | None = None
