"""Add up what attempts cost: core hours, energy, money, CO2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from pymongo.database import Database

from gst_jobflow.base.batches import batches
from gst_jobflow.base.settings import CostSettings
from gst_jobflow.documents import now
from gst_jobflow.launch import slurm
from gst_jobflow.launch.launches import as_time, began

_BATCH = 5000
_FAILED = ("failed", "lost")
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Spent:
    """Cost of attempts: cores that they held times their time, and energy; failed ones count, and are known apart.

    Attributes
    ----------
    failed_attempts, failed_core_hours
        Those that failed or were lost.
    running_core_hours
        Those of attempts that still run, until now.
    hours_of_unknown_cores
        Time of attempts whose cores nothing tells; not in `core_hours`.
    slurm_kWh, slurm_core_hours
        Energy of the attempts that SLURM measured, and their core hours.
    """

    attempts: int = 0
    failed_attempts: int = 0
    core_hours: float = 0.0
    failed_core_hours: float = 0.0
    running_core_hours: float = 0.0
    hours_of_unknown_cores: float = 0.0
    slurm_kWh: float = 0.0
    slurm_core_hours: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def kWh(self, cost: CostSettings) -> float | None:
        """Return the energy: as SLURM measured it, else by the power of a node; None if neither is known."""
        if self.core_hours <= 0:
            return 0.0
        rest = max(0.0, self.core_hours - self.slurm_core_hours)
        # sums of many attempts differ in their last digits
        if rest <= 1e-9 * self.core_hours:
            return self.slurm_kWh
        if cost.node_power_W is None or cost.node_cores is None:
            return None
        return self.slurm_kWh + rest * cost.node_power_W / cost.node_cores / 1000

    def kWh_source(self, cost: CostSettings) -> str:
        """Return in words what the energy rests on."""
        measured = f"SLURM's accounting for {self.slurm_core_hours:.3g} core hours" if self.slurm_core_hours else ""
        if self.core_hours - self.slurm_core_hours <= 1e-9 * self.core_hours:
            return measured
        if cost.node_power_W is None or cost.node_cores is None:
            way_out = "set cost.node_power_W and cost.node_cores in gst.yaml"
            return f"unknown: {'only ' + measured if measured else 'SLURM has not measured it'}; {way_out}"
        power = f"{cost.node_power_W:g} W for a node of {cost.node_cores} cores"
        return f"{measured}, else {power}" if measured else power


def spent_by_job(database: Database, jobs: Iterable[str]) -> dict[str, Spent]:
    """Return the cost of each job that has attempts."""
    found: dict[str, Spent] = {}
    for batch in batches(sorted(jobs), _BATCH):
        attempts = list(database["attempts"].find({"job_uuid": {"$in": batch}}))
        cores = _cores_of_documents(database, [each["job_uuid"] for each in attempts if not each.get("cores")])
        energy_J = _slurm_energy_J(database, attempts)
        for attempt in attempts:
            uuid = attempt["job_uuid"]
            one = _spent(attempt, attempt.get("cores") or cores.get(uuid), _hours(database, attempt), energy_J)
            found[uuid] = found.get(uuid, Spent()) + one
    return found


def _spent(attempt: dict[str, Any], cores: int | None, hours: float, energy_J: dict[str, float]) -> Spent:
    failed = attempt["state"] in _FAILED
    core_hours = hours * (cores or 0)
    joules = energy_J.get(attempt["_id"])
    return Spent(
        attempts=1,
        failed_attempts=int(failed),
        core_hours=core_hours,
        failed_core_hours=core_hours if failed else 0.0,
        running_core_hours=core_hours if attempt["state"] == "running" else 0.0,
        hours_of_unknown_cores=0.0 if cores else hours,
        slurm_kWh=(joules or 0.0) / _JOULES_PER_KWH,
        slurm_core_hours=core_hours if joules else 0.0,
    )


def _hours(database: Database, attempt: dict[str, Any]) -> float:
    """Return how long an attempt ran; a lost one, until its launch gave its last sign of life."""
    start = as_time(attempt["started_at"])
    end = as_time(attempt["ended_at"]) if attempt.get("ended_at") else now()
    if attempt["state"] == "lost" and attempt.get("fw_id") is not None:
        end = min(end, _last_sign(database, attempt["fw_id"], start) or end)
    return max(0.0, (end - start).total_seconds() / 3600)


def _last_sign(database: Database, fw_id: int, start: datetime) -> datetime | None:
    launches = [each for each in database["launches"].find({"fw_id": fw_id}) if began(each) <= start]
    if not launches:
        return None
    entries = max(launches, key=began).get("state_history", [])
    running = [entry for entry in entries if entry["state"] == "RUNNING"]
    times = [as_time(entry[key]) for entry in running for key in ("created_on", "updated_on") if entry.get(key)]
    return max(times) if times else None


def _cores_of_documents(database: Database, jobs: Sequence[str]) -> dict[str, int]:
    """Return the cores of jobs by what they made: attempts have none before version 4."""
    where = {"job_uuid": {"$in": list(jobs)}, "cost.cores": {"$gt": 0}}
    return {
        found["job_uuid"]: found["cost"]["cores"]
        for name in ("trajectories", "potentials")
        for found in (database[name].find(where, {"job_uuid": 1, "cost.cores": 1}) if jobs else ())
    }


def _slurm_energy_J(database: Database, attempts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return the energy of attempts that SLURM measured; those of one SLURM job share it by core hours."""
    measured = slurm.energy_J(sorted({each["slurm_job_id"] for each in attempts if each.get("slurm_job_id")}))
    shares: dict[str, float] = {}
    for job_id, joules in measured.items():
        together = list(database["attempts"].find({"slurm_job_id": job_id}))
        hours = {
            each["_id"]: (_hours(database, each) + timedelta.resolution.total_seconds()) * (each.get("cores") or 1)
            for each in together
        }
        shares |= {id: joules * each / sum(hours.values()) for id, each in hours.items()}
    return shares
