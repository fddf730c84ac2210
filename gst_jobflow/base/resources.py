"""Resources that a job requests from a queue: nodes, ranks, threads, GPUs, time, account."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from gst_jobflow.base.categories import CATEGORIES, category_of
from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.strict import StrictModel, UnfitValueError, checked

if TYPE_CHECKING:
    from jobflow import Flow, Job

QUEUE_KEY = "_queueadapter"
"""Key of a firework's spec under which FireWorks finds the requested resources."""

# safe after `#SBATCH --option=`: no blanks, no quotes, nothing that a shell or SLURM interprets
_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*$"
WALLTIME = r"^(\d+-)?\d{1,3}:[0-5]\d:[0-5]\d$"

# names that FireWorks' SLURM adapter has for ours
_NAMES = {
    "ranks": "ntasks",
    "ranks_per_node": "ntasks_per_node",
    "threads": "cpus_per_task",
    "memory_GB": "mem",
    "partition": "queue",
}
# each replaces the other
_EXCLUSIVE = {"ranks": "ranks_per_node", "ranks_per_node": "ranks"}


def quoted(value: Any) -> Any:
    """Refuse the base-60 integer that YAML makes of an unquoted 24:00:00."""
    if isinstance(value, int):
        raise UnfitValueError("YAML reads an unquoted time as a number", "write it in quotes, as '24:00:00'")
    return value


class Resources(StrictModel):
    """Resources that one job requests; None: as in more general settings."""

    nodes: int | None = Field(None, ge=1, description="Nodes")
    ranks: int | None = Field(None, ge=1, description="MPI ranks in all")
    ranks_per_node: int | None = Field(None, ge=1, description="MPI ranks on each node, instead of ranks")
    threads: int | None = Field(None, ge=1, description="Cores of each rank")
    gpus_per_node: int | None = Field(None, ge=0, description="GPUs on each node")
    walltime: str | None = Field(None, pattern=WALLTIME, description="'HH:MM:SS' or 'D-HH:MM:SS', in quotes")
    memory_GB: int | None = Field(None, ge=1, description="Memory of each node")
    partition: str | None = Field(None, pattern=_WORD, description="Partition (queue)")
    account: str | None = Field(None, pattern=_WORD, description="Account or budget that pays")
    qos: str | None = Field(None, pattern=_WORD, description="Quality of service")
    constraint: str | None = Field(None, pattern=_WORD, description="Features that nodes must have")

    _quoted = field_validator("walltime", mode="before")(quoted)

    def over(self, general: Resources) -> Resources:
        """Return these resources with open fields taken from `general`."""
        mine, theirs = self.model_dump(exclude_none=True), general.model_dump(exclude_none=True)
        for name in mine:
            theirs.pop(_EXCLUSIVE.get(name, ""), None)
        return Resources(**{**theirs, **mine})

    def queueadapter(self) -> dict[str, Any]:
        """Return the fields under the names of FireWorks' queue adapter; a None removes a contradicting default."""
        asked = self.model_dump(exclude_none=True)
        values: dict[str, Any] = {_NAMES[_EXCLUSIVE[name]]: None for name in asked if name in _EXCLUSIVE}
        for name, value in asked.items():
            values[_NAMES.get(name, name)] = f"{value}G" if name == "memory_GB" else value
        if values.get("gpus_per_node") == 0:
            values["gpus_per_node"] = None
        return values


def request_resources(flow: Flow | Job, resources: Resources, category: str | None = None) -> None:
    """Make jobs of a flow, before submission, request resources, which win over the settings of their category.

    Only jobs of the given category do; None: all.
    """
    for job in jobs_of(flow):
        if category not in (None, category_of(job)):
            continue
        config = job.config.manager_config
        config[QUEUE_KEY] = {**config.get(QUEUE_KEY, {}), **resources.queueadapter()}


def jobs_of(flow: Flow | Job) -> list[Job]:
    """Return all jobs of a flow, and of the flows in it."""
    return [job for part in flow.jobs for job in jobs_of(part)] if hasattr(flow, "jobs") else [flow]


def request_by_category(flow: Flow | Job, asked: dict[str | None, Resources]) -> None:
    """Make jobs request resources by category; None holds for all, and a category's own resources win over it."""
    for category in sorted(asked, key=lambda name: name is not None):
        request_resources(flow, asked[category], category)


def parse_asked(assignments: Sequence[str]) -> dict[str | None, Resources]:
    """Parse `["nodes=8", "md.walltime=24:00:00"]` into resources by category; InputError for what does not fit."""
    values: dict[str | None, dict[str, str]] = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        category, dot, name = key.rpartition(".")
        if not sign or not name:
            raise InputError(f"--ask {assignment}: not KEY=VALUE", "for example --ask md.nodes=4")
        if dot and category not in CATEGORIES:
            raise InputError(f"--ask {assignment}: no category '{category}'", nearest(category, CATEGORIES))
        values.setdefault(category or None, {})[name] = value
    return {category: checked(Resources, asked, "--ask") for category, asked in values.items()}
