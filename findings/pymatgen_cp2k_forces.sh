#!/usr/bin/env bash
# Cp2kOutput of pymatgen 2026.10.24 converts energies of CP2K to eV, and leaves forces as printed, in
# hartree/bohr: ionic_steps mixes both without saying so, and whoever takes the forces for eV/A is
# wrong by a factor of 51.4. The lines are in the form of CP2K 2023.1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q pymatgen==2026.10.24 numpy==2.3.5
cat > cp2k.out <<'OUT'
 CP2K| version string:                                       CP2K version 2023.1

 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -11.995864251387440


 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      Ge          0.00000039     0.00000029    -0.01142274
      2      2      Te         -0.00000039    -0.00000029     0.01143752
 SUM OF ATOMIC FORCES          -0.00000000     0.00000000     0.00001478     0.00001478

OUT
venv/bin/python -W ignore - <<'PY'
from pymatgen.io.cp2k.outputs import Cp2kOutput

HARTREE_EV, BOHR_A = 27.211386, 0.529177
output = Cp2kOutput("cp2k.out", auto_load=False)
output.parse_energies()
output.parse_forces()
(energy,) = output.data["total_energy"]
force = output.data["forces"][0][1][2]
print(f"energy: CP2K prints -11.995864 hartree, pymatgen has {energy:.4f} (in eV {-11.995864251387440 * HARTREE_EV:.4f})")
print(f"force:  CP2K prints 0.01143752 hartree/bohr, pymatgen has {force} (in eV/A {0.01143752 * HARTREE_EV / BOHR_A:.4f})")
assert abs(energy + 11.995864251387440 * HARTREE_EV) < 1e-3, "energies are in other units now"
assert force == 0.01143752, "forces are converted now"
PY
