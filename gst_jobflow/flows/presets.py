"""Plans of the demo that are known to run."""

from __future__ import annotations

from typing import Any

from gst_jobflow.dynamics.deck import Output
from gst_jobflow.dynamics.stages import Anneal, Hold, Quench, Relax
from gst_jobflow.errors import InputError, nearest
from gst_jobflow.fitting.config import (
    BackendConfig,
    FitConfig,
    FunctionsConfig,
    LossConfig,
    OptimizerConfig,
    RadialConfig,
)
from gst_jobflow.flows.demo import DemoPlan
from gst_jobflow.flows.operations import Reset, Rest, Set
from gst_jobflow.flows.structures import CrystalSpec
from gst_jobflow.structures.device import CrossPointSpec
from gst_jobflow.structures.hard_sphere import HardSphereSpec

SIZES = ("standard", "tiny")


def demo_plan(size: str, labels: str) -> DemoPlan:
    """The plan of a demo.

    Raises
    ------
    InputError
        There is no plan of this size.
    """
    if size not in SIZES:
        raise InputError(f"no demo of size '{size}'", nearest(size, SIZES))
    return DemoPlan(labels=labels, **(_standard() if size == "standard" else _tiny()))


def _standard() -> dict[str, Any]:
    return {
        "hard_sphere": [
            HardSphereSpec(formula=formula, n_atoms=n_atoms, density_g_cm3=(4.8, 6.4), min_distance_A=2.7, seed=seed)
            for seed, (formula, n_atoms) in enumerate(
                (("Ge1Sb2Te4", 14), ("Ge2Sb2Te5", 18), ("GeTe", 12), ("Sb2Te3", 15))
            )
        ],
        "n_each": 8,
        "crystals": [
            CrystalSpec(
                kind="rocksalt",
                formula="Ge1Sb2Te4",
                repeat=(1, 1, 2),
                volume_scales=(0.94, 1.0, 1.08),
                rattles_A=(0.1, 0.3),
                n_each=2,
                seed=1,
            ),
        ],
        "label_jobs": 2,
        "fit": FitConfig(
            radial=RadialConfig(rcut_A=6.0, repulsion="auto"),
            functions=FunctionsConfig(
                number_of_functions_per_element=60, nradmax_by_orders=(8, 4, 3, 2), lmax_by_orders=(0, 3, 2, 1)
            ),
            loss=LossConfig(kappa=0.4),
            optimizer=OptimizerConfig(maxiter=100),
            backend=BackendConfig(batch_size=20, display_step=10),
        ),
        "cell": CrossPointSpec(repeat=(4, 3, 2), barrier_thickness_A=14.0),
        "barrier": [Relax(), Anneal(temperature_K=1500, duration_ps=2), Quench(start_K=1500, end_K=300, duration_ps=4)],
        "operations": [
            Rest(duration_ps=2, relax=True),
            Reset(energy_eV_per_atom=0.4, pulse_ps=10, cool_ps=8),
            Set(temperature_K=600, duration_ps=8),
            Reset(energy_eV_per_atom=0.3, pulse_ps=10, cool_ps=8),
        ],
        "output": Output(series_every=20, profile_every=250, dump_every=250, restart_every=1000),
    }


def _tiny() -> dict[str, Any]:
    return {
        "hard_sphere": [
            HardSphereSpec(formula=formula, n_atoms=n_atoms, density_g_cm3=(4.8, 6.0), min_distance_A=2.8, seed=seed)
            for seed, (formula, n_atoms) in enumerate((("Ge1Sb2Te4", 7), ("Ge2Sb2Te5", 9)))
        ],
        "n_each": 8,
        "crystals": [
            CrystalSpec(kind="rocksalt", formula="Ge1Sb2Te4", repeat=(1, 1, 2), rattles_A=(0.1, 0.2), n_each=3, seed=1)
        ],
        "label_jobs": 1,
        "fit": FitConfig(
            radial=RadialConfig(rcut_A=5.0, repulsion="auto"),
            functions=FunctionsConfig(
                number_of_functions_per_element=12, nradmax_by_orders=(4, 2, 1), lmax_by_orders=(0, 1, 1)
            ),
            loss=LossConfig(kappa=0.4),
            optimizer=OptimizerConfig(maxiter=30),
            backend=BackendConfig(batch_size=20, display_step=10),
        ),
        "cell": CrossPointSpec(repeat=(3, 2, 1), barrier_thickness_A=14.0),
        "barrier": [Relax(), Anneal(temperature_K=600, duration_ps=0.2), Hold(temperature_K=300, duration_ps=0.2)],
        "operations": [
            Rest(duration_ps=0.2, relax=True),
            Reset(energy_eV_per_atom=0.05, pulse_ps=2, cool_ps=2),
            Set(temperature_K=400, duration_ps=0.4),
            Reset(energy_eV_per_atom=0.03, pulse_ps=2, cool_ps=2),
        ],
        "output": Output(series_every=20, profile_every=100, dump_every=100, restart_every=500),
    }
