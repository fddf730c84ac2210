"""Read a LAMMPS log: version, speed, and how the run ended."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal

from gst_jobflow.base.disk import DISK_FULL, says_full
from gst_jobflow.dynamics.deck import BLOW_UP_HALT_ID, ERROR_WORD, FINISHED_WORD, GAMMA_HALT_ID, STOPPED_WORD

FailureClass = Literal[
    "", "lost_atoms", "blow_up", "nan", "gamma_halt", "walltime", "killed", "out_of_memory", "disk_full", "bad_input",
    "crash",
]  # fmt: skip

_LOOP = re.compile(r"^Loop time of (\S+) on (\d+) procs? for (\d+) steps? with (\d+) atoms", re.M)
_PART = re.compile(r"^(Pair|Neigh|Comm|Output|Modify|Other)\s*\|([^|]*)\|\s*(\S+)\s*\|([^|]*)\|", re.M)
_CPU_USE = re.compile(r"^(\S+)% CPU use with", re.M)
_GRID = re.compile(r"(\d+) by (\d+) by (\d+) MPI processor grid")
# exceptions of the ACE library, such as an unreadable potential file, end LAMMPS by MPI_Abort
_ERROR = re.compile(r"^(ERROR.*|Exception: .*|terminate called.*)$", re.M)
# errors of a running simulation
_LOST = re.compile(
    r"Lost atoms|Langevin force of 0 atoms|Atoms? count is inconsistent|lost bonds|Out of range atoms", re.I
)
# messages of LAMMPS, of C++, and of the kernel through slurmstepd or mpirun
_MEMORY = re.compile(r"Failed to (re)?allocate|std::bad_alloc|Cannot allocate memory|oom[_-]kill|Out of memory", re.I)
_NOT_WRITTEN = re.compile(r"I/O error while writing", re.I)
# signals of a fault of the program itself
_CRASHES = (signal.SIGSEGV, signal.SIGFPE, signal.SIGBUS, signal.SIGILL, signal.SIGABRT)
_NAN = re.compile(r"Non-numeric|NaN|not a number|-nan", re.I)


@dataclass(frozen=True)
class LoopTime:
    """Time in the loops of a log, summed over its runs."""

    seconds: float
    steps: int
    n_atoms: int
    ranks: int

    @property
    def us_per_atom_step(self) -> float:
        """Wall microseconds per atom and step; NaN without steps."""
        work = self.steps * self.n_atoms
        return 1e6 * self.seconds / work if work else float("nan")


@dataclass(frozen=True)
class LoopParts:
    """LAMMPS' own breakdown of the time of its last loop.

    `seconds` is the mean over the ranks in s, by part: pair, neigh, comm, output, modify, other. `pair_imbalance` is
    the longest by mean time of a rank in the pair style; 1 is even. `cpu_use` is the share of the loop in which the
    ranks had a core; below 1 where others used it, too.
    """

    seconds: dict[str, float]
    pair_imbalance: float
    cpu_use: float


def version(text: str) -> str:
    """Return the version in the first line of a log, e.g. ``22 Jul 2025 - Update 4``; empty if there is none."""
    found = re.search(r"^LAMMPS \(([^)]*)\)", text, re.M)
    return found.group(1) if found else ""


def loop_time(text: str) -> LoopTime:
    """Return the summed loop times of all runs of more than no steps."""
    rows = [(float(t), int(p), int(s), int(n)) for t, p, s, n in _LOOP.findall(text)]
    rows = [row for row in rows if row[2] > 0]
    if not rows:
        return LoopTime(0.0, 0, 0, 0)
    return LoopTime(sum(r[0] for r in rows), sum(r[2] for r in rows), rows[-1][3], rows[-1][1])


def loop_parts(text: str) -> LoopParts | None:
    """Return the breakdown of the last loop of a log, or None if there is none."""
    _, heading, table = text.rpartition("MPI task timing breakdown")
    used = _CPU_USE.findall(text)
    if not heading or not used:
        return None
    rows = {name.lower(): (float(mean), longest.strip()) for name, _, mean, longest in _PART.findall(table)}
    pair_s, longest_s = rows["pair"][0], float(rows["pair"][1])
    imbalance = longest_s / pair_s if pair_s else 1.0
    return LoopParts({name: mean for name, (mean, _) in rows.items()}, imbalance, float(used[-1]) / 100)


def ranks_used(text: str) -> int | None:
    """Return the number of MPI ranks that shared the cell, or None if the log ends before that line."""
    found = _GRID.search(text)
    return int(found[1]) * int(found[2]) * int(found[3]) if found else None


def error_line(text: str) -> str:
    """Return the line of the first error in a log or on the screen; empty if there is none."""
    own = re.search(rf"^{ERROR_WORD} \w+: (.*)$", text, re.M)
    if own:
        return own.group(1).strip()
    found = _ERROR.search(text)
    return found.group(1).strip() if found else ""


def reached_step(text: str) -> int | None:
    """Return the step at which a run finished or its walltime stopped it, as printed by the deck."""
    found = re.findall(rf"^(?:{FINISHED_WORD}|{STOPPED_WORD}) step (\d+)", text, re.M)
    return int(found[-1]) if found else None


def halted(line: str) -> tuple[int, float] | None:
    """Return the step at which a limit ended a run, and the value there; None if the error line tells of none."""
    found = re.search(r"Fix halt condition for fix-id \S+ met on step (\d+) with value (\S+)", line)
    return (int(found[1]), float(found[2])) if found else None


def failed_reading(text: str) -> bool:
    """Whether LAMMPS ended while it read its restart file: that was its last command."""
    told = re.findall(r"^Last (?:input line|command): (\S+)", text, re.M)
    commands = told or re.findall(r"^(read_restart|pair_style|run|minimize)\b", text, re.M)
    return bool(commands) and commands[-1] == "read_restart"


def classify(text: str, returncode: int) -> tuple[FailureClass, str]:
    """Return the class of how a run ended, empty if it finished, and a line for people.

    `text` is log and screen output together; `returncode` is negative for a signal.
    """
    line = error_line(text)
    if says_full(text) or _NOT_WRITTEN.search(line):
        return DISK_FULL, line or "the disk is full where it runs"
    if line:
        return _class_of_error(text, line), line
    if re.search(rf"^{FINISHED_WORD}", text, re.M) and returncode == 0:
        return "", ""
    if re.search(rf"^{STOPPED_WORD}", text, re.M) and returncode == 0:
        return "walltime", f"stopped in order at step {reached_step(text)}"
    if returncode and (found := _MEMORY.search(text)):
        return "out_of_memory", text[text.rfind("\n", 0, found.start()) + 1 :].split("\n")[0].strip()[:300]
    if _killed(text, returncode):
        return "killed", f"ended by a signal (status {returncode})"
    if returncode == 0:
        return "crash", "LAMMPS ended with status 0 but did not reach the end of the deck"
    return "crash", f"LAMMPS ended with status {returncode} and no error line"


def _class_of_error(text: str, line: str) -> FailureClass:
    if re.search(rf"^{ERROR_WORD} bad_input", text, re.M):
        return "bad_input"
    if GAMMA_HALT_ID in line:
        return "gamma_halt"
    if BLOW_UP_HALT_ID in line:
        return "blow_up"
    if _MEMORY.search(line):
        return "out_of_memory"
    if _LOST.search(line):
        return "lost_atoms"
    if _NAN.search(line):
        return "nan"
    # neighbour lists and communication overflow when atoms pile up or fly apart, as in a blow-up
    if re.search(r"Neighbor list overflow|too many neighbors|Bond atoms missing|cudaErrorIllegalAddress", line, re.I):
        return "blow_up"
    return "bad_input" if not _LOOP.search(text) and not re.search(r"^\s*Step\s", text, re.M) else "crash"


def _killed(text: str, returncode: int) -> bool:
    if -returncode in _CRASHES:
        return False
    by_signal = returncode < 0 or returncode in (128 + 15, 128 + 9, 15, 9)
    return by_signal and not re.search(r"Segmentation fault|Floating point exception|Bus error", text)
