"""Work that a job declares before it runs, and what the database's measurements say that it will cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pydantic import ConfigDict, Field

from gst_jobflow.base.strict import StrictModel
from gst_jobflow.store.results import Results

if TYPE_CHECKING:
    from jobflow import Job

_ATTRIBUTE = "gst_work"
# the rest of a walltime is for starting, stopping and storing
_USED_WALLTIME = 0.9
T = TypeVar("T")


@dataclass(frozen=True)
class ExpectedCost:
    """Expected cost of one job; None where nothing comparable was measured.

    `work` is in words, `segments` counts the runs that it needs within its walltime, and `basis` names the measurements
    that the numbers rest on, or the reason why there are none.
    """

    name: str
    work: str
    cores: int
    core_hours: float | None = None
    wall_h: float | None = None
    segments: int | None = None
    disk_GB: float | None = None
    basis: str = ""


class AssumedCosts(StrictModel):
    """Costs to assume where nothing comparable was measured; None: unknown."""

    model_config = ConfigDict(frozen=True)

    core_us_per_atom_step: float | None = Field(None, gt=0, description="Molecular dynamics, core µs/atom/step")
    core_hours_per_label: float | None = Field(None, gt=0)
    core_hours_per_fit: float | None = Field(None, gt=0)
    source: str = Field("the plan", description="Where the numbers are from")

    @property
    def basis(self) -> str:
        """Basis of a cost, in words."""
        return "assumed"


@dataclass(frozen=True)
class Allotment:
    """Cores and walltime (None: unlimited) of one job on a profile, and the database that holds measured costs.

    `known` is what was read from it for earlier jobs of the same flow; `assumed` are the costs where it has none;
    `has_gpu` tells whether the job has a GPU for fits.
    """

    name: str
    cores: int
    walltime_s: float | None
    profile: str
    queued: bool
    has_gpu: Callable[[], bool]
    results: Results
    known: dict[Any, Any] = field(default_factory=dict)
    assumed: AssumedCosts = field(default_factory=AssumedCosts)

    def once(self, key: Any, read: Callable[[], T]) -> T:
        """Return what `read` returned for the first job that asked for `key`."""
        if key not in self.known:
            self.known[key] = read()
        return self.known[key]

    def expected(
        self,
        work: str,
        basis: str,
        core_hours: float | None = None,
        wall_h: float | None = None,
        disk_GB: float | None = None,
    ) -> ExpectedCost:
        """Return the cost of this job, with the segments that `wall_h` needs."""
        segments = None
        if wall_h is not None:
            limit_s = self.walltime_s or math.inf
            segments = max(1, math.ceil(wall_h * 3600 / (_USED_WALLTIME * limit_s)))
        return ExpectedCost(self.name, work, self.cores, core_hours, wall_h, segments, disk_GB, basis)


class Work(Protocol):
    """Work that knows its cost."""

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the expected cost with these cores and this walltime."""


def declare_work(job: Job, work: Work) -> None:
    """Attach its work to a job whose maker makes several; not stored with the job."""
    setattr(job, _ATTRIBUTE, work)


def declared_work(job: Job) -> Work | None:
    """Return the work attached to a job, else that of its maker's `work()`, which takes the arguments of `make()`."""
    attached, of_maker = getattr(job, _ATTRIBUTE, None), getattr(job.maker, "work", None)
    if attached is None and of_maker is not None:
        return of_maker(*job.function_args, **job.function_kwargs)
    return attached
