"""Watch the peak resident memory of a program's ranks on this node."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gst_jobflow.base.processes import end_group

WAIT_SCRIPT = "wait_until_read.sh"
"""Script that a program starts before its end: it waits until its memory was read once more, at most 10 s."""
_EVERY_S = 0.1
_ENDING, _READ = "memory.ending", "memory.read"
_WAIT = f"""\
: > {_ENDING}
n=0
while [ ! -e {_READ} ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
"""
_STATUS = re.compile(r"^PPid:\s+(\d+)$.*^VmHWM:\s+(\d+) kB$", re.M | re.S)


@dataclass
class PeakMemory:
    """Peak resident memory of the processes of one program that work in one folder.

    The kernel keeps the peak of each process (VmHWM), so a reading holds all that came before it. mpirun and srun are
    other programs and do not count. Ranks on other nodes are not seen.

    `directory` is the folder that the ranks work in, whoever started them, and `program` the name of the program's
    file. `peaks_B` holds the peak of each process by its id. Once the ranks hold more than `limit_B` together, `over`
    is set and the process `group` is ended.
    """

    directory: Path
    program: str
    limit_B: float | None = None
    peaks_B: dict[int, int] = field(default_factory=dict)
    over: bool = False
    group: int | None = None

    @property
    def total_B(self) -> int:
        """Peaks of all processes together."""
        return sum(self.peaks_B.values())

    @contextmanager
    def watched(self) -> Iterator[PeakMemory]:
        """Read until the body ends; a program that starts `WAIT_SCRIPT` last is read then, too."""
        for name in (_ENDING, _READ):
            (self.directory / name).unlink(missing_ok=True)
        (self.directory / WAIT_SCRIPT).write_text(_WAIT)
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_EVERY_S):
                self.read()

        thread = threading.Thread(target=look, name="memory", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()

    def started(self, group: int) -> None:
        """Take note of the process group to end at the limit."""
        self.group = group

    def read(self) -> None:
        """Read the processes once, and end them if they hold too much."""
        is_last = (self.directory / _ENDING).exists()
        found = {pid: values for pid in psutil.pids() if (values := self._parent_and_peak(pid))}
        # a rank that is about to start a shell is two processes for a moment
        self.peaks_B |= {pid: peak_B for pid, (parent, peak_B) in found.items() if parent not in found}
        if self.limit_B is not None and self.total_B > self.limit_B and self.group is not None and not self.over:
            self.over = True
            end_group(self.group, grace_s=0.5)
        if is_last:
            (self.directory / _READ).touch()

    def _parent_and_peak(self, pid: int) -> tuple[int, int] | None:
        """Return parent and peak of a process; None if it is another program, works elsewhere, or has ended."""
        root = Path("/proc") / str(pid)
        try:
            if (root / "cwd").readlink() != self.directory or not self._is_program(root):
                return None
            found = _STATUS.search((root / "status").read_text())
        except OSError:
            return None
        return (int(found[1]), int(found[2]) * 1024) if found else None

    def _is_program(self, root: Path) -> bool:
        first_word = (root / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
        return self.program in ((root / "exe").readlink().name, Path(first_word).name)


def kills_for_memory() -> int:
    """Return how many processes the kernel of this node has ended for lack of memory since it started."""
    found = re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), re.M)
    return int(found[1]) if found else 0
