#!/usr/bin/env bash
# custodian 2026.10.21: PositiveEnergyErrorHandler, one of those that atomate2 runs VASP with, calls each positive energy an
# error and ends the run. Dense random cells, as they teach a potential how atoms repel, have positive energies when they
# are converged. Seen for a converged single point: with ALGO = Fast it is computed again with Normal, and then given
# up, so that a set for training loses its most repulsive structures.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q custodian==2026.10.21 pymatgen==2026.10.24 numpy==2.3.5
cat > OSZICAR <<'VASP'
       N       E                     dE             d eps       ncg     rms          rms(c)
DAV:   1     0.412345678901E+02    0.41235E+02   -0.85710E+03  1280   0.154E+03
DAV:   2     0.352345678901E+01   -0.37711E+02   -0.35710E+02  1280   0.254E+02
DAV:   3     0.352345671901E+01   -0.70000E-07   -0.70000E-07  1280   0.154E-03
   1 F= 0.35234567E+01 E0= 0.35234567E+01  d E =0.000000E+00
VASP
printf 'ALGO = Fast\nIBRION = -1\nNSW = 0\nISMEAR = 0\nSIGMA = 0.05\n' > INCAR
printf 'dense\n1.0\n6 0 0\n0 6 0\n0 0 6\nTe\n2\nDirect\n0 0 0\n0.3 0 0\n' > POSCAR
printf 'Gamma\n0\nGamma\n1 1 1\n0 0 0\n' > KPOINTS
cat > POTCAR <<'VASP'
  PAW_PBE Te 08Apr2002
   6.000000000000000
 parameters from PSCTR are:
   VRHFIN =Te: s2p4
   LEXCH  = PE
   TITEL  = PAW_PBE Te 08Apr2002
   POMASS =  127.600; ZVAL   =    6.000    mass and valenz
END of PSCTR-controll parameters
 0.1E+01
 End of Dataset
VASP
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from custodian.vasp.handlers import PositiveEnergyErrorHandler
from pymatgen.io.vasp import Incar

handler = PositiveEnergyErrorHandler()
found, first = handler.check(), handler.correct()
algorithm = Incar.from_file("INCAR")["ALGO"]
second = handler.correct()
print(f"an error: {found}, ended while it runs: {handler.is_monitor}")
print(f"first time: {first}; INCAR has ALGO = {algorithm}")
print(f"second time: {second}")
assert found and handler.is_monitor, "positive energies are accepted now"
assert algorithm == "Normal" and second["actions"] is None, "it is corrected in another way now"
PY
