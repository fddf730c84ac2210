#!/usr/bin/env bash
# ASE 3.29.0 keeps the charges of a LAMMPS data file (atom_style charge) as initial charges;
# tblite 0.8.0 takes the sum of the initial charges as the net charge of the cell. Fixed charges
# of a force field that do not cancel in a cut-out cell change the label. Seen: +1 on one of eight
# atoms moves GeTe by +10.3 eV; nothing in the output says that the cell is charged.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q tblite==0.8.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from ase.build import bulk
from ase.io import read
from tblite.ase import TBLite

gete = bulk("GeTe", "rocksalt", a=6.0, cubic=True)
gete.rattle(0.05, seed=1)
energies = {}
for charge in (0.0, 1.0):
    rows = "\n".join(
        f"{i + 1} {1 if s == 'Ge' else 2} {charge if i == 0 else 0.0} {x:.8f} {y:.8f} {z:.8f}"
        for i, (s, (x, y, z)) in enumerate(zip(gete.symbols, gete.get_positions(wrap=True)))
    )
    open("cell.data", "w").write(
        "GeTe\n\n8 atoms\n2 atom types\n0 6 xlo xhi\n0 6 ylo yhi\n0 6 zlo zhi\n\nMasses\n\n1 72.63\n2 127.6\n\n"
        f"Atoms # charge\n\n{rows}\n"
    )
    atoms = read("cell.data", format="lammps-data")
    atoms.calc = TBLite(method="GFN1-xTB", verbosity=0)
    energies[charge] = atoms.get_potential_energy()
    print("sum of the file's charges", atoms.get_initial_charges().sum(), "energy", round(energies[charge], 4), "eV")
assert energies[1.0] - energies[0.0] > 5, "the behaviour has changed"
PY
