#!/usr/bin/env bash
# pymatgen 2026.10.24 keeps one cell for a whole trajectory unless told otherwise: Trajectory.from_structures and from_file
# have constant_lattice=True, also for an XDATCAR that repeats its cell before each frame, as VASP writes it at constant
# pressure. Xdatcar reads all cells, and its write_file writes the first only. Density and distances of later frames are
# those in the first cell. Nothing is said. Seen for cells of 6.0, 6.3 and 6.6 A: 6.0 A three times. ASE 3.29.0 reads all
# three.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q pymatgen==2026.10.24 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from pathlib import Path

from ase.io import read
from pymatgen.core.trajectory import Trajectory
from pymatgen.io.vasp import Xdatcar

SIDES_A = [6.0, 6.3, 6.6]
Path("XDATCAR").write_text("".join(
    f"GeTe\n1.0\n{a} 0 0\n0 {a} 0\n0 0 {a}\nGe Te\n1 1\nDirect configuration= {step:5d}\n0.0 0.0 0.0\n0.5 0.5 0.5\n"
    for step, a in enumerate(SIDES_A, start=1)
))
xdatcar = Xdatcar("XDATCAR")
xdatcar.write_file("XDATCAR.again")


def sides(trajectory):
    return [round(trajectory.get_structure(place).lattice.a, 6) for place in range(len(trajectory))]


seen = {
    "ASE": [round(float(atoms.cell[0, 0]), 6) for atoms in read("XDATCAR", index=":", format="vasp-xdatcar")],
    "pymatgen Xdatcar": [structure.lattice.a for structure in xdatcar.structures],
    "the same, written and read again": [structure.lattice.a for structure in Xdatcar("XDATCAR.again").structures],
    "Trajectory.from_file": sides(Trajectory.from_file("XDATCAR")),
    "Trajectory.from_structures": sides(Trajectory.from_structures(xdatcar.structures)),
    "Trajectory.from_structures, constant_lattice=False": sides(
        Trajectory.from_structures(xdatcar.structures, constant_lattice=False)
    ),
}
for what, found in seen.items():
    print(f"{what:52}{found}")
assert list(seen.values()) == [SIDES_A, SIDES_A, [6.0] * 3, [6.0] * 3, [6.0] * 3, SIDES_A], "the behaviour has changed"
PY
