"""What is in the checkout is in the package."""

from __future__ import annotations

import configparser
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Set
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from gst_jobflow import __version__
from tests.base.test_processes import alive, pid_in, wait_for

ROOT = Path(__file__).parents[1]


def test_every_package_is_named_in_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    named = set(config["options"]["packages"].split())
    there = {".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "gst_jobflow").rglob("__init__.py")}
    assert there <= named
    assert {name for name in named - there if not (ROOT / name.rpartition(".")[2]).is_dir()} == set()


def test_help_of_the_tests_sets_up_nothing(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(Path(__file__).parents[1] / "scripts" / "test", scripts)
    (scripts / "setup").write_text("#!/bin/sh\ntouch was-set-up\nexit 1\n")
    (scripts / "setup").chmod(0o755)
    done = subprocess.run([scripts / "test", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "Options go to pytest" in done.stdout
    assert not (tmp_path / "was-set-up").exists()


def declared(without: Set[str] = frozenset()) -> list[Requirement]:
    """What setup.cfg asks for, with all extras but those."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = [text for name, text in config["options.extras_require"].items() if name not in without]
    texts = [config["options"]["install_requires"], *extras]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    return [requirement for requirement in map(Requirement, lines) if requirement.name != "gst_jobflow"]


def test_constraints_name_a_version_of_every_dependency_that_setup_cfg_allows() -> None:
    lines = [line for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    assert {item.name for item in declared() if canonicalize_name(item.name) not in pinned} == set()
    refused = [str(item) for item in declared() if not item.specifier.contains(pinned[canonicalize_name(item.name)])]
    assert refused == []


def test_constraints_hold_for_the_first_python_3_11_too() -> None:
    """A version that wants a later 3.11 lets pip look for another for ever; Debian 12 has 3.11.2."""
    lines = [line for line in (ROOT / ".ci" / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = [line.split("==") for line in lines]
    installed = {name: metadata.distribution(name) for name, version in pinned if _version_of(name) == version}
    wanted = {name: found.metadata["Requires-Python"] or "" for name, found in installed.items()}
    assert len(wanted) > 100
    assert [name for name, python in wanted.items() if not SpecifierSet(python).contains("3.11.0")] == []


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_every_dependency_of_the_package_has_a_lowest_version() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = [Requirement(line) for line in config["options"]["install_requires"].split("\n") if line]
    assert [str(item) for item in needed if not any(part.operator in (">=", "==") for part in item.specifier)] == []


def test_table_of_licences_holds_what_is_installed() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "licences.py")]
    rows = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()
    page = (ROOT / "docs" / "licences.md").read_text().splitlines()
    assert [row for row in rows if row not in page] == [], "scripts/licences.py > docs/licences.md"
    listed = {canonicalize_name(row.split(" | ")[0].strip("| ")) for row in page if row.startswith("| ")}
    assert {item.name for item in declared({"docs", "dev"}) if canonicalize_name(item.name) not in listed} == set()


def test_citation_and_changelog_name_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_ended_test_script_leaves_nothing_behind(tmp_path: Path, ending: signal.Signals) -> None:
    for folder in (scripts := tmp_path / "scripts", programs := tmp_path / ".venv" / "bin"):
        folder.mkdir(parents=True)
    shutil.copy(Path(__file__).parents[1] / "scripts" / "test", scripts)
    runs_on = '#!/bin/sh\necho $$ > "$0.part"\nmv "$0.part" "$0.pid"\nexec sleep 600\n'
    stubs = {scripts / "setup": "#!/bin/sh\n", programs / "ruff": "#!/bin/sh\n", programs / "mypy": runs_on}
    stubs[programs / "python"] = runs_on.replace("\n", '\n[ "$2" = pytest ] || exit 0\n', 1)
    for stub, text in stubs.items():
        stub.write_text(text)
        stub.chmod(0o755)
    # tests in the background ignore SIGINT, and so would their children
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    script = subprocess.Popen([scripts / "test"], start_new_session=True, preexec_fn=heed)
    pids = [programs / f"{name}.pid" for name in ("mypy", "python")]
    assert wait_for(lambda: all(pid_in(file) for file in pids))
    # a terminal sends SIGINT to all programs in its foreground, where background ones ignore it
    (os.killpg if ending == signal.SIGINT else os.kill)(script.pid, ending)
    assert script.wait(60) != 0
    assert wait_for(lambda: not any(alive(pid_in(file) or 0) for file in pids))
