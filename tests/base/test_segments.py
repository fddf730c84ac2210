"""Runs in segments: who may execute one, where it continues, what notes say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gst_jobflow.base.errors import InputError, RunError
from gst_jobflow.base.segments import (
    NOTE_FILE,
    SegmentedRun,
    begin_segment,
    end_segment,
    read_note,
    segment_folders,
    valid_until,
)


@dataclass
class Counts(SegmentedRun[int]):
    """Counts to `end`, `at_once` steps a segment, as its notes say."""

    directory: Path
    end: int = 10
    at_once: int = 4
    executed: list[int] = field(default_factory=list)
    identity_file: ClassVar[str] = "count.json"

    def identity(self) -> dict[str, Any]:
        return {"end": self.end}

    def read(self) -> int:
        return max((read_note(folder).get("last_step", 0) for folder in segment_folders(self.directory)), default=0)

    def wants_segment(self, result: int) -> bool:
        return result < self.end

    def execute(self) -> None:
        begin = self.read()
        folder = begin_segment(self.directory, begin)
        end_segment(folder, last_step=min(begin + self.at_once, self.end))
        self.executed.append(begin)


def test_a_run_executes_until_it_is_over_and_never_again(tmp_path: Path) -> None:
    run = Counts(tmp_path / "run")
    assert run.run() == 10 and run.executed == [0, 4, 8]
    again = Counts(tmp_path / "run")
    assert again.run() == 10 and again.executed == []
    assert [read_note(folder)["first_step"] for folder in segment_folders(tmp_path / "run")] == [0, 4, 8]
    assert all(read_note(folder)["host"] for folder in segment_folders(tmp_path / "run"))


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    Counts(tmp_path).run()
    with pytest.raises(InputError, match="holds another run: end differ"):
        Counts(tmp_path, end=12).run()


def test_another_process_may_not_execute_the_same_run(tmp_path: Path) -> None:
    hold = (
        "import fcntl, sys, time\n"
        "lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, tmp_path / ".lock"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        run = Counts(tmp_path)
        with pytest.raises(RunError, match="another process executes"):
            run.run()
        assert not run.executed
        other.kill()
    # the kernel frees the lock of a process that was killed
    assert Counts(tmp_path).run() == 10


def test_a_segment_that_was_killed_before_its_note_is_made_again(tmp_path: Path) -> None:
    begin_segment(tmp_path, 0)
    (tmp_path / "segment_001").mkdir()
    assert [folder.name for folder in segment_folders(tmp_path)] == ["segment_000"]
    assert begin_segment(tmp_path, 5).name == "segment_001"


def test_numbers_go_on_behind_a_gap_that_version_0_1_0_left(tmp_path: Path) -> None:
    (tmp_path / "segment_000").mkdir()
    later = tmp_path / "segment_001"
    later.mkdir()
    (later / NOTE_FILE).write_text('{"start_step": 7}')
    assert read_note(later)["first_step"] == 7
    assert begin_segment(tmp_path, 9).name == "segment_002"


def test_a_torn_note_counts_as_a_segment_from_the_start(tmp_path: Path) -> None:
    folder = begin_segment(tmp_path, 3)
    (folder / NOTE_FILE).write_text('{"first_st')
    assert read_note(folder) == {"first_step": 0}


def test_a_later_segment_replaces_what_lies_after_its_start() -> None:
    assert valid_until([0, 40, 30]) == [30, 30, None]
