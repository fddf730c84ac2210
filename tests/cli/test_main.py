"""The frame of the command line: light to start, errors of one line, wrong usage named."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from typer.main import get_command

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import CORES_VARIABLE
from gst_jobflow.cli.common import parse_assignments, set_global_options
from gst_jobflow.cli.fit_options import varied
from gst_jobflow.cli.lazy import FORMER, load
from gst_jobflow.cli.main import SECTIONS as GST_SECTIONS
from gst_jobflow.cli.main import app, main
from gst_jobflow.cli.structures import SECTIONS as STRUCTURES_SECTIONS
from gst_jobflow.cli.submit import SECTIONS as SUBMIT_SECTIONS

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

SECTIONS = [
    ("gst_jobflow.cli", GST_SECTIONS),
    ("gst_jobflow.cli.structures", STRUCTURES_SECTIONS),
    ("gst_jobflow.cli.submit", SUBMIT_SECTIONS),
]
GST = [sys.executable, "-c", "from gst_jobflow.cli.main import main; main()"]


def gst(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as the program does, but in this process: starting one takes longer than most commands."""
    out, err = io.StringIO(), io.StringIO()
    with patch.dict(os.environ), contextlib.chdir(cwd or Path.cwd()), patch.object(sys, "argv", ["gst", *words]):
        _forget_settings()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
            main()
    return subprocess.CompletedProcess(["gst", *words], int(left.value.code or 0), out.getvalue(), err.getvalue())


def gst_process(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in _settings()}
    return subprocess.run([*GST, *words], capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def _settings() -> list[str]:
    return [name for name in os.environ if name.startswith("GST_") and name != CORES_VARIABLE]


def _forget_settings() -> None:
    for name in _settings():
        del os.environ[name]
    set_global_options(project=None, overrides={}, resources={}, workflow_file=None)


def _loaded_with(module: str) -> set[str]:
    code = f"import sys, {module}; print(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("command", ["query", "status", "show"])
def test_commands_that_only_read_documents_load_no_arrays_and_no_workflows(command: str) -> None:
    assert not {"numpy", "ase", "jobflow", "pandas", "matplotlib"} & _loaded_with(f"gst_jobflow.cli.{command}")


@pytest.mark.parametrize("command", ["export", "analyse", "structures.hard_sphere", "structures.crystal", "launch"])
def test_commands_that_run_no_maker_load_no_jobflow(command: str) -> None:
    assert "jobflow" not in _loaded_with(f"gst_jobflow.cli.{command}")


@pytest.mark.parametrize("module", ["cli.launch", "labelling.maker", "dynamics.maker", "fitting.maker"])
def test_launchers_and_jobs_load_matscipy_only_to_search_for_neighbours(module: str) -> None:
    assert "matscipy" not in _loaded_with(f"gst_jobflow.{module}")


def test_help_imports_nothing_heavy() -> None:
    loaded = _loaded_with("gst_jobflow.cli.main")
    heavy = {
        "numpy",
        "ase",
        "jobflow",
        "fireworks",
        "pymongo",
        "pymatgen",
        "tensorflow",
        "ovito",
        "matplotlib",
        "pandas",
        "pydantic",
    }
    assert not heavy & loaded


@pytest.mark.parametrize(("package", "sections"), SECTIONS)
def test_help_describes_a_command_as_its_module_does(package: str, sections: dict[str, dict[str, str]]) -> None:
    for name, text in [pair for commands in sections.values() for pair in commands.items()]:
        assert load(package, name).get_short_help_str(1000) == text


def test_a_former_command_names_its_successor() -> None:
    done = gst_process("submit", "dataset", "iter-0")
    assert done.returncode == 1 and "gst dataset create" in done.stderr


def test_help_names_every_command_once_under_its_group() -> None:
    lines = gst_process("--help").stdout.splitlines()
    listed = [line.split()[0] for line in lines[lines.index("Project:") :] if line.startswith("  ") and line[2] != " "]
    assert sorted(listed) == sorted(get_command(app).list_commands(None))
    assert {"init", "doctor", "demo", "db", "structures", "submit", "launch", "status", "recover", "query"} < set(
        listed
    )
    assert [line for line in lines if line and line[0] != " " and line.endswith(":")] == [
        "Options:",
        "Project:",
        "Data:",
        "Work:",
        "Results:",
    ]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["qury", "structures"], 2, "query"),
        (["query"], 2, "ollection"),
        (["--nonsense"], 2, "--nonsense"),
        (["query", "structures"], 1, "gst init"),
        (["demo", "--size", "huge"], 1, "standard"),
        (["structures", "hard-sphere", "Ge2Sb2Te5", "--atoms", "10", "-o", "x.xyz"], 1, "9 or 18 atoms"),
        (
            ["structures", "hard-sphere", "Ge2Sb2Te5", "--atoms", "45", "--density", "16", "-o", "x.xyz"],
            1,
            "packing fraction",
        ),
        (["structures", "hard-sphere", "GeTe", "--atoms", "8", "--density", "much", "-o", "x.xyz"], 1, "ranges as"),
        (["structures", "crystal", "cubic", "GeTe", "-o", "x.xyz"], 1, "rocksalt"),
        (["structures", "crystal", "rocksalt", "GeTe", "--repeat", "2", "-o", "x.xyz"], 1, "2x2x2"),
        (["--set", "mongo", "status"], 1, "KEY=VALUE"),
        (["--set", "lammps.ranks=[", "status"], 1, "not YAML"),
        (["--set", "mongo=3", "--set", "mongo.port=1", "status"], 1, "already has a value"),
    ],
)
def test_wrong_input_is_one_line_with_a_remedy(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    done = gst(*words, cwd=tmp_path)
    assert done.returncode == code
    assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        first, second = done.stderr.strip().splitlines()
        assert first.startswith("error: ") and second.startswith("  → ")


def test_full_disk_is_one_line_and_bugs_are_not_hidden(monkeypatch, capsys) -> None:
    from gst_jobflow.cli import main as module

    def fails(err: OSError):
        def app() -> None:
            raise err

        monkeypatch.setattr(module, "app", app)
        module.main()

    with pytest.raises(SystemExit) as left:
        fails(OSError(errno.ENOSPC, "No space left on device", "/data/x"))
    assert left.value.code == 1
    assert capsys.readouterr().err.startswith("error: /data/x: No space left on device\n  → free space")
    with pytest.raises(FileNotFoundError):
        fails(FileNotFoundError(errno.ENOENT, "No such file or directory", "inner"))


def test_structures_go_to_a_file_without_a_project(tmp_path: Path) -> None:
    from ase.io import read

    done = gst(
        "structures", "hard-sphere", "Ge2Sb2Te5", "--atoms", "9", "-N", "3", "--seed", "5", "-o", "x.xyz", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    again = gst(
        "structures", "hard-sphere", "Ge2Sb2Te5", "--atoms", "9", "-N", "3", "--seed", "5", "-o", "y.xyz", cwd=tmp_path
    )
    assert again.returncode == 0
    images = read(tmp_path / "x.xyz", ":")
    assert len(images) == 3 and {str(image.symbols.get_chemical_formula()) for image in images} == {"Ge2Sb2Te5"}
    assert (tmp_path / "x.xyz").read_text() == (tmp_path / "y.xyz").read_text()


def test_assignments_nest_and_are_typed() -> None:
    assert parse_assignments(["lammps.ranks=4", "mongo.uri=null"]) == {"lammps": {"ranks": 4}, "mongo": {"uri": None}}
    # words to YAML 1.1
    assert parse_assignments(["accuracy=1e-3", "list=[2.5E4, 1e-8x]"]) == {"accuracy": 1e-3, "list": [2.5e4, "1e-8x"]}
    assert varied(["loss.L2_coeffs=1e-8,1e-6"]) == {"loss.L2_coeffs": [1e-8, 1e-6]}
    with pytest.raises(InputError, match=r"--vary loss\.kappa is given twice"):
        varied(["loss.kappa=0.1,0.2", "loss.kappa=0.3"])
    with pytest.raises(InputError, match="a value is given twice"):
        varied(["loss.kappa=0.1,0.2,0.1"])
    with pytest.raises(InputError):
        parse_assignments(["lammps.ranks"])


def test_settings_of_the_command_line_reach_what_it_starts(tmp_path: Path) -> None:
    (tmp_path / "gst.yaml").write_text("")
    code = (
        "import os; from gst_jobflow.cli.common import open_project, set_global_options, parse_assignments\n"
        "set_global_options(overrides=parse_assignments(['lammps.ranks=7', 'mongo.cache_gb=1.5'])); open_project()\n"
        "print({k: v for k, v in os.environ.items() if k.startswith('GST_')})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "'GST_LAMMPS__RANKS': '7'" in done.stdout and "'GST_MONGO__CACHE_GB': '1.5'" in done.stdout


@pytest.mark.mongo
def test_a_small_study_by_the_command_line(project: Project) -> None:
    import json

    here = ["-p", str(project.root)]
    made = gst_process(
        *here, "structures", "hard-sphere", "GeTe", "--atoms", "8", "-N", "4", "--density", "5", "--tag", "t"
    )
    assert len(made.stdout.split()) == 4 and "4 new structures" in made.stderr
    assert gst(*here, "query", "structures", "-w", "tags=t", "--count").stdout.strip() == "4"
    wrong = gst_process(*here, "submit", "label", "--backend", "tblite", "-w", "tags=none")
    assert wrong.returncode == 1 and "no structure matches" in wrong.stderr
    assert gst(*here, "submit", "label", "--backend", "tblite", "-w", "tags=t", "--chunk", "3").returncode == 0
    assert json.loads(gst(*here, "status", "--json").stdout)["counts"] == {"READY": 2}
    launched = gst_process(*here, "--set", "launch.poll_s=1", "launch", "-n", "2")
    assert launched.returncode == 0, launched.stderr
    labels = json.loads(gst(*here, "query", "labels", "--json", "--limit", "0").stdout)
    assert len(labels) == 4 and {label["method"]["code"] for label in labels} == {"tblite"}
    for label in labels:
        assert (label["state"] == "converged") == (label["energy_eV"] is not None)
    assert json.loads(gst(*here, "ingest", "--json").stdout)["new"] == 0
    assert "nothing to recover" in gst(*here, "recover").stdout


@pytest.mark.parametrize(
    ("words", "former"),
    [
        (("launch",), "-n"),
        (("logs",), "-n"),
        (("structures", "select"), "-n"),
        (("submit", "hyperopt"), "-n"),
        (("submit", "aimd"), "--every"),
        (("structures", "import"), "--workers"),
    ],
)
def test_former_options_work_and_are_hidden(words: tuple[str, ...], former: str) -> None:
    shown = gst(*words, "--help").stdout
    assert f" {former} " not in shown and f"{former}," not in shown
    refused = gst(*words, former, "none").stderr
    assert "Invalid value" in refused and "No such option" not in refused


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("submit", "fit", "iter-1", "--to", "flow.yaml"), "gst submit --to … fit"),
        (("submit", "label", "--ask", "nodes=2"), "gst submit --ask … label"),
        (("submit", "cycle", "--project", "here"), "gst --project … submit cycle"),
        (("db", "up", "-p", "here"), "gst -p … db up"),
        (("status", "--set", "a=1"), "gst --set … status"),
        (("dataset", "show", "--version"), "gst --version dataset show"),
    ],
)
def test_an_option_of_a_group_after_the_command_is_told_its_place(words: tuple[str, ...], hint: str) -> None:
    done = gst(*words)
    assert done.returncode == 2
    assert "It goes before the command: " in done.stderr and done.stderr.rstrip().endswith(hint), done.stderr


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("--to", "flow.yaml", "submit", "fit", "iter-1"), "gst submit --to …"),
        (("submit", "--estimate", "fit", "iter-1"), "submit fit --estimate"),
        (("--where", "a=1", "query", "labels"), "query --where …"),
    ],
)
def test_an_option_before_its_command_is_told_its_place(words: tuple[str, ...], hint: str) -> None:
    done = gst(*words)
    assert done.returncode == 2
    assert "It goes after the command: " in done.stderr and done.stderr.rstrip().endswith(hint), done.stderr


def test_an_option_that_no_command_has_is_told_no_place() -> None:
    for words in (("submit", "fit", "--no-such"), ("--no-such", "submit", "fit")):
        assert "It goes" not in gst(*words).stderr


def test_one_short_option_has_one_meaning() -> None:
    meanings: dict[str, set[str]] = {}
    for package, sections in SECTIONS:
        for name in [name for commands in sections.values() for name in commands if name != "submit"]:
            for option in _options(load(package, name)):
                for short in option.opts:
                    if len(short) == 2 and FORMER.get(option.opts[0]) != short:
                        meanings.setdefault(short, set()).add(option.opts[0])
    assert {short: names for short, names in meanings.items() if len(names) > 1} == {}
    assert meanings["-w"] == {"--where"} and meanings["-o"] == {"--output"}


def _options(command: Any) -> Iterator[Any]:
    yield from (option for option in command.params if option.opts[0].startswith("-"))
    for each in getattr(command, "commands", {}).values():
        yield from _options(each)
