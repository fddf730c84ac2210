"""Let several fireworks share one SLURM job: side by side on one node, each with the resources that it asks for.

All are reserved for the job, as one is without packing, so recovery knows each of them by it.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.base.deadline import walltime_s
from gst_jobflow.base.resources import QUEUE_KEY

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from fireworks.queue.queue_adapter import QueueAdapterBase

_SCRIPT = "FW_submit.script"
_PREFIX = "launcher_"
"""Of the folder of a SLURM job; fireworks that share it have numbered folders in there."""
_LOOKED_AT = 20
"""Ready fireworks to choose from, times those of a pack."""
_OWN = ("ntasks", "mem", "walltime")
"""Requests in which fireworks of one SLURM job may differ."""
_NOT_SHARED = ("ntasks_per_node", "gpus_per_node", "gres")
"""Requests that are not divided among fireworks."""
_FOLDER_KEY = "_launch_dir"


def job_directory(launch_dir: Path) -> Path:
    """Return the directory in which the SLURM job of a launch works: of a pack, the one that holds the launch's."""
    packed = launch_dir.name.isdecimal() and launch_dir.parent.name.startswith(_PREFIX)
    return launch_dir.parent if packed else launch_dir


def choose_together(pad: LaunchPad, query: dict[str, Any], adapter: dict[str, Any], most: int) -> list[dict[str, Any]]:
    """Return the next ready firework, and others that can share its SLURM job.

    Together they ask for at most `most` times the ranks and memory of their category, `adapter`: a firework that needs
    more than is left is not among them. What else they ask for is the same, but for the time.
    """
    fields = {"fw_id": 1, "name": 1, f"spec.{QUEUE_KEY}": 1, f"spec.{_FOLDER_KEY}": 1}
    ready = pad.fireworks.find({**query, "state": "READY"}, fields).sort([("spec._priority", -1), ("fw_id", 1)])
    first, *others = list(ready.limit(_LOOKED_AT * most)) or [None]
    if first is None:
        return []
    if not _can_share(first, adapter):
        return [first]
    left = {name: most * amount for name, amount in _amounts(adapter).items()}
    chosen: list[dict[str, Any]] = []
    for firework in (first, *others):
        needs = _amounts(_request(firework, adapter))
        alike = _can_share(firework, adapter) and _shape(firework, adapter) == _shape(first, adapter)
        if alike and needs.keys() == left.keys() and all(needs[name] <= left[name] for name in needs):
            chosen.append(firework)
            left = {name: left[name] - needs[name] for name in left}
        if len(chosen) == most:
            break
    return chosen if first in chosen else [first]


def submit_together(
    pad: LaunchPad, adapter: QueueAdapterBase, chosen: Iterable[dict[str, Any]], runs_dir: Path
) -> str | bool | None:
    """Reserve fireworks and submit one SLURM job for them; return its id, False if refused, None if none is ready."""
    from fireworks.fw_config import QUEUE_JOBNAME_MAXLEN
    from fireworks.utilities.fw_utilities import create_datestamp_dir, get_fw_logger, get_slug

    logger = get_fw_logger("queue.launcher", stream_level="CRITICAL")
    folder = Path(create_datestamp_dir(str(runs_dir), logger, prefix=_PREFIX))
    reserved = _reserve(pad, chosen, folder)
    if not reserved:
        return None
    requests = [_request(firework, adapter) for firework, _, _ in reserved]
    starts = [
        _start(adapter["rocket_launch"], firework["fw_id"], place, request)
        for (firework, _, place), request in zip(reserved, requests, strict=True)
    ]
    adapter.update(requests[0])
    total = sum((Counter(_amounts(request)) for request in requests), Counter())
    adapter.update({name: f"{amount}G" if name == "mem" else amount for name, amount in total.items()})
    adapter["walltime"] = max((request["walltime"] for request in requests), key=walltime_s)
    adapter["job_name"] = f"{get_slug(reserved[0][0]['name'])[: QUEUE_JOBNAME_MAXLEN - 5]}-x{len(reserved)}"
    adapter["rocket_launch"] = "\n".join([*starts, "wait"])
    with contextlib.chdir(folder):
        Path(_SCRIPT).write_text(adapter.get_script_str(str(folder)))
        job_id = adapter.submit_to_queue(_SCRIPT)
    launch_ids = [launch_id for _, launch_id, _ in reserved]
    if not job_id:
        for launch_id in launch_ids:
            pad.cancel_reservation(launch_id)
        return False
    # in one step, and without touching what a job that starts meanwhile writes
    pad.launches.update_many(
        {"launch_id": {"$in": launch_ids}},
        {"$set": {"state_history.$[reserved].reservation_id": str(job_id)}},
        array_filters=[{"reserved.state": "RESERVED", "reserved.reservation_id": {"$exists": False}}],
    )
    return str(job_id)


def _reserve(pad: LaunchPad, chosen: Iterable[dict[str, Any]], folder: Path) -> list[tuple[dict[str, Any], int, Path]]:
    """Reserve those that are still ready; return each with its launch and its folder."""
    from fireworks import FWorker

    reserved = []
    for number, firework in enumerate(chosen, 1):
        place = folder / str(number)
        place.mkdir()
        # by query: by its id, FireWorks also takes what another launcher has reserved
        found, launch_id = pad.reserve_fw(FWorker("pack", query={"fw_id": firework["fw_id"]}), str(place))
        if found:
            reserved.append((firework, launch_id, place))
    return reserved


def _start(command: str, fw_id: int, place: Path, request: dict[str, Any]) -> str:
    """Return the line that starts a firework in the background: it sees its own part of the SLURM job.

    `SLURM_EXACT` lets its programs start beside those of the others.
    """
    amounts = _amounts(request)
    part: dict[str, Any] = {
        name: amounts["ntasks"] for name in ("SLURM_NTASKS", "SLURM_NPROCS", "SLURM_TASKS_PER_NODE")
    }
    part["SLURM_EXACT"] = 1
    if "mem" in amounts:
        part["SLURM_MEM_PER_NODE"] = 1024 * amounts["mem"]
    words = " ".join(f"{name}={value}" for name, value in part.items())
    output = '>"gst-$SLURM_JOB_ID.out" 2>"gst-$SLURM_JOB_ID.error" </dev/null'
    return f"(cd {shlex.quote(str(place))} && exec env {words} {command} --fw_id {fw_id} {output}) &"


def _request(firework: dict[str, Any], adapter: dict[str, Any]) -> dict[str, Any]:
    return {**adapter, **(firework["spec"].get(QUEUE_KEY) or {})}


def _shape(firework: dict[str, Any], adapter: dict[str, Any]) -> dict[str, Any]:
    """Return what fireworks of one SLURM job must ask alike."""
    return {
        name: value
        for name, value in _request(firework, adapter).items()
        if name not in _OWN and value is not None and not name.startswith("_")
    }


def _can_share(firework: dict[str, Any], adapter: dict[str, Any]) -> bool:
    request = _request(firework, adapter)
    memory = request.get("mem")
    return (
        request.get("nodes") in (None, 1)
        and not any(request.get(name) for name in _NOT_SHARED)
        and (memory is None or re.fullmatch(r"\d+G", str(memory)) is not None)
        and _FOLDER_KEY not in firework["spec"]
    )


def _amounts(request: dict[str, Any]) -> dict[str, int]:
    """Return the ranks and, where it is asked for, the memory in GB."""
    ranks = {"ntasks": int(request.get("ntasks") or 1)}
    memory = request.get("mem")
    return ranks if memory is None else {**ranks, "mem": int(str(memory).removesuffix("G"))}
