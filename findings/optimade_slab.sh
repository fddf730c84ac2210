#!/usr/bin/env bash
# OPTIMADE lets a slab leave out the lattice vector across it: null in lattice_vectors. The adapters of the package optimade
# 1.5.0 make NaN of it: as_ase has a third vector of NaN, so that scaled positions and distances are NaN, and as_pymatgen has a
# molecule without any cell. Neither warns. ASE 3.29.0 itself would have zeros there.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q optimade==1.5.0 ase==3.29.0 pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import numpy as np
from optimade.adapters import Structure

attributes = {
    "last_modified": "2026-01-01T00:00:00Z", "elements": ["Te"], "nelements": 1, "elements_ratios": [1.0],
    "chemical_formula_descriptive": "Te", "chemical_formula_reduced": "Te", "chemical_formula_anonymous": "A",
    "dimension_types": [1, 1, 0], "nperiodic_dimensions": 2, "structure_features": [],
    "lattice_vectors": [[4, 0, 0], [0, 4, 0], [None, None, None]],
    "cartesian_site_positions": [[0, 0, 0], [2, 2, 1.5]], "nsites": 2, "species_at_sites": ["Te", "Te"],
    "species": [{"name": "Te", "chemical_symbols": ["Te"], "concentration": [1.0]}],
}
slab = Structure({"id": "slab", "type": "structures", "attributes": attributes})
atoms = slab.as_ase
distance = atoms.get_distance(0, 1, mic=True)
print("ASE: cell", atoms.cell.tolist(), "pbc", atoms.pbc.tolist(), "distance", distance)
print("pymatgen:", type(slab.as_pymatgen).__name__)
assert np.isnan(atoms.cell[2]).all() and np.isnan(distance), "ASE has another cell now"
assert type(slab.as_pymatgen).__name__ == "Molecule", "pymatgen has a cell now"
PY
