"""Time dynamics by pyace in ASE: `python speed_program.py KIND POTENTIAL IN.npz OUT.json SECONDS`.

The Python that has pacemaker's package runs it. KIND is ace (`.yace`) or grace/fs (`.yaml`).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet

_TRIED_STEPS, _MOST_STEPS = 3, 500


def calculator(kind: str, potential: str):
    """Return the compiled evaluator of a potential; for ACE the recursive one, as in molecular dynamics."""
    if kind == "grace/fs":
        from pyace.asecalc import PyGRACEFSCalculator

        return PyGRACEFSCalculator(potential)
    from pyace import PyACECalculator

    return PyACECalculator(potential, recursive_evaluator=True, recursive=True)


def main(kind: str, potential: str, source: str, target: str, seconds: str) -> None:
    """Write `us_per_atom_step` of the fastest of three runs of about `seconds`, and the `n_steps` of each."""
    with np.load(source, allow_pickle=False) as arrays:
        atoms = Atoms(arrays["numbers"], positions=arrays["positions"], cell=arrays["cell"], pbc=True)
    atoms.calc = calculator(kind, potential)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
    dynamics = VelocityVerlet(atoms, timestep=0.5 * units.fs)
    dynamics.run(1)

    def timed(n_steps: int) -> float:
        begin = time.perf_counter()
        dynamics.run(n_steps)
        return (time.perf_counter() - begin) / n_steps

    n_steps = int(np.clip(float(seconds) / timed(_TRIED_STEPS), _TRIED_STEPS, _MOST_STEPS))
    fastest = min(timed(n_steps) for _ in range(3))
    Path(target).write_text(json.dumps({"us_per_atom_step": 1e6 * fastest / len(atoms), "n_steps": n_steps}))


if __name__ == "__main__":
    main(*sys.argv[1:])
