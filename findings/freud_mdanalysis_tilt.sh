#!/usr/bin/env bash
# freud 3.4.0 takes a Timestep of MDAnalysis 2.11.0 as a system. It hands the matrix of cell vectors, which are rows in
# MDAnalysis, to a box that takes columns: a tilted cell becomes another one of the same volume, and neighbours across its
# faces are others. Nothing is said; with an orthogonal cell all is right. Seen for perfect rock-salt GeTe in 6 x 6 x 6
# primitive cells: contacts of 1.5 A where the bond is 3.0 A, and 72 % of the atoms without their six neighbours.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q freud-analysis==3.4.0 MDAnalysis==2.11.0 ase==3.29.0 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
import freud
import MDAnalysis
import numpy as np
from ase.build import bulk
from ase.io import write

primitive = bulk("GeTe", "rocksalt", a=6.0).repeat(6)
conventional = bulk("GeTe", "rocksalt", a=6.0, cubic=True).repeat(3)
seen = {}
for what, atoms in (("conventional", conventional), ("primitive", primitive)):
    write("x.data", atoms, format="lammps-data", masses=True)
    step = MDAnalysis.Universe("x.data", format="DATA", atom_style="id type x y z").trajectory[0]
    by_columns = freud.box.Box.from_matrix(step.triclinic_dimensions.T)
    for how, system in (("the Timestep", step), ("cell turned round", (by_columns, step.positions))):
        query = freud.locality.AABBQuery.from_system(system)
        pairs = query.query(query.points, {"r_max": 3.6, "exclude_ii": True}).toNeighborList()
        seen[what, how] = pairs.distances.min(), (pairs.neighbor_counts != 6).mean(), query.box.volume
        print(f"{what:13}{how:19}shortest {seen[what, how][0]:.2f} A, {seen[what, how][1]:4.0%} of atoms without 6 neighbours")
assert np.isclose(seen["primitive", "the Timestep"][2], primitive.get_volume(), rtol=1e-4)
for case, (shortest, wrong, _) in seen.items():
    if case == ("primitive", "the Timestep"):
        assert shortest < 2.5 and wrong > 0.3, "freud reads the cells of MDAnalysis right"
    else:
        assert abs(shortest - 3.0) < 1e-3 and wrong == 0
PY
