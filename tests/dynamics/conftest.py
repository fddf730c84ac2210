"""A tiny ACE potential made on the spot, and the LAMMPS of this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from scripts._tiny_potential import make_tiny_potential

_HELD_BACK = """\
#!/bin/sh
trap "" USR1
case "$PWD" in */{segments})
    n=0
    while [ ! -e stop.request ] && [ $n -lt 3000 ]; do sleep 0.1; n=$((n+1)); done;;
esac
exec {lmp} "$@"
"""


@pytest.fixture(scope="session")
def engine() -> LammpsEngine:
    try:
        return LammpsEngine.discover()
    except MissingProgramError as error:
        pytest.skip(str(error))


def held_back(folder: Path, engine: LammpsEngine, segments: str = "segment_000") -> str:
    """Return settings of a LAMMPS whose first segments begin their work when they are asked to stop, not before.

    So they stop at their first restart file, however quick the machine is. They do not hear SIGUSR1.
    """
    folder.mkdir()
    variables = " ".join(["env", *(shlex.quote(f"{name}={value}") for name, value in engine.env.items())])
    mpirun = shlex.split(engine.mpi_command)[0]
    programs = {
        "lmp": _HELD_BACK.format(segments=segments, lmp=f"{variables} {shlex.join(engine.command)}"),
        "mpirun": f'#!/bin/sh\ntrap "" USR1\nexec {variables} {shlex.quote(mpirun)} "$@"\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"lammps: {{command: '{folder / 'lmp'}', plugin_path: {engine.plugin_path or 'null'}}}\n"


@pytest.fixture(scope="session")
def tiny_potential(tmp_path_factory: pytest.TempPathFactory) -> PotentialFiles:
    """A purely repulsive pair potential of bounded height: any dynamics with it is smooth and stable."""
    pytest.importorskip("pyace")
    return make_tiny_potential(tmp_path_factory.mktemp("potential"))
