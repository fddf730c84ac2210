"""Run pacemaker's programs and diagnose their failures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.base.pacemaker import PacemakerRunner
from gst_jobflow.base.processes import run_program

_FAILURES = (
    # (pattern in the output, failure class, remedy)
    (
        r"ResourceExhausted|No further batch size reduction|MemoryError|std::bad_alloc",
        "out_of_memory",
        "lower batch_size",
    ),
    (r"too big and goes beyond", "bad_input", "lower nradmax_by_orders, lmax_by_orders or the number of orders"),
    (r"contains NaN|wrong shape|is corrupted", "bad_input", "check the labels of the dataset"),
    (r"ModuleNotFoundError|ImportError", "missing_program", "run scripts/install_pacemaker"),
    (r"GPU ind \d+ is requested", "bad_input", "set gpu to 'auto', None or the index of a GPU that exists"),
    (r"Insufficient atomic environments|singular matrix|LinAlgError", "bad_input", "more data or fewer functions"),
)


def pacemaker_command(runner: PacemakerRunner) -> list[str | Path]:
    """Return the command of pacemaker, which replaces its potentials in one step if it is a Python script.

    A wrapper in another language is run as it is: it may set up what pacemaker needs.
    """
    if not _is_python_script(runner.pacemaker):
        return [runner.pacemaker]
    return [runner.python, Path(__file__).with_name("pacemaker_program.py"), runner.pacemaker]


def _is_python_script(program: Path) -> bool:
    if not program.is_file():
        return False
    first, second, *_ = [*program.read_bytes()[:4096].splitlines(), b"", b""]
    # pip hides a path to Python that is long or has spaces behind a shell
    return (first.startswith(b"#!") and b"python" in first) or second.startswith(b"'''exec'")


def run_pacemaker(
    runner: PacemakerRunner, command: Sequence[str | Path], directory: Path, output: str, gpu: str | int | None
) -> None:
    """Run a program of pacemaker in `directory`; raise RunError with the decisive line of its output if it fails.

    Messages name the last path of the command: the script, if Python runs one.
    """
    name = [word for word in command if isinstance(word, Path)][-1].stem
    try:
        ended = run_program(
            [str(word) for word in command],
            directory,
            output=output,
            wall_limit_s=runner.timeout_s,
            environment=runner.environment(gpu),
        )
    except OSError as error:
        raise MissingProgramError(f"{name} cannot be started: {error}", "run scripts/install_pacemaker") from error
    where = directory / output
    if ended.timed_out:
        raise RunError(f"{name} was ended after {runner.timeout_s:g} s", f"continue from {directory}", "timeout")
    if ended.returncode == 0:
        return
    if ended.returncode < 0:
        fix = f"if the memory ran out, lower batch_size; continue from {directory}"
        raise RunError(f"{name} was killed by signal {-ended.returncode}", fix, "killed")
    line, failure_class, fix = diagnose(where.read_text(errors="replace"))
    raise RunError(f"{name} failed: {line}", f"{fix}; see {where}", failure_class)


def diagnose(text: str) -> tuple[str, str, str]:
    """Return the decisive line of a failed program's output, its failure class, and the remedy."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|Exception|Exhausted)\b", line)]
    line = (errors or lines or ["no output"])[-1][:300]
    # harmless warnings name modules too: search the errors if there are any
    searched = "\n".join(errors) or text
    for pattern, failure_class, fix in _FAILURES:
        if re.search(pattern, searched):
            return line, failure_class, fix
    return line, "crash", "read its output"
