#!/usr/bin/env bash
# phonopy 4.10.0 multiplies the cell vectors of a POSCAR by the second line and nothing else. A
# negative value, which is the volume, gives a cell of -216 A a side; with Cartesian coordinates
# the positions are not scaled. No error. Seen beside ASE 3.29.0 and pymatgen 2026.10.24, which
# agree with VASP: -10077696 for a volume of 216 A^3; 2.6 A for a bond of 5.2 A.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q phonopy==4.10.0 ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase.io import read
from phonopy.interface.vasp import read_vasp
from pymatgen.io.vasp import Poscar

open("volume.vasp", "w").write("GeTe\n-216.0\n1 0 0\n0 1 0\n0 0 1\nGe Te\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n")
open("cartesian.vasp", "w").write("GeTe\n2.0\n3 0 0\n0 3 0\n0 0 3\nGe Te\n1 1\nCartesian\n0 0 0\n1.5 1.5 1.5\n")
volumes = [read("volume.vasp", format="vasp").get_volume(), Poscar.from_file("volume.vasp").structure.volume,
           read_vasp("volume.vasp").volume]
print("volume: ASE, pymatgen, phonopy:", [round(float(v), 3) for v in volumes])
bonds = [float(np.linalg.norm(p)) for p in (read("cartesian.vasp", format="vasp").positions[1],
         Poscar.from_file("cartesian.vasp").structure.cart_coords[1], read_vasp("cartesian.vasp").positions[1])]
print("bond: ASE, pymatgen, phonopy:", [round(b, 3) for b in bonds], "cell", read_vasp("cartesian.vasp").cell[0])
assert np.allclose(volumes[:2], 216) and volumes[2] < 0, "volume: the behaviour has changed"
assert np.allclose(bonds[:2], 5.196, atol=1e-3) and np.isclose(bonds[2], 2.598, atol=1e-3), "changed"
PY
