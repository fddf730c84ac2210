"""Relax cells under pressure, one after the other: `python -m gst_jobflow.dynamics.relax_program JOB.json`.

ASE's Frechet cell filter moves atoms and cell, LAMMPS as a library computes forces and stress. A process of its own,
since an error of LAMMPS may end it; what was written before it stays, and a second run goes on after that.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.calculators.lammpslib import LAMMPSlib
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import LBFGS

from gst_jobflow.structures.floors import contact_floors, contacts

_LARGEST_SWELLING = 8.0
"""A cell that grew to this many times its volume falls apart: it has no minimum under this pressure."""


def main(job_file: str) -> None:
    """Relax the cells of a job file that have no result yet, until its time is over."""
    job = json.loads(Path(job_file).read_text())
    cells = read(job["cells"], ":")
    for index in job["indices"]:
        if time.time() > job["until"]:
            break
        if not Path(f"relaxed_{index}.json").exists():
            relax_one(cells[index], index, job)


def relax_one(atoms: Atoms, index: int, job: dict[str, Any]) -> None:
    """Relax one cell; writes ``frames_I.extxyz`` (sound frames, the last one last) and then ``relaxed_I.json``."""
    pressure = job["pressures_GPa"][index] * units.GPa
    atoms.info, atoms.calc = {}, _calculator(job)
    largest_A3 = _LARGEST_SWELLING * atoms.get_volume()
    floors = contact_floors(atoms.get_chemical_symbols(), job["floors_A"], job["floor_share"])
    optimiser = LBFGS(FrechetCellFilter(atoms, scalar_pressure=pressure), logfile=os.devnull)  # type: ignore[arg-type]
    frames: list[Atoms] = []
    state, reason = "unfinished", f"not converged after {job['steps']} steps"
    last_sound = None
    for converged in optimiser.irun(fmax=job["force_eV_A"], steps=job["steps"]):
        contact = contacts(atoms, floors)
        energy = atoms.get_potential_energy()
        if not contact.is_sound or not np.isfinite(energy) or atoms.get_volume() > largest_A3:
            state, reason = "collapsed", f"{contact.worst} at {contact.worst_A:.2f} Å"
            if contact.is_sound:
                state, reason = "swollen", f"{atoms.get_volume() / len(atoms):.0f} Å³ an atom, energy {energy:.6g} eV"
            break
        last_sound = _frame(atoms, energy, pressure, optimiser.nsteps)
        if optimiser.nsteps % job["frame_every"] == 0:
            frames.append(last_sound)
        if converged:
            state, reason = "converged", ""
    if last_sound is not None and (not frames or frames[-1] is not last_sound):
        frames.append(last_sound)
    if frames:
        write(f"frames_{index}.extxyz", frames, format="extxyz")
    found = {"state": state, "reason": reason, "steps": optimiser.nsteps, "n_frames": len(frames)}
    part = Path(f"relaxed_{index}.part")
    part.write_text(json.dumps(found))
    part.replace(f"relaxed_{index}.json")


def _calculator(job: dict[str, Any]) -> LAMMPSlib:
    elements = job["elements"]
    return LAMMPSlib(
        lmpcmds=job["pair_lines"],
        atom_types={element: number for number, element in enumerate(elements, 1)},
        lammps_header=["units metal", "atom_style atomic", "atom_modify map array sort 0 0"],
        log_file=None,
        keep_alive=True,
    )


def _frame(atoms: Atoms, energy_eV: float, pressure: float, step: int) -> Atoms:
    frame = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    frame.info = {"step": step, "enthalpy_eV": energy_eV + pressure * atoms.get_volume(), "potential_eV": energy_eV}
    return frame


if __name__ == "__main__":
    # the filter's matrix logarithm warns at 1e-13
    warnings.filterwarnings("ignore", category=RuntimeWarning)
    main(sys.argv[1])
