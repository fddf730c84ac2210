"""Scripts say what they do without the packages of the tests, and benchmarks print JSON that programs can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# one process imports what most of them import, and forks for each
_HELPS = """
import os, runpy, sys
sys.modules["pytest"] = None
import numpy, psutil, gst_jobflow.launch.services, gst_jobflow.store
for number, script in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{number}.{name}", os.O_CREAT | os.O_WRONLY), stream)
        sys.argv, sys.path[0] = [script, "--help"], os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def _python_scripts() -> list[Path]:
    found = [SCRIPTS / "house.py", *sorted((SCRIPTS / "bench").glob("b*_*.py"))]
    for path in sorted(SCRIPTS.iterdir()):
        if path.is_file() and not path.suffix and "python" in path.read_text().splitlines()[0]:
            found.append(path)
    return found


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, tuple[int, str, str]]:
    """Exit code, stdout and stderr of `SCRIPT --help` without pytest, by script."""
    folder, scripts = tmp_path_factory.mktemp("helps"), _python_scripts()
    done = subprocess.run(
        [sys.executable, "-c", _HELPS, *map(str, scripts)],
        stdout=subprocess.PIPE, text=True, timeout=600, check=True, cwd=folder,
    )  # fmt: skip
    texts = [[(folder / f"{number}.{name}").read_text() for name in ("out", "err")] for number in range(len(scripts))]
    codes = map(int, done.stdout.split())
    return {script: (code, out, err) for script, code, (out, err) in zip(scripts, codes, texts, strict=True)}


@pytest.mark.parametrize("script", _python_scripts(), ids=lambda path: path.name)
def test_help_needs_no_pytest(script: Path, helps: dict[Path, tuple[int, str, str]]) -> None:
    code, out, err = helps[script]
    assert code == 0, err[-2000:]
    assert "usage:" in out and len(out.splitlines()) > 3


@pytest.mark.mongo
@pytest.mark.lammps
def test_benchmark_of_robustness_runs_the_same_steps_in_both_arms(tmp_path: Path) -> None:
    pytest.importorskip("pyace")
    command = [sys.executable, str(SCRIPTS / "bench" / "bench_robustness.py"), "--size", "small", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True, cwd=tmp_path)
    busy, cost = json.loads(done.stdout)["rows"]
    assert 0 < busy["value"] <= 100 and busy["unit"] == "%"
    assert "2 runs of 60 atoms, 2,000 steps" in cost["name"] and cost["value"] > 0 < cost["baseline_value"]


def test_script_without_gst_jobflow_names_the_remedy_in_one_line() -> None:
    code = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import _environment"
    # -I -S: no site-packages
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "scripts/setup makes .venv" in done.stderr


def test_json_of_a_benchmark_stands_alone_on_stdout() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS / 'bench')!r}); import os, subprocess, _common\n"
        "def measure(size):\n"
        "    print('a library talks'); os.write(1, b'so does C code\\n'); subprocess.run(['echo', 'and a child'])\n"
        "    yield _common.Row('rows', 1.0, 's')\n"
        "_common.main('', measure, ['typer'])"
    )
    done = subprocess.run([sys.executable, "-c", code, "--json"], capture_output=True, text=True, check=True)
    assert [row["name"] for row in json.loads(done.stdout)["rows"]] == ["rows"]
    assert all(text in done.stderr for text in ("a library talks", "so does C code", "and a child"))
