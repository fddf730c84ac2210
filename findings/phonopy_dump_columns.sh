#!/usr/bin/env bash
# phonopy 4.10.0 takes columns 6 to 8 of a LAMMPS dump for the forces, whatever its ITEM: ATOMS line says after "id type". A
# dump with a column of elements gives z, fx, fy; one with velocities before the forces gives the velocities. Both are valid
# dumps, named columns and all, and both are read without a word: wrong force constants. Seen: (0, 0.1, 0.2) and (5, 6, 7)
# for a force of (0.1, 0.2, 0.3) eV/A. ASE 3.29.0 goes by the names.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q phonopy==4.10.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from pathlib import Path

import numpy as np
from ase.io import read
from phonopy.interface.lammps import parse_set_of_forces

HEAD = "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 6\n0 6\n0 6\nITEM: ATOMS id type "
FORCES = np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
DUMPS = {
    "x y z fx fy fz": "1 1 0 0 0 0.1 0.2 0.3\n2 1 3 3 0 -0.1 -0.2 -0.3\n",
    "element x y z fx fy fz": "1 1 Te 0 0 0 0.1 0.2 0.3\n2 1 Te 3 3 0 -0.1 -0.2 -0.3\n",
    "x y z vx vy vz fx fy fz": "1 1 0 0 0 5 6 7 0.1 0.2 0.3\n2 1 3 3 0 -5 -6 -7 -0.1 -0.2 -0.3\n",
}
seen = []
for columns, rows in DUMPS.items():
    Path("forces.0").write_text(f"{HEAD}{columns}\n{rows}")
    assert np.allclose(read("forces.0", format="lammps-dump-text").get_forces(), FORCES)
    seen.append(parse_set_of_forces(2, ["forces.0"], verbose=False)[0])
    print(f"id type {columns:26}phonopy: {seen[-1][0]} and {seen[-1][1]}")
assert np.allclose(seen[0], FORCES)
assert np.allclose(seen[1], [[0, 0.1, 0.2], [0, -0.1, -0.2]]), "phonopy goes by the names of the columns"
assert np.allclose(seen[2], [[5, 6, 7], [-5, -6, -7]]), "phonopy goes by the names of the columns"
PY
