"""Model of an attempt, one execution of a job."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from gst_jobflow.documents.base import Document, Index


class Attempt(Document):
    """One execution of a job; a rerun adds another."""

    collection: ClassVar[str] = "attempts"
    mutable: ClassVar[bool] = True
    indexes: ClassVar[tuple[Index, ...]] = (
        Index(keys=[("job_uuid", 1), ("started_at", 1)]),
        Index(keys=[("fw_id", 1), ("started_at", 1)]),
        Index(keys=[("state", 1), ("host", 1)]),
        Index(keys=[("created_at", -1)]),
    )

    job_uuid: str
    job_name: str
    fw_id: int | None = None
    number: int = Field(ge=1, description="1 for the first execution of the job")
    state: Literal["running", "finished", "failed", "lost"]
    host: str
    pid: int
    process_started: float = Field(description="Start of the process, seconds since 1970, since pids are reused")
    slurm_job_id: str | None = None
    worker: str = ""
    directory: str
    cores: int | None = Field(None, ge=1, description="Cores of all its nodes; None: recorded before version 4")
    started_at: datetime
    ended_at: datetime | None = None
    failure_class: str = ""
    reason: str = ""
    fix: str = ""
