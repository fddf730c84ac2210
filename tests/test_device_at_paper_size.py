"""scripts/device_at_paper_size on a small cell: what it builds, measures and foretells; what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401

pytestmark = pytest.mark.lammps
SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "device_at_paper_size"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def potential(engine, tiny_potential) -> str:  # noqa: F811
    return str(Path(tiny_potential.yace).parent)


def test_a_scaled_cell_is_built_and_heated_and_the_papers_cycle_estimated(tmp_path: Path, potential: str) -> None:
    small = ["--potential", potential, "--folder", str(tmp_path / "run"), "--formula", "Sb2Te3", "--scale", "0.2"]
    done = run(*small, "--steps", "10", "--ranks", "1", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    # 9 x 5 x 2 orthogonal cells of 30 atoms
    assert told["n_atoms"] == 2700 and told["steps"] == 10 and told["ranks"] == 1
    assert 0 < told["core_us_per_atom_step"] <= told["us_per_atom_step"]
    assert told["asked_eV"] > 100 and told["added_eV"] == pytest.approx(told["asked_eV"], rel=1e-6)
    assert told["kB_per_atom"] * 2.7e6 == pytest.approx(told["peak_bytes"])
    # the paper's 770,000 core hours, and 20 ps and a barrier that we add
    ours, _, _, papers = told["estimates"]
    assert papers["core_hours"] == pytest.approx(770_000, rel=0.01) and papers["core_us"] == pytest.approx(517, abs=2)
    assert ours["core_hours"] == pytest.approx(told["cycle_atom_steps"] * told["core_us_per_atom_step"] * 1e-6 / 3600)
    other = run(*small, "--scale", "0.25")
    assert other.returncode == 1 and "holds another cell" in other.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "the potential has no Ge"),
        (["--formula", "Sb2Te3", "--scale", "0.05"], "less than two cutoffs"),
        (["--formula", "Sb2Te3", "--steps", "7"], "is not a whole number of steps"),
        (["--formula", "Sb2Te3", "--barrier", "nothing.xyz"], "nothing.xyz cannot be read"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, potential: str, options: list[str], said: str) -> None:
    wrong = run("--potential", potential, "--folder", str(tmp_path / "run"), "--scale", "0.2", *options)
    assert wrong.returncode == 1 and not wrong.stdout
    lines = [line for line in wrong.stderr.splitlines() if not line.startswith("barrier of")]
    assert said in lines[0] and len(lines) == 2, wrong.stderr


def test_wrong_numbers_are_wrong_usage(tmp_path: Path, potential: str) -> None:
    wrong = run("--potential", potential, "--folder", str(tmp_path), "--scale", "-1")
    assert wrong.returncode == 2 and "no positive number" in wrong.stderr
    nowhere = run("--potential", potential, "--folder", "/proc/no/where")
    assert nowhere.returncode == 1 and "cannot be made" in nowhere.stderr and "Traceback" not in nowhere.stderr
    assert run("--help").returncode == 0
