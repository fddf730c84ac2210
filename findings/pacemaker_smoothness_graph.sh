#!/usr/bin/env bash
# pacemaker's penalties on the smoothness of radial functions (w0_rad, w1_rad, w2_rad) are 1e-8 in its examples, and so is
# what they add to the loss. python-ace 0.4.0rc1 with tensorpotential 0.6.2.1 builds their derivatives for every pair of
# elements all the same, and builds them again for the test set and predictions, which need no penalty. Seen, for three
# elements and two radial functions: 31,214 operations instead of 20,019 for energies and forces, 50,767 instead of 32,995
# for the loss, and the same energies. Small fits spend most of their time there: with eight radial functions, twice.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install -q python-ace==0.4.0rc1 tensorpotential==0.6.2.1 tensorflow-cpu==2.20.0 ase==3.29.0 pandas==2.3.3 numpy==2.3.5
CUDA_VISIBLE_DEVICES=-1 TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python -W ignore - <<'PY' 2> /dev/null
import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pyace import create_multispecies_basis_config
from pyace.atomicenvironment import generate_tp_atoms
from tensorpotential.compat.pace.potentials.ace import ACE
from tensorpotential.compat.pace.tensorpot import TensorPotential
from tensorpotential.compat.pace.utils.utilities import supply_batch

basis = create_multispecies_basis_config(
    {
        "deltaSplineBins": 0.001,
        "elements": ["Ge", "Sb", "Te"],
        "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
        "bonds": {
            "ALL": {
                "radbase": "SBessel", "radparameters": [5.25], "rcut": 5, "dcut": 0.01, "NameOfCutoffFunction": "cos"
            }
        },
        "functions": {"ALL": {"nradmax_by_orders": [2, 1], "lmax_by_orders": [0, 1]}},
    }
)
cell = bulk("NaCl", "rocksalt", a=6, cubic=True)
cell.symbols[:] = ["Ge", "Te", "Sb", "Te", "Ge", "Te", "Sb", "Te"]
cell.calc = SinglePointCalculator(cell, energy=0.0, forces=np.zeros((8, 3)))
batch = supply_batch([generate_tp_atoms(cell, cutoff=5)])


def potential(smooth):
    specs = {"loss_type": "per-atom", "loss_force_factor": 0.5, "loss_energy_factor": 0.5, "l1_reg": 0, "l2_reg": 0}
    if smooth:
        specs["aux_loss_factor"] = [1e-8, 1e-8, 1e-8]
    return TensorPotential(ACE(basis, compute_smoothness=smooth), loss_specs=specs)


sizes, energies = {}, {}
for smooth in (False, True):
    fitted = potential(smooth)
    start = np.linspace(0.1, 0.2, fitted.potential.ncoef)
    energies[smooth] = fitted.external_fit(start, batch)[2].numpy().item()
    loss = fitted._evaluate_loss.get_concrete_function().graph
    predictions = potential(smooth)._evaluate.get_concrete_function().graph
    sizes[smooth] = [len(graph.get_operations()) for graph in (predictions, loss)]
    print(f"smoothness {smooth!s:6} energy {energies[smooth]:.6f} eV; operations of predictions and loss: {sizes[smooth]}")
assert abs(energies[True] - energies[False]) < 1e-9, "energies differ now"
assert sizes[True][0] > 1.5 * sizes[False][0], "predictions are built without penalties now"
assert sizes[True][1] > 1.5 * sizes[False][1], "penalties are cheap now"
PY
