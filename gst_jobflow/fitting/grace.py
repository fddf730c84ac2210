"""Settings, input and output of gracemaker, tensorpotential's program, for GRACE/FS potentials.

GRACE/FS (Bochkarev, Lysogorskiy, Drautz, Phys. Rev. X 14, 021036, 2024) is a local potential of the Finnis-Sinclair
form like an ACE of several densities, with elements that share radial functions through an embedding. Other GRACE
models need TensorFlow and a GPU and are not supported.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import DataError
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.fitting.config import FS_PARAMETERS, FitConfig, WeightsConfig
from gst_jobflow.fitting.files import GRACE_REQUEST_FILE, TRAIN_FILE
from gst_jobflow.fitting.parse import PotentialSummary
from gst_jobflow.structures.material import default_material

if TYPE_CHECKING:
    import pandas as pd

DONE_FILE, OUTPUT_FILE = "grace_done.json", "grace.out"
CHECKPOINT_EVERY = 10
"""Iterations between two checkpoints."""
_MOST_ORDER = 4


class GraceConfig(StrictModel):
    """Settings of a GRACE/FS fit. Entry k of `lmax` and `n_rad_max` is for products of k + 1 neighbours."""

    elements: tuple[str, ...] = Field(default_factory=lambda: default_material().elements)
    rcut_A: float = Field(6.0, gt=0, le=20)
    n_densities: int = Field(2, ge=1, le=4, description="P; exponents as in an ACE fit of P densities")
    lmax: tuple[int, ...] = Field((3, 3, 2), min_length=1, max_length=_MOST_ORDER)
    n_rad_max: tuple[int, ...] = Field((12, 8, 4), min_length=1, max_length=_MOST_ORDER)
    n_rad_base: int = Field(12, ge=1, description="basis of the radial functions")
    embedding_size: int = Field(16, ge=1, description="numbers that describe an element")
    kappa: float = Field(0.4, ge=0, le=1, description="share of the forces in the loss")
    weights: WeightsConfig = Field(default_factory=WeightsConfig)
    optimizer: Literal["BFGS", "L-BFGS-B"] = "BFGS"
    maxiter: int = Field(300, ge=1)
    batch_size: int = Field(
        100, ge=1, description="structures at a time; weights are normalised by batch, so one batch is best"
    )
    jit: bool = Field(True, description="compile the model with XLA: longer to start, quicker an iteration")
    gpu: Literal["auto"] | None = Field("auto", description="'auto': the first GPU if there is one; None: no GPU")
    seed: int = Field(1, ge=0, description="draws the initial parameters")

    @field_validator("elements")
    @classmethod
    def _elements_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return FitConfig._elements_exist(value)

    @model_validator(mode="after")
    def _lists_agree(self) -> GraceConfig:
        if len(self.lmax) != len(self.n_rad_max):
            raise ValueError(
                f"lmax has {len(self.lmax)} orders and n_rad_max {len(self.n_rad_max)}: one number for each in both"
            )
        if min(self.n_rad_max) < 1 or min(self.lmax) < 0:
            raise ValueError("n_rad_max must be 1 or more and lmax 0 or more in every order")
        if list(self.n_rad_max) != sorted(self.n_rad_max, reverse=True):
            raise ValueError("n_rad_max must not grow from order to order")
        return self


def render_grace_input(config: GraceConfig, iterations: int) -> dict[str, Any]:
    """Return the content of gracemaker's `input.yaml`.

    Energies are relative to free atoms (`energy_corrected`). gracemaker gets no test set: it would keep the iteration
    with the best test error, which would then no longer be an error on unseen structures.
    """
    parameters = FS_PARAMETERS[config.n_densities]
    return {
        "seed": config.seed,
        "cutoff": config.rcut_A,
        "data": {"filename": TRAIN_FILE},
        "potential": {
            "preset": "FS",
            "elements": list(config.elements),
            "param_dtype": "float64",
            "shift": False,
            "scale": True,
            "kwargs": {
                "lmax": list(config.lmax),
                "n_rad_max": list(config.n_rad_max),
                "max_order": len(config.lmax),
                "n_rad_base": config.n_rad_base,
                "embedding_size": config.embedding_size,
                "fs_parameters": [[float(x) for x in parameters[k : k + 2]] for k in range(0, len(parameters), 2)],
            },
        },
        "fit": {
            "loss": {
                "energy": {"weight": 1 - config.kappa, "type": "square"},
                "forces": {"weight": config.kappa, "type": "square"},
            },
            "optimizer": config.optimizer,
            "opt_params": {"gtol": 1e-8, **({"maxcor": 100} if config.optimizer == "L-BFGS-B" else {})},
            "maxiter": iterations,
            "batch_size": config.batch_size,
            "jit_compile": config.jit,
            "checkpoint_freq": CHECKPOINT_EVERY,
            # each under a name of its own: gracemaker does not replace a checkpoint in one step
            "save_all_regular_checkpoints": True,
            "train_max_n_buckets": 1,
            "progressbar": False,
        },
    }


def with_weights(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the weights that gracemaker reads: one for each energy, and one for the force on each atom."""
    import numpy as np

    energy = [float(weight) for weight in frame["w_factor"]]
    force = [
        np.full((len(atoms), 1), weight / len(atoms) / 3)
        for atoms, weight in zip(frame["ase_atoms"], energy, strict=True)
    ]
    return frame.assign(energy_weight=energy, force_weight=force)


def folder(directory: Path, seed: int) -> Path:
    """Return the folder that gracemaker writes to."""
    return directory / "seed" / str(seed)


def read_grace_rows(directory: Path, seed: int) -> list[dict[str, float]]:
    """Return gracemaker's row of each iteration, oldest first, without an incomplete last line.

    `epoch`, `total_loss/train`, `rmse/depa` (eV/atom), `rmse/f_comp` (eV/Å).
    """
    path = folder(directory, seed) / "train_metrics.yaml"
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line.removeprefix("- ")))
        except json.JSONDecodeError:
            continue
    return rows


def grace_progress(directory: Path) -> dict[str, Any]:
    """Return the progress of a GRACE fit, as :func:`gst_jobflow.fitting.progress.progress` does."""
    request = json.loads((directory / GRACE_REQUEST_FILE).read_text())
    rows = read_grace_rows(directory, request["config"]["seed"])
    last = rows[-1] if rows else None
    done = (directory / DONE_FILE).is_file()
    started = (directory / GRACE_REQUEST_FILE).stat().st_mtime
    asked, left = int(request["config"]["maxiter"]), None
    if last and not done:
        table = folder(directory, request["config"]["seed"]) / "train_metrics.yaml"
        made = last["epoch"] - request["iterations_before"]
        left = max(0.0, (table.stat().st_mtime - started) / made * (asked - last["epoch"])) if made > 0 else None
    return {
        "stage": "finished" if done else "fitting" if last else "preparing",
        "iteration": int(last["epoch"]) if last else None,
        "max_iterations": asked,
        "loss": last["total_loss/train"] if last else None,
        "rmse": {
            "train": {"energy_meV_per_atom": 1e3 * last["rmse/depa"], "force_meV_per_A": 1e3 * last["rmse/f_comp"]}
        }
        if last
        else {},
        "n_functions": None,
        "time_left_s": left,
    }


def summarise_grace(path: Path, output: str = "") -> PotentialSummary:
    """Return what a GRACE/FS potential consists of; the number of parameters is in gracemaker's `output`.

    Raises
    ------
    DataError
        The file is not a GRACE/FS potential.
    """
    import yaml

    try:
        content = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        elements = tuple(str(name) for name in content["elements"])
        counts = {name: len(content["functions"][place]) for place, name in enumerate(elements)}
        densities = len(content["emb_spec"]["params"]) // 2
        cutoff_A = float(content["radial_basis"]["cutoff"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is not a GRACE/FS potential: {error}", "give the FS_model.yaml of a fit") from error
    said = re.findall(r"Number of trainable parameters: (\d+)", output)
    return PotentialSummary(
        elements=elements,
        n_densities=densities,
        n_functions=sum(counts.values()),
        n_functions_per_element=counts,
        n_parameters=int(said[-1]) if said else 0,
        cutoff_A=cutoff_A,
    )


def optimiser_ending(output: str, asked: int) -> tuple[bool | None, str]:
    """Return whether the optimiser converged (None: unknown), and why it ended."""
    found = re.findall(r"optimization results: success=(\w+), message=(.*)", output)
    if not found:
        return None, "not known"
    success, message = found[-1]
    if success == "True":
        return True, "the optimiser's tolerance was reached"
    if "aximum number of iterations" in message or "ITERATIONS REACHED" in message:
        return False, f"all {asked} iterations were used"
    return False, message.strip().rstrip(".")
