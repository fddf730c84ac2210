"""scripts/crystallise_sb2te3: its cell, its fit of the front, its velocities, and a run that is continued."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from gst_jobflow.dynamics.dump import iter_frames
from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "crystallise_sb2te3"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(SCRIPT.parent))
    loader = SourceFileLoader("crystallise_sb2te3", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)


def test_the_first_half_of_the_atoms_is_the_stretched_right_half(script) -> None:
    atoms, molten = script.two_halves((10, 3, 1), 1.08)
    assert (len(atoms), molten) == (900, 450)
    assert atoms[:molten].get_chemical_formula() == atoms[molten:].get_chemical_formula() == "Sb180Te270"
    a = 4.264
    x = atoms.positions[:, 0]
    # planes of atoms are a/2 apart, stretched by 1.08 in the molten half
    assert atoms.cell[0, 0] == pytest.approx(5 * a * 2.08)
    assert sorted(np.unique(np.round(np.diff(np.unique(np.round(x[:molten], 4))), 2))) == [round(0.54 * a, 2)]
    assert x[:molten].min() > x[molten:].max()
    distances = atoms.get_all_distances(mic=True) + 10 * np.eye(len(atoms))
    assert distances.min() > 2.9


def test_the_fit_finds_known_fronts_also_beyond_the_periodic_boundary(script) -> None:
    random = np.random.default_rng(2)
    u = random.uniform(-24, 24, 900)
    for left, right in ((-13.0, 11.0), (-6.0, 4.0), (-26.0, 10.0)):
        away = np.array([np.tanh((u - left + n) / 3) - np.tanh((u - right + n) / 3) for n in (-48, 0, 48)]).sum(axis=0)
        k = 0.55 + 0.175 * away + random.normal(0, 0.05, len(u))
        found = script.fit_front(u, k, 48.0)
        assert found[:2] == pytest.approx((left, right), abs=0.6)
        assert found[2:] == pytest.approx((3.0, 0.9, 0.55), abs=0.6)


def test_velocities_are_positive_where_crystal_grows_and_their_errors_hold(script) -> None:
    random, time = np.random.default_rng(1), np.arange(200.0)
    within = []
    for _ in range(50):
        # wandering of a front that lasts five frames
        noise = np.convolve(random.normal(0, 0.5, 205), np.full(6, 1 / 6), "valid")
        shares = 0.5 + random.normal(0, 0.001, len(time))
        fronts = [
            script.Front(t, -12 - 0.01 * t - n, 12 + 0.02 * t + n, 3, 0.9, 0.5, 0.7, share, 0.8 * share, 48)
            for t, n, share in zip(time, noise, shares, strict=True)
        ]
        found = script.velocities(fronts, 10.0, 42.6)
        assert found["left front"][0] - 0.01 == pytest.approx(found["right front"][0] - 0.02, abs=1e-9)
        assert found["half of the thickness by tellurium"][0] == pytest.approx(0, abs=1e-3)
        rate, error = found["right front"]
        within.append(abs(rate - 0.02) < 2 * error)
    assert np.mean(within) > 0.8
    with pytest.raises(script.InputError, match="9 frames after 191 ps"):
        script.velocities(fronts, 191.0, 42.6)


@pytest.mark.lammps
def test_the_set_continues_where_it_stopped_and_is_read(tmp_path: Path, engine, tiny_potential) -> None:  # noqa: F811
    small = [tiny_potential.yace, str(tmp_path), "--repeat", "4x2x1", "--melt-ps", "0.2", "--settle", "0"]
    short = run(*small, "--ps", "6")
    assert short.returncode == 1 and "7 frames after 0 ps give no velocity" in short.stderr
    done = run(*small, "--ps", "20")
    assert done.returncode == 0, done.stderr
    assert "| mean of both fronts |" in done.stdout
    assert (tmp_path / "hold" / "segment_001").exists()
    first, second = (list(iter_frames(tmp_path / "hold" / f"segment_00{n}" / "hold.lammpstrj")) for n in (0, 1))
    # no barostat along y and z
    assert first[0].cell[1, 1] == second[-1].cell[1, 1] and first[0].cell[0, 0] != second[-1].cell[0, 0]
    rows = (tmp_path / "front.csv").read_text().splitlines()
    assert [float(row.split(",")[0]) for row in rows[1:]] == list(range(21))
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("front.png", "snapshots.png"))


def test_wrong_input_is_one_line(tmp_path: Path) -> None:
    absent = run(str(tmp_path / "none.yace"), str(tmp_path))
    assert absent.returncode == 1 and absent.stderr.count("\n") == 1 and "none.yace" in absent.stderr
    nothing = run("none.yace", str(tmp_path), "--minutes", "0")
    assert nothing.returncode == 1 and "no frame of the SET yet: give it --minutes" in nothing.stderr
    assert run("none.yace", str(tmp_path), "--repeat", "2x1x1").returncode == 2
