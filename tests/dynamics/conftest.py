"""A tiny ACE potential made on the spot, and the LAMMPS of this machine."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from gst_jobflow.base.errors import MissingProgramError
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine

ELEMENTS = ["Sb", "Te"]

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


def soft_crystal(repeat: tuple[int, int, int] = (3, 3, 4)) -> Atoms:
    """Return a slightly rattled rock-salt cell of Sb and Te, 8 atoms a cell."""
    atoms = bulk("SbTe", "rocksalt", a=6.0, cubic=True) * repeat
    atoms.rattle(0.05, seed=3)
    return atoms


@pytest.fixture(scope="session")
def tiny_potential(tmp_path_factory: pytest.TempPathFactory) -> PotentialFiles:
    """A purely repulsive pair potential of bounded height: any dynamics with it is smooth and stable."""
    pytest.importorskip("pyace")
    return make_tiny_potential(tmp_path_factory.mktemp("potential"))


def make_tiny_potential(folder: Path) -> PotentialFiles:
    """Write the files of the potential into `folder`."""
    from pyace import ACEBBasisSet, create_multispecies_basis_config
    from pyace.activelearning import (
        compute_A_active_inverse,
        compute_active_set,
        compute_B_projections,
        save_active_inverse_set,
    )

    config = {
        "deltaSplineBins": 0.001,
        "elements": ELEMENTS,
        "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
        "bonds": {
            "ALL": {
                "radbase": "ChebExpCos",
                "radparameters": [1.0],
                "rcut": 5.0,
                "dcut": 0.01,
                "NameOfCutoffFunction": "cos",
            }
        },
        "functions": {"ALL": {"nradmax_by_orders": [2], "lmax_by_orders": [0]}},
    }
    basis = ACEBBasisSet(create_multispecies_basis_config(config))
    # the first radial function falls smoothly from 1 to 0; the second is left out
    coefficients = np.zeros(len(basis.all_coeffs))
    specs = [f for block in basis.to_BBasisConfiguration().funcspecs_blocks for f in block.funcspecs]
    coefficients[len(coefficients) - len(specs) :] = [1.0 if list(f.ns) == [1] else 0.02 for f in specs]
    radial = np.array(basis.all_coeffs)[: len(coefficients) - len(specs)]
    basis.all_coeffs = [*radial.tolist(), *coefficients[len(radial) :].tolist()]
    basis.to_ACECTildeBasisSet().save_yaml(str(folder / "tiny.yace"))
    cells = [soft_crystal((1, 1, 1)) for _ in range(20)]
    for seed, cell in enumerate(cells):
        cell.rattle(0.3, seed=seed)
    basis.to_BBasisConfiguration().save(str(folder / "tiny.yaml"))
    projections = compute_B_projections(basis, cells)
    inverse = compute_A_active_inverse(compute_active_set(projections, max_iters=50))
    save_active_inverse_set(str(folder / "tiny.asi"), inverse, elements_name=ELEMENTS)
    files = {kind: str(folder / f"tiny.{kind}") for kind in ("yace", "yaml", "asi")}
    return PotentialFiles(elements=ELEMENTS, **files)
