"""Chains of segments: stopped in time, or killed, a run gives what it would have given uncut."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import RunError
from gst_jobflow.dynamics.deck import RESTART_GENERATIONS, STOP_REQUEST, STOPPED_RESTART, Output, RunOptions
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.protocol import run_protocol
from gst_jobflow.dynamics.restart import restart_step
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.series import read_series
from gst_jobflow.dynamics.stages import Cool, Hold, Protocol, Pulse, Relax
from scripts._tiny_potential import soft_crystal

pytestmark = pytest.mark.lammps

NVE = Protocol(name="nve", stages=[Hold(temperature_K=300, duration_ps=6.0, ensemble="nve")])
OPTIONS = RunOptions(
    create_velocities_K=600, output=Output(series_every=20, profile_every=0, dump_every=200, restart_every=100)
)


class Cutter:
    """Cuts a segment when its series reaches a step: by a request to stop, or by SIGKILL."""

    def __init__(self, folder: Path, step: int, kill: bool) -> None:
        self.folder, self.step, self.kill = folder, step, kill
        self.cut = False

    def __call__(self, pid: int) -> None:
        threading.Thread(target=self._watch, args=(pid,), daemon=True).start()

    def _watch(self, pid: int) -> None:
        segment = max(self.folder.glob("segment_*"))
        end = time.monotonic() + 120
        while time.monotonic() < end and not (segment / "final.data").exists():
            steps = read_series(segment / "series.csv")["step"]
            if len(steps) and steps[-1] >= self.step:
                self.cut = True
                if self.kill:
                    os.killpg(pid, signal.SIGKILL)
                else:
                    (segment / STOP_REQUEST).touch()
                return
            time.sleep(0.01)


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_nve_chain_cut_at_five_random_places_is_the_uncut_run(engine, tiny_potential, tmp_path, ranks):
    engine = engine.with_ranks(ranks)
    whole = run_protocol(engine, tiny_potential, soft_crystal(), NVE, tmp_path / "whole", OPTIONS).require_success()
    folder, numbers = tmp_path / "chain", random.Random(7)
    cuts = sorted(numbers.sample(range(200, 2000), 5))
    # ranks of a killed mpirun may outlive it for a moment
    for cut, kill in zip(cuts, (False, ranks == 1, False, ranks == 1, False), strict=True):
        cutter = Cutter(folder, cut, kill)
        run = run_protocol(engine, tiny_potential, soft_crystal(), NVE, folder, OPTIONS, started=cutter)
        assert cutter.cut and run.status == "stopped", (cut, run.error_line)
        assert run.failure_class == ("killed" if kill else "walltime")
        if not kill:
            stopped = restart_step(run.segments[-1].directory / STOPPED_RESTART)
            assert stopped is not None and stopped % 100 == 0, "it waits for a step at which the uncut run builds lists"
    run = run_protocol(engine, tiny_potential, soft_crystal(), NVE, folder, OPTIONS).require_success()
    assert len(run.segments) == 6
    for name, column in whole.series.items():
        # every digit that is printed: 14 of the total energy
        np.testing.assert_array_equal(run.series[name], column, err_msg=name)
    assert [frame.step for frame in run.frames()] == [frame.step for frame in whole.frames()]
    np.testing.assert_array_equal(run.final_atoms().positions, whole.final_atoms().positions)


def _chain(engine, potential, protocol: Protocol, folder: Path, options: RunOptions) -> ProtocolResult:
    """Go on until the end, with a stop that is asked for before each segment's second restart file."""
    for number in range(40):
        asked = number < 30

        def ask(_: int, number: int = number) -> None:
            (folder / f"segment_{number:03d}" / STOP_REQUEST).touch()

        run = run_protocol(engine, potential, soft_crystal(), protocol, folder, options, started=ask if asked else None)
        if not run.goes_on:
            return run
    raise AssertionError("it does not end")


def test_a_stop_on_the_step_of_a_kick_gives_no_kick_twice(engine, tiny_potential, tmp_path):
    # a restart file at every kick, so that each stop is on the step of one
    stages = [
        Pulse(energy_eV=30.0, duration_ps=0.2, every_ps=0.04),
        Cool(end_K=300, duration_ps=0.12, every_ps=0.04),
        Relax(max_iterations=3),
        Hold(temperature_K=300, duration_ps=0.08, ensemble="nve"),
    ]
    protocol = Protocol(name="kicks", stages=stages)
    output = Output(series_every=5, profile_every=0, dump_every=0, restart_every=20)
    options = RunOptions(create_velocities_K=300, output=output)
    whole = run_protocol(engine, tiny_potential, soft_crystal(), protocol, tmp_path / "whole", options)
    run = _chain(engine, tiny_potential, protocol, tmp_path / "chain", options).require_success()
    assert len(run.segments) > 3
    assert run.kicks["step"].tolist() == whole.kicks["step"].tolist()
    for stage in (1, 2):
        assert run.energies_eV(stage) == pytest.approx(whole.energies_eV(stage), rel=1e-9)
    np.testing.assert_allclose(run.final_atoms().positions, whole.final_atoms().positions, atol=1e-9)


def test_a_run_stops_before_its_deadline_and_says_so(engine, tiny_potential, tmp_path):
    long = Protocol(name="long", stages=[Hold(temperature_K=300, duration_ps=2000.0, ensemble="nve")])
    end = Deadline(time.time() + 6.0, 20.0)
    run = run_protocol(engine, tiny_potential, soft_crystal(), long, tmp_path, OPTIONS, deadline=end)
    assert run.goes_on and 0 < run.reached_step < long.total_steps
    assert restart_step(run.segments[0].directory / STOPPED_RESTART) is not None


def test_segments_that_make_no_step_are_an_error(tiny_potential, tmp_path):
    program = tmp_path / "lmp"
    program.write_text("#!/bin/sh\necho GST-STOPPED step 0\n")
    program.chmod(0o755)
    engine = LammpsEngine(command=[str(program)])
    with pytest.raises(RunError, match="3 segments in a row ended at step 0") as caught:
        for _ in range(3):
            assert run_protocol(engine, tiny_potential, soft_crystal(), NVE, tmp_path / "run", OPTIONS).goes_on
    assert caught.value.failure_class == "no_progress"


def _stopped(engine, potential, folder: Path) -> ProtocolResult:
    """A run that was asked to stop after two restart files, so that both generations are there."""
    options = OPTIONS.model_copy(update={"output": OPTIONS.output.model_copy(update={"restart_every": 50})})
    return run_protocol(engine, potential, soft_crystal(), SHORT, folder, options, started=Cutter(folder, 200, False))


SHORT = Protocol(name="short", stages=[Hold(temperature_K=300, duration_ps=2.0, ensemble="nve")])


def _generations(segment: Path) -> dict[int, Path]:
    names = (STOPPED_RESTART, *RESTART_GENERATIONS)
    return {step: segment / name for name in names if (step := restart_step(segment / name)) is not None}


def test_a_run_asked_to_stop_and_then_killed_continues(engine, tiny_potential, tmp_path):
    # as by a signal of the queue that reaches LAMMPS, too
    def ask_and_kill(pid: int) -> None:
        (tmp_path / "segment_000" / STOP_REQUEST).touch()
        os.killpg(pid, signal.SIGUSR1)

    run = run_protocol(engine, tiny_potential, soft_crystal(), SHORT, tmp_path, OPTIONS, started=ask_and_kill)
    assert run.goes_on and "asked to stop" in run.error_line
    run_protocol(engine, tiny_potential, soft_crystal(), SHORT, tmp_path, OPTIONS).require_success()


@pytest.mark.parametrize("torn", ["no end", "a bit", "unread"])
def test_a_torn_restart_file_is_refused_and_the_older_one_taken(engine, tiny_potential, tmp_path, torn):
    first = _stopped(engine, tiny_potential, tmp_path)
    assert first.goes_on
    segment = first.segments[0].directory
    found = _generations(segment)
    newest, older = sorted(found, reverse=True)[:2]
    for path in [segment / name for name in (STOPPED_RESTART, *RESTART_GENERATIONS) if restart_step(segment / name)]:
        if restart_step(path) == newest:
            _tear(path, torn)
    if torn == "unread":  # as after a crash of the machine: nothing was noted
        record = json.loads((segment / "segment.json").read_text())
        (segment / "segment.json").write_text(json.dumps({key: record[key] for key in ("first_step", "ranks")}))
    run = run_protocol(engine, tiny_potential, soft_crystal(), SHORT, tmp_path, OPTIONS)
    assert run.status == "finished", run.error_line
    assert run.segments[-1].first_step == older
    assert bool(list(segment.glob("*.refused"))) == (torn == "unread")


def _tear(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "no end":
        content = content[:-100]
    elif how == "a bit":
        content[len(content) // 2] ^= 1
    else:
        # head and end are as they were, all between was never written
        content[600:-100] = bytes(len(content) - 700)
    path.write_bytes(content)


def test_a_segment_that_met_a_full_disk_is_not_used(engine, tiny_potential, tmp_path):
    whole = run_protocol(engine, tiny_potential, soft_crystal(), SHORT, tmp_path / "whole", OPTIONS).require_success()
    folder = tmp_path / "full"
    assert _stopped(engine, tiny_potential, folder).goes_on

    # frames are lost without a word of LAMMPS; gzip's stands on the screen
    program = tmp_path / "lmp"
    program.write_text(
        '#!/bin/sh\ncase "$PWD" in */segment_001) echo "gzip: stdout: No space left on device";; esac\n'
        f'exec {shlex.join(engine.command)} "$@"\n'
    )
    program.chmod(0o755)
    meets = engine.model_copy(update={"command": [str(program)]})
    run = run_protocol(meets, tiny_potential, soft_crystal(), SHORT, folder, OPTIONS)
    assert (run.status, run.failure_class) == ("failed", "disk_full")
    for path in (folder / "segment_001").glob("dump_*"):
        path.unlink()
    run = run_protocol(engine, tiny_potential, soft_crystal(), SHORT, folder, OPTIONS).require_success()
    assert run.segments[2].first_step == run.segments[1].first_step > 0
    assert [frame.step for frame in run.frames()] == [frame.step for frame in whole.frames()]
