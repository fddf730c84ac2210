#!/usr/bin/env bash
# PyACECalculator of python-ace 0.4.0rc1 refuses a cell whose three vectors are left-handed: RuntimeError "Extreme
# shape of unit cell", though the cell is a cube. The same vectors in another order are accepted, with the
# energy that they should have. ASE, LAMMPS' data writers and most codes take either.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q python-ace==0.4.0rc1 ase==3.29.0
venv/bin/python -W ignore - <<'PY'
import numpy as np
from ase import Atoms
from pyace import PyACECalculator, create_multispecies_basis_config

basis = create_multispecies_basis_config({
    "deltaSplineBins": 0.001,
    "elements": ["Sb", "Te"],
    "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
    "bonds": {"ALL": {"radbase": "SBessel", "radparameters": [5.25], "rcut": 5.0, "dcut": 0.01}},
    "functions": {"ALL": {"nradmax_by_orders": [2], "lmax_by_orders": [0]}},
})
basis.set_all_coeffs(np.full(len(basis.get_all_coeffs()), 0.1))
cube = np.diag([6.0, 6.0, 6.0])
seen = {}
for order in ([0, 1, 2], [1, 2, 0], [1, 0, 2], [2, 1, 0]):
    atoms = Atoms("SbTe", positions=[[0, 0, 0], [3, 0.1, 0.2]], cell=cube[order], pbc=True, calculator=PyACECalculator(basis))
    try:
        said = f"{atoms.get_potential_energy():.6f} eV"
    except RuntimeError as error:
        said = f"RuntimeError: {error}"
    seen[tuple(order)] = said
    print(f"vectors {order}, volume {np.linalg.det(cube[order]):+.0f} A3: {said}")
assert seen[0, 1, 2] == seen[1, 2, 0] and seen[0, 1, 2].endswith("eV")
assert seen[1, 0, 2] == seen[2, 1, 0] == "RuntimeError: Extreme shape of unit cell", "left-handed cells are taken now"
print("left-handed vectors are an extreme shape")
PY
