"""Finding and running LAMMPS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gst_jobflow.base.errors import InputError, MissingProgramError, RunError
from gst_jobflow.dynamics.deck import DeckSpec, Output, render_deck
from gst_jobflow.dynamics.engine import LammpsEngine, yace_elements
from gst_jobflow.dynamics.protocol import write_start
from gst_jobflow.dynamics.stages import Anneal, Protocol
from scripts._tiny_potential import ELEMENTS, soft_crystal

ENDLESS = """\
units metal
region box block 0 10 0 10 0 10
create_box 1 box
create_atoms 1 random 20 1 NULL
mass 1 100
pair_style zero 3.0
pair_coeff * *
fix move all nve
fix rows all print 1000 "$(step)" append series.csv screen no title ""
run 2000000000
"""


def _deck(folder: Path, potential, temperature_K: float = 300.0, duration_ps: float = 0.1) -> str:
    write_start(folder / "start.data", soft_crystal((2, 2, 2)), ELEMENTS)
    spec = DeckSpec(
        protocol=Protocol(name="short", stages=[Anneal(temperature_K=temperature_K, duration_ps=duration_ps)]),
        potential=potential,
        start_file=str(folder / "start.data"),
        create_velocities_K=temperature_K,
        output=Output(series_every=10, dump_every=0, profile_every=0),
    )
    return render_deck(spec)


def test_a_missing_command_is_named_with_its_remedy():
    with pytest.raises(MissingProgramError, match=r"no_such_lmp.*install_lammps_pace"):
        LammpsEngine.discover(command="no_such_lmp")


def test_a_program_without_pace_is_refused(tmp_path):
    fake = tmp_path / "lmp"
    fake.write_text("#!/bin/sh\necho 'Pair styles:'; echo 'lj/cut zero'\n")
    fake.chmod(0o755)
    with pytest.raises(MissingProgramError, match="conda-forge"):
        LammpsEngine.discover(command=fake)


def test_a_file_that_is_no_potential_is_an_input_error(tmp_path):
    (tmp_path / "x.yace").write_text("nothing here\n")
    with pytest.raises(InputError, match="names no elements"):
        yace_elements(tmp_path / "x.yace")
    with pytest.raises(InputError, match="cannot read"):
        yace_elements(tmp_path / "absent.yace")


@pytest.mark.lammps
def test_smoke_test_runs_a_step_of_both_styles(engine, tiny_potential):
    assert engine.smoke_test(tiny_potential.yace, tiny_potential.yaml, tiny_potential.asi)


@pytest.mark.lammps
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_short_run_finishes_and_reports_its_speed(engine, tiny_potential, tmp_path, ranks):
    run = engine.with_ranks(ranks).run(_deck(tmp_path, tiny_potential), tmp_path)
    assert (run.status, run.failure_class) == ("finished", "")
    assert run.loop.ranks == ranks
    assert run.loop.steps == 50
    assert run.loop.us_per_atom_step > 0
    assert run.version


@pytest.mark.lammps
def test_a_foreign_mpirun_is_noticed(engine, tiny_potential, tmp_path):
    alone = engine.model_copy(update={"ranks": 2, "mpi_command": "env GST_RANKS={ranks}"})
    with pytest.raises(RunError, match="another MPI"):
        alone.run(_deck(tmp_path, tiny_potential), tmp_path)


@pytest.mark.lammps
def test_bad_input_is_one_line(engine, tiny_potential, tmp_path):
    run = engine.run(_deck(tmp_path, tiny_potential).replace("pair_style pace", "pair_style pase"), tmp_path)
    assert run.failure_class == "bad_input"
    assert "pase" in run.error_line
    with pytest.raises(RunError, match="bad_input") as caught:
        run.require_success()
    assert caught.value.failure_class == "bad_input"


@pytest.mark.lammps
def test_a_blow_up_is_halted_and_classified(engine, tiny_potential, tmp_path):
    text = _deck(tmp_path, tiny_potential, temperature_K=90_000.0)
    run = engine.run(text, tmp_path)
    assert run.failure_class == "blow_up"


@pytest.mark.lammps
def test_lost_atoms_are_classified(engine, tiny_potential, tmp_path):
    text = _deck(tmp_path, tiny_potential)
    # an atom shot through an open boundary is what a hole in the potential does to a periodic cell
    shot = "change_box all boundary p p f\nvelocity all set 0 0 4000 units box\nfix gst_nve"
    text = text.replace("fix gst_nve", shot)
    text = "\n".join(line for line in text.splitlines() if "gst_blow_up" not in line)
    run = engine.run(text, tmp_path)
    assert run.failure_class == "lost_atoms", run.error_line


@pytest.mark.lammps
def test_a_time_limit_ends_the_whole_group(engine, tmp_path):
    seen: list[int] = []
    run = engine.with_ranks(2).run(ENDLESS, tmp_path, timeout_s=3.0, started=seen.append)
    assert run.failure_class == "killed", run
    with pytest.raises(ProcessLookupError):
        os.killpg(seen[0], 0)


@pytest.mark.lammps
def test_lammps_dies_with_the_process_that_runs_it(engine, tmp_path):
    (tmp_path / "deck").write_text(ENDLESS)
    (tmp_path / "engine.json").write_text(engine.with_ranks(2).model_dump_json())
    code = (
        "import pathlib, sys\n"
        "from gst_jobflow.dynamics.engine import LammpsEngine\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "engine = LammpsEngine.model_validate_json((here / 'engine.json').read_text())\n"
        "engine.run((here / 'deck').read_text(), here, started=lambda pid: print(pid, flush=True))\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    group = int(worker.stdout.readline())
    _wait_for(lambda: (tmp_path / "series.csv").exists())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    _wait_for(lambda: not _ranks_in(tmp_path))
    assert not _ranks_in(tmp_path), f"processes of group {group} outlived their parent"


def _ranks_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder, zombies left out."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(entry / "cwd").resolve() == folder.resolve():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _wait_for(condition, patience_s: float = 60.0) -> None:
    end = time.monotonic() + patience_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def test_gpus_are_asked_of_kokkos_and_need_its_styles(engine):
    assert engine.accelerated() == []
    words = " ".join(engine.model_copy(update={"gpus": 2}).accelerated())
    assert words == "-k on g 2 -sf kk -pk kokkos newton on neigh half"
    if "pace/kk" not in engine.styles():
        with pytest.raises(MissingProgramError, match="pace/kk"):
            LammpsEngine.discover(command=engine.command, plugin_path=engine.plugin_path, gpus=1)
