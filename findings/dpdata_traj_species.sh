#!/usr/bin/env bash
# dpdata 1.1.0 reads a trajectory of ASE (fmt="ase/traj") with the species of its first frame for all frames. Such a file
# may hold any structures, and labels are often kept in one. Where the number of atoms agrees, frames with the same elements
# in another order, and even frames of other elements, come back with positions, forces and energies of their own on the
# wrong species. Nothing is said. Seen for three frames: "Te Te Sb Ge" and "Sb Sb Te Te" become "Ge Te Te Sb". MultiSystems
# with fmt="ase/structure" reads the same file right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q dpdata==1.1.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import dpdata
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

frames = []
for place, symbols in enumerate((["Ge", "Te", "Te", "Sb"], ["Te", "Te", "Sb", "Ge"], ["Sb", "Sb", "Te", "Te"])):
    atoms = Atoms(symbols, [[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]], cell=[6, 6, 6], pbc=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-10.0 - place, forces=np.arange(12.0).reshape(4, 3), stress=np.zeros(6))
    frames.append(atoms)
write("labels.traj", frames)
ours = [f.get_chemical_symbols() for f in read("labels.traj", index=":")]
system = dpdata.LabeledSystem("labels.traj", fmt="ase/traj")
theirs = [f.get_chemical_symbols() for f in system.to("ase/structure")]
several = dpdata.MultiSystems.from_file("labels.traj", fmt="ase/structure")
for place in range(3):
    print(f"energy {system['energies'][place]:.0f} eV: ASE {' '.join(ours[place])}, dpdata {' '.join(theirs[place])}")
print("as MultiSystems:", {name: len(each) for name, each in several.systems.items()})
assert theirs == [ours[0]] * 3, "dpdata reads the species of every frame, or refuses the file"
assert sorted(len(each) for each in several.systems.values()) == [1, 2]
assert np.allclose(system["coords"], [f.positions for f in frames])
PY
