"""Plans of the demo that are known to run.

Their numbers were found by trial with GFN1-xTB labels. Gamma-point labels need cells of 40 atoms and more; random cells
need some distance between atoms for the self-consistency to converge; GFN1's lattice is about 4 % smaller than the
measured one; a melt needs a wide soft core, since a few dozen labels do not teach short distances.
"""

from __future__ import annotations

from typing import Any

from gst_jobflow.base.errors import check_known
from gst_jobflow.base.settings import Project
from gst_jobflow.datasets.split import SplitSpec
from gst_jobflow.devices.cell import CrossPointSpec
from gst_jobflow.devices.operations import Reset, Rest, Set
from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.stages import Anneal, Hold, Quench, Relax
from gst_jobflow.fitting.config import (
    BackendConfig,
    CoreRepulsion,
    FitConfig,
    FunctionsConfig,
    LossConfig,
    OptimizerConfig,
    RadialConfig,
)
from gst_jobflow.flows import presets_cp2k
from gst_jobflow.flows.demo import DemoPlan
from gst_jobflow.flows.preset_cells import CLOSE, CLOSEST, LOOSE, MIDDLE, PUSHED, pair_distances_A, random_cell
from gst_jobflow.labelling.ase_calculator import tblite_backend
from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.structures.families import CrystalSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.material import default_material

SIZES = ("standard", "tiny")
GFN1_LATTICE_SCALE = 0.962
"""Trigonal Ge1Sb2Te4 of GFN1-xTB relative to the measured crystal (a 4.11 Å instead of 4.27 Å)."""
GFN1_ROCKSALT_A = 5.82


def demo_plan(size: str, labels: str) -> DemoPlan:
    """Return the plan of a demo; InputError if there is none of this size."""
    check_known("no demo of size", size, SIZES)
    if size == "tiny":
        return DemoPlan(size=size, labels=labels, **_tiny())
    return DemoPlan(size=size, labels=labels, **(_cp2k() if labels == "cp2k" else _standard()))


def demo_backend(labels: str, project: Project) -> LabelBackend:
    """Return the label backend of a demo: tblite with the smearing of a hot metallic melt, others of Ge-Sb-Te."""
    if labels == "tblite":
        return tblite_backend(electronic_temperature_K=2000.0, max_iterations=60)
    if labels == "cp2k":
        return backend_of(labels, project, {"k_spacing_per_A": presets_cp2k.K_SPACING_PER_A}, default_material())
    return backend_of(labels, project, None, default_material())


def _hard_sphere() -> list[HardSphereSpec]:
    cells = [("Ge1Sb2Te4", 42, volume, LOOSE) for volume in (26, 29, 33)]
    cells += [("Ge1Sb2Te4", 42, volume, MIDDLE) for volume in (25, 27, 29, 31, 33)]
    cells += [("Ge1Sb2Te4", 42, volume, CLOSE) for volume in (25, 27, 29)]
    cells += [("Ge1Sb2Te4", 42, volume, CLOSEST) for volume in (26, 28)]
    cells += [
        ("GeTe", 40, 28, LOOSE),
        ("Sb2Te3", 40, 29, LOOSE),
        ("Sb2Te3", 40, 32, LOOSE),
        ("Ge2Sb2Te5", 45, 28, LOOSE),
    ]
    return [random_cell(*cell, seed=seed) for seed, cell in enumerate(cells)]


def _crystals() -> list[CrystalSpec]:
    volume = GFN1_LATTICE_SCALE**3
    shared: dict[str, Any] = {"formula": "Ge1Sb2Te4", "min_distances_A": pair_distances_A(PUSHED)}
    trigonal = {"kind": "trigonal", "primitive": True, "repeat": (3, 3, 1), **shared}
    rocksalt = {"kind": "rocksalt", "repeat": (2, 2, 2), "lattice_A": GFN1_ROCKSALT_A, **shared}
    return [
        CrystalSpec(**trigonal, volume_scales=(volume,), rattles_A=(0.03, 0.12, 0.2, 0.35), seed=1),
        CrystalSpec(**trigonal, volume_scales=(0.95 * volume, 1.08 * volume), rattles_A=(0.15, 0.4), seed=2),
        CrystalSpec(**rocksalt, volume_scales=(0.95, 1.02, 1.1), rattles_A=(0.1, 0.3), seed=3),
        CrystalSpec(**rocksalt, volume_scales=(1.08,), rattles_A=(0.5, 0.7), seed=4),
        # not pushed apart: forces up to 50 eV/Å
        CrystalSpec(
            **{**rocksalt, "min_distances_A": {}}, volume_scales=(0.97, 1.03, 1.12), rattles_A=(0.15,), seed=11
        ),
        CrystalSpec(**{**rocksalt, "min_distances_A": {}}, volume_scales=(1.12,), rattles_A=(0.2, 0.25), seed=12),
    ]


def _fit(cutoff_A: float, functions: tuple[int, tuple[int, ...], tuple[int, ...]], iterations: int) -> FitConfig:
    """Return a fit with P = 3 and a wide core; `functions` are number per element, and nradmax and lmax by order."""
    number, radial, angular = functions
    return FitConfig(
        radial=RadialConfig(rcut_A=cutoff_A, repulsion=CoreRepulsion()),
        functions=FunctionsConfig(
            number_of_functions_per_element=number, nradmax_by_orders=radial, lmax_by_orders=angular
        ),
        # Gamma-point energies of different cells do not compare well, so forces weigh most
        loss=_loss(0.9),
        optimizer=OptimizerConfig(maxiter=iterations),
        backend=BackendConfig(batch_size=10, display_step=10),
    )


def _loss(kappa: float) -> LossConfig:
    """Return a loss without penalties on radial functions, whose derivatives double TensorFlow's time to trace."""
    return LossConfig(kappa=kappa, L1_coeffs=1e-6, L2_coeffs=1e-6, w0_rad=0, w1_rad=0, w2_rad=0)


def _standard() -> dict[str, Any]:
    return {
        "hard_sphere": _hard_sphere(),
        "crystals": _crystals(),
        "label_jobs": 2,
        "split": SplitSpec(test_fraction=0.12, seed=1),
        "max_force_eV_A": 60.0,
        "fit": _fit(6.0, (40, (8, 4, 2), (0, 3, 2)), 150),
        "cell": CrossPointSpec(
            repeat=(4, 3, 2), barrier_thickness_A=13.0, barrier_density_g_cm3=6.7, lattice_scale=GFN1_LATTICE_SCALE
        ),
        "barrier": [
            Relax(),
            Anneal(temperature_K=2000, duration_ps=2),
            Quench(start_K=2000, end_K=300, duration_ps=5),
            Hold(temperature_K=300, duration_ps=0.5),
        ],
        "operations": [
            Rest(duration_ps=2, relax=True),
            Reset(energy_eV_per_atom=0.45, pulse_ps=8, cool_ps=7, floor=0.1),
            Set(temperature_K=600, duration_ps=6),
            Reset(energy_eV_per_atom=0.35, pulse_ps=8, cool_ps=7, floor=0.1),
        ],
        "output": Output(series_every=20, profile_every=250, dump_every=250, restart_every=1000),
    }


def _cp2k() -> dict[str, Any]:
    """Return the same cycle with PBE labels of small cells, whose energies compare thanks to k-points."""
    fit = _fit(6.0, (40, (8, 4, 2), (0, 3, 2)), 200)
    cell = CrossPointSpec(repeat=(4, 3, 2), barrier_thickness_A=13.0)
    return {
        **_standard(),
        "hard_sphere": presets_cp2k.hard_sphere(),
        "crystals": presets_cp2k.crystals(),
        "split": SplitSpec(test_fraction=0.15, seed=1),
        "fit": fit.model_copy(update={"loss": _loss(0.6)}),
        "cell": cell,
    }


def _tiny() -> dict[str, Any]:
    return {
        "hard_sphere": [random_cell("Ge1Sb2Te4", 14, volume, LOOSE, seed=volume) for volume in (28, 30, 32, 34)],
        "n_each": 3,
        "crystals": [
            CrystalSpec(
                kind="rocksalt",
                formula="Ge1Sb2Te4",
                repeat=(1, 1, 2),
                lattice_A=GFN1_ROCKSALT_A,
                volume_scales=(1.0, 1.1),
                rattles_A=(0.1, 0.25),
                n_each=2,
                min_distances_A=pair_distances_A(PUSHED),
                seed=1,
            )
        ],
        "label_jobs": 1,
        "max_force_eV_A": 60.0,
        "fit": _fit(5.0, (12, (4, 2, 1), (0, 1, 1)), 60),
        "cell": CrossPointSpec(
            repeat=(3, 2, 1), barrier_thickness_A=13.0, barrier_density_g_cm3=6.7, lattice_scale=GFN1_LATTICE_SCALE
        ),
        "barrier": [Relax(), Anneal(temperature_K=600, duration_ps=0.2), Hold(temperature_K=300, duration_ps=0.2)],
        "operations": [
            Rest(duration_ps=0.2, relax=True),
            Reset(energy_eV_per_atom=0.05, pulse_ps=2, cool_ps=2),
            Set(temperature_K=400, duration_ps=0.4),
            Reset(energy_eV_per_atom=0.03, pulse_ps=2, cool_ps=2),
        ],
        "output": Output(series_every=20, profile_every=100, dump_every=100, restart_every=500),
    }
