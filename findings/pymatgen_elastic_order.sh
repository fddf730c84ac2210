#!/usr/bin/env bash
# pymatgen 2026.10.24: Outcar.read_elastic_tensor returns the 6 x 6 table as VASP prints it, with shears in the order XY YZ
# ZX. ElasticTensor.from_voigt of the same library takes them as yz, xz, xy. In a cubic crystal nobody sees it. In a
# trigonal one, such as Sb2Te3, C44 (layers that slide) and C66 (within a layer) change places, and C14 is zero; averages
# stay right. Nothing is said. Seen: C44 = 19, C66 = 25, C14 = 0 GPa for 25, 19 and -10 GPa.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q pymatgen==2026.10.24 numpy==2.3.5
OMP_NUM_THREADS=1 venv/bin/python -W ignore - <<'PY'
from pathlib import Path

import numpy as np
from pymatgen.analysis.elasticity import ElasticTensor
from pymatgen.io.vasp import Outcar

C11, C12, C13, C14, C33, C44 = 50.0, 12.0, 20.0, -10.0, 40.0, 25.0
# GPa, in the order xx yy zz yz xz xy
TRIGONAL = np.array([
    [C11, C12, C13, C14, 0, 0], [C12, C11, C13, -C14, 0, 0], [C13, C13, C33, 0, 0, 0],
    [C14, -C14, 0, C44, 0, 0], [0, 0, 0, 0, C44, C14], [0, 0, 0, 0, C14, (C11 - C12) / 2],
])
VASP = {"XX": 0, "YY": 1, "ZZ": 2, "XY": 5, "YZ": 3, "ZX": 4}
places = list(VASP.values())
rows = "\n".join(
    f" {name}      " + "".join(f"{value:12.4f}" for value in 10 * TRIGONAL[place, places]) for name, place in VASP.items()
)
Path("OUTCAR").write_text(f""" vasp.6.4.2 20Jul23 complex
 running    1 mpi-ranks, with    1 threads/rank
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     24
 total plane-waves  NPLWV =   13824
   IBRION =      6    ionic relax: 0-MD 1-quasi-New 2-CG
 TOTAL ELASTIC MODULI (kBar)
 Direction    XX          YY          ZZ          XY          YZ          ZX
 --------------------------------------------------------------------------------
{rows}
 --------------------------------------------------------------------------------
""")
outcar = Outcar("OUTCAR")
outcar.read_elastic_tensor()
table = np.array(outcar.data["elastic_tensor"]).reshape(6, 6) / 10
read, true = ElasticTensor.from_voigt(table), ElasticTensor.from_voigt(TRIGONAL)
for what, tensor in (("true", true), ("read", read)):
    c = tensor.voigt
    print(f"{what}: C44 {c[3, 3]:5.1f}, C66 {c[5, 5]:5.1f}, C14 {c[0, 3]:5.1f} GPa; shear modulus {tensor.g_vrh:.2f} GPa")
c = read.voigt
assert np.isclose(true.g_vrh, read.g_vrh)
assert np.allclose([c[3, 3], c[5, 5], c[0, 3]], [19, 25, 0]), "pymatgen brings the shears into its own order"
PY
