"""Programs end by their own process group, and with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.base.processes import run_program, words_of

BY_RUN_PROGRAM = """
import sys
from gst_jobflow.base.processes import run_program
run_program(["sh", "-c", "echo $$ > pid; exec sleep 600"], sys.argv[1], output="out")
"""
BY_CUSTODIANS_JOB = """
import pathlib, sys
pathlib.Path(sys.argv[1], "INCAR").write_text("ENCUT = 600\\n")
from gst_jobflow.labelling.vasp_custodian import LabelVaspJob
LabelVaspJob(["sh", "-c", "echo $$ > pid; exec sleep 600"], auto_gamma=False).run(sys.argv[1]).wait()
"""


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for(condition, limit_s: float = 60.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return bool(condition())


def pid_in(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text else None


@pytest.mark.parametrize("script", [BY_RUN_PROGRAM, BY_CUSTODIANS_JOB])
def test_a_program_dies_with_a_parent_that_is_killed(script, tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    assert wait_for(lambda: pid_in(tmp_path / "pid"))
    child = pid_in(tmp_path / "pid")
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(lambda: not alive(child))


def test_the_wall_limit_ends_the_whole_group(tmp_path):
    ended = run_program(["sh", "-c", "sleep 600 & echo $! > pid; wait"], tmp_path, output="out", wall_limit_s=1.0)
    assert ended.timed_out and ended.returncode < 0
    assert wait_for(lambda: not alive(pid_in(tmp_path / "pid")))


def test_leftovers_of_a_finished_program_are_ended(tmp_path):
    ended = run_program(["sh", "-c", "sleep 600 & echo $! > pid; exit 3"], tmp_path, output="out")
    assert (ended.returncode, ended.timed_out) == (3, False)
    assert wait_for(lambda: not alive(pid_in(tmp_path / "pid")))


def test_output_and_environment(tmp_path):
    run_program(
        ["sh", "-c", "echo $GREETING; echo no >&2"],
        tmp_path,
        output="out",
        environment={**os.environ, "GREETING": "yes"},
    )
    assert (tmp_path / "out").read_text() == "yes\nno\n"


def test_the_words_of_a_command_name_a_program_that_runs(tmp_path):
    plain = tmp_path / "a file"
    plain.touch()
    assert words_of("env -i 'two words'", "command", "") == ["env", "-i", "two words"]
    assert words_of(["env", "x"], "command", "") == ["env", "x"]
    plain.chmod(0o755)
    assert words_of(plain, "command", "") == [str(plain)]
    plain.chmod(0o644)
    for command, why in ((plain, "is not executable"), ("", "no program ''"), ("env 'x", "no closing quotation")):
        with pytest.raises(MissingProgramError, match=f"LAMMPS command .*: .*{why}"):
            words_of(command, "LAMMPS command", "correct it")


def test_a_missing_program_is_an_error_of_the_caller(tmp_path):
    with pytest.raises(FileNotFoundError):
        run_program(["no-such-program"], tmp_path, output="out")
