"""What a run will write is known before it starts."""

from __future__ import annotations

import shutil

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.deck import Output, RunOptions
from gst_jobflow.dynamics.disk import check_disk, forecast_bytes, frame_bytes
from gst_jobflow.dynamics.protocol import n_atoms, run_protocol, write_start
from gst_jobflow.dynamics.stages import Anneal, Protocol
from scripts._tiny_potential import ELEMENTS, soft_crystal


def protocol(duration_ps: float) -> Protocol:
    return Protocol(name="SET", stages=[Anneal(temperature_K=600, duration_ps=duration_ps)])


def test_frames_dominate_the_disk_space_of_a_long_run_and_count_twice():
    sparse, dense = Output(dump_every=50_000), Output(dump_every=500)
    more = forecast_bytes(protocol(100), 1000, dense) - forecast_bytes(protocol(100), 1000, sparse)
    assert more == pytest.approx(1000 * 2 * 99 * frame_bytes(dense))
    half = forecast_bytes(protocol(100), 1000, dense, done_steps=25_000)
    assert half < 0.7 * forecast_bytes(protocol(100), 1000, dense)


def test_more_columns_and_decimals_take_more():
    plain = frame_bytes(Output())
    assert plain < frame_bytes(Output(dump_images=True)) < frame_bytes(Output(dump_velocities=True))
    assert frame_bytes(Output(dump_digits=6)) > plain > frame_bytes(Output(dump_digits=2))


def test_a_run_that_would_fill_the_disk_is_refused_in_one_line(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_disk(tmp_path, 0.5 * free, "'SET'")
    with pytest.raises(InputError, match=r"'SET' will write about .* GB, and .* has .* GB free"):
        check_disk(tmp_path, 10 * free + 1e15, "'SET'")


@pytest.mark.lammps
def test_nothing_runs_where_the_disk_is_too_small(engine, tiny_potential, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9 - 10**5, 10**5))
    with pytest.raises(InputError, match="free"):
        run_protocol(
            engine, tiny_potential, soft_crystal(), protocol(100), tmp_path, RunOptions(create_velocities_K=300)
        )
    assert not list(tmp_path.glob("segment_*"))


@pytest.mark.lammps
def test_the_forecast_is_near_what_was_written(engine, tiny_potential, tmp_path):
    output = Output(series_every=50, dump_every=20, profile_every=0, restart_every=50, dump_velocities=True)
    options = RunOptions(output=output, create_velocities_K=300)
    run = run_protocol(engine, tiny_potential, soft_crystal(), protocol(0.4), tmp_path, options).require_success()
    dumps = sum(path.stat().st_size for path in run.segments[0].directory.glob("dump_*"))
    assert dumps / (288 * 11) == pytest.approx(frame_bytes(output), rel=0.25)


def test_the_number_of_atoms_is_known_before_the_run(tmp_path):
    write_start(tmp_path / "a.data", soft_crystal(), ELEMENTS)
    assert n_atoms(tmp_path / "a.data") == n_atoms(soft_crystal()) == 288
