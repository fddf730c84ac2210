"""Predict energies and forces by pyace: `python predict_program.py KIND POTENTIAL IN.npz OUT.npz`.

The Python that has pacemaker's package runs it without the rest of this project.
KIND is ace (`.yace`) or grace/fs (`.yaml`).
"""

from __future__ import annotations

import sys

import numpy as np
from ase import Atoms
from pyace import PyACECalculator
from pyace.asecalc import PyGRACEFSCalculator


def main(kind: str, potential: str, source: str, target: str) -> None:
    """Read `numbers`, `positions`, `cells`, `pbc`, `n_atoms`; write `energies` (eV) and `forces` (eV/Å)."""
    with np.load(source, allow_pickle=False) as arrays:
        given = {name: arrays[name] for name in arrays.files}
    calculator = PyGRACEFSCalculator(potential) if kind == "grace/fs" else PyACECalculator(potential)
    ends = np.cumsum(given["n_atoms"])
    energies, forces = np.empty(len(ends)), np.empty((len(given["numbers"]), 3))
    for place, (end, count) in enumerate(zip(ends, given["n_atoms"], strict=True)):
        part = slice(end - count, end)
        atoms = Atoms(
            given["numbers"][part],
            positions=given["positions"][part],
            cell=given["cells"][place],
            pbc=given["pbc"][place],
        )
        atoms.calc = calculator
        energies[place] = atoms.get_potential_energy()
        forces[part] = atoms.get_forces()
    np.savez(target, energies=energies, forces=forces)


if __name__ == "__main__":
    main(*sys.argv[1:])
