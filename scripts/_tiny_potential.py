"""Make a tiny ACE potential and a crystal for short dynamics in scripts and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from gst_jobflow.dynamics.deck import PotentialFiles

ELEMENTS = ["Sb", "Te"]


def soft_crystal(repeat: tuple[int, int, int] = (3, 3, 4)) -> Atoms:
    """Return a slightly rattled rock-salt cell of Sb and Te, 8 atoms a cell."""
    atoms = bulk("SbTe", "rocksalt", a=6.0, cubic=True) * repeat
    atoms.rattle(0.05, seed=3)
    return atoms


def make_tiny_potential(
    folder: Path, height_eV: float = 1.0, functions: dict[str, Any] | None = None, rcut_A: float = 5.0
) -> PotentialFiles:
    """Write a purely repulsive pair potential of bounded height into `folder`; needs pyace.

    Further `functions` (of pacemaker's potential section) hardly change a force, but cost what they cost in a fit.
    """
    from pyace import ACEBBasisSet, create_multispecies_basis_config
    from pyace.activelearning import (
        compute_A_active_inverse,
        compute_active_set,
        compute_B_projections,
        save_active_inverse_set,
    )

    config = {
        "deltaSplineBins": 0.001,
        "elements": ELEMENTS,
        "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
        "bonds": {
            "ALL": {
                "radbase": "ChebExpCos",
                "radparameters": [1.0],
                "rcut": rcut_A,
                "dcut": 0.01,
                "NameOfCutoffFunction": "cos",
            }
        },
        "functions": functions or {"ALL": {"nradmax_by_orders": [2], "lmax_by_orders": [0]}},
    }
    basis = ACEBBasisSet(create_multispecies_basis_config(config))
    # the first radial function falls smoothly from 1 to 0; the second is left out
    coefficients = np.zeros(len(basis.all_coeffs))
    specs = [f for block in basis.to_BBasisConfiguration().funcspecs_blocks for f in block.funcspecs]
    others = 1e-6 if functions else 0.02
    coefficients[len(coefficients) - len(specs) :] = [height_eV * (1.0 if list(f.ns) == [1] else others) for f in specs]
    radial = np.array(basis.all_coeffs)[: len(coefficients) - len(specs)]
    basis.all_coeffs = [*radial.tolist(), *coefficients[len(radial) :].tolist()]
    basis.to_ACECTildeBasisSet().save_yaml(str(folder / "tiny.yace"))
    cells = [soft_crystal((1, 1, 1)) for _ in range(100 if functions else 20)]
    for seed, cell in enumerate(cells):
        cell.rattle(0.3, seed=seed)
    basis.to_BBasisConfiguration().save(str(folder / "tiny.yaml"))
    projections = compute_B_projections(basis, cells)
    inverse = compute_A_active_inverse(compute_active_set(projections, max_iters=50))
    save_active_inverse_set(str(folder / "tiny.asi"), inverse, elements_name=ELEMENTS)
    files = {kind: str(folder / f"tiny.{kind}") for kind in ("yace", "yaml", "asi")}
    return PotentialFiles(elements=ELEMENTS, **files)
