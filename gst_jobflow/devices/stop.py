"""Watch a running operation, and say when it may end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gst_jobflow.analysis.crystallinity import ANION
from gst_jobflow.base.segments import NOTE_FILE, read_note, segment_folders
from gst_jobflow.devices.look import crystalline_now
from gst_jobflow.devices.programme import StopLimits
from gst_jobflow.dynamics.watch import Watch, newest_dump, step_of
from gst_jobflow.store import Results


@dataclass
class CrystallineWatch:
    """Says when the wanted share of the mobile atoms is crystal-like; analyses each new frame once.

    `mobile` are first and last id, from 1; `elements` are in the order of LAMMPS types; `anion` is the close-packed
    one.
    """

    wanted: float
    mobile: tuple[int, int]
    elements: Sequence[str]
    anion: str = ANION
    _seen: int = field(default=-1, init=False)

    def __call__(self, folder: Path) -> str:
        """Return why the run may end, by the newest frame of its segment; empty: it goes on."""
        newest = newest_dump(folder)
        if newest is None or step_of(newest) <= self._seen:
            return ""
        found = crystalline_now(folder, self._seen, self.mobile, self.elements, self.anion)
        if found is None:
            return ""
        self._seen, fraction = found
        if fraction < self.wanted:
            return ""
        return f"crystal-like fraction {fraction:.3f} at step {self._seen}, {self.wanted:g} was wanted"


@dataclass(frozen=True)
class BudgetWatch:
    """Says when the core hours of a cycle are spent, by earlier operations, earlier segments and the running one."""

    limit_core_hours: float
    spent_core_hours: float

    def __call__(self, folder: Path) -> str:
        """Return why the run may end, by the time of its segments; empty: it goes on."""
        spent = self.spent_core_hours
        for segment in segment_folders(folder.parent):
            note = read_note(segment)
            wall_s = note.get("wall_s")
            if wall_s is None and segment == folder:
                wall_s = time.time() - (segment / NOTE_FILE).stat().st_mtime
            spent += (wall_s or 0.0) * note.get("ranks", 1) / 3600
        return f"budget of {self.limit_core_hours:g} core hours spent" if spent >= self.limit_core_hours else ""


def any_of(watches: Sequence[Watch]) -> Watch | None:
    """Return a watch that ends the run when any of several does; None if there are none."""
    if not watches:
        return None

    def look(folder: Path) -> str:
        return next((reason for watch in watches if (reason := watch(folder))), "")

    return look


def spent(results: Results, cycle_id: str, index: int) -> tuple[float, int]:
    """Return the core hours and steps of the operations of a cycle before operation `index`.

    An operation that failed and was continued has two documents; the later one holds all segments.
    """
    where = {"cycle_id": cycle_id, "operation_index": {"$lt": index}}
    fields = {"operation_index": 1, "cost.core_hours": 1, "n_steps": 1}
    hours: dict[int, float] = {}
    steps: dict[int, int] = {}
    for run in results.database["trajectories"].find(where, fields):
        of = run["operation_index"]
        hours[of] = max(hours.get(of, 0.0), (run.get("cost") or {}).get("core_hours", 0.0))
        steps[of] = max(steps.get(of, 0), run["n_steps"])
    return sum(hours.values()), sum(steps.values())


def over_budget(limits: StopLimits, hours: float, steps: int) -> str:
    """Return which budget is spent; empty: none."""
    if limits.core_hours is not None and hours >= limits.core_hours:
        return f"budget of {limits.core_hours:g} core hours spent"
    if limits.steps is not None and steps >= limits.steps:
        return f"budget of {limits.steps:,} steps spent"
    return ""
