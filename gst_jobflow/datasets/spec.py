"""Settings of a dataset."""

from __future__ import annotations

import math
from typing import Literal

from ase.data import chemical_symbols
from pydantic import Field, field_validator

from gst_jobflow.base.errors import nearest
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.datasets.split import SplitSpec

RANDOM_TYPES = ("hard_sphere", "rss")
"""Config types of structures that were made at random; ablations take shares of them."""


class DatasetSpec(StrictModel):
    """How to make a dataset of labels."""

    split: SplitSpec = Field(default_factory=SplitSpec)
    config_type_weights: dict[str, float] = Field(
        default_factory=dict, description="Factor on the loss of each config_type; 1 if not named"
    )
    reference_energies: dict[str, float] | Literal["least-squares", "free-atoms"] = Field(
        "least-squares",
        description="Energy of each element that the fit subtracts, eV; least-squares fits it to the training labels, "
        "free-atoms takes it from labels of isolated atoms by the same method",
    )
    reference_energies_source: str = Field("given", description="Source of given energies")
    labels_where: list[str] = Field(
        default_factory=list, description="Conditions on labels and their structures, as gst query takes them"
    )
    max_force_eV_A: float | None = Field(None, description="Leave out labels with a larger force on an atom")
    near_duplicates_A: float | None = Field(
        None, gt=0, le=1, description="Keep one of structures whose interatomic distances differ by less, Å"
    )
    random_fraction: float = Field(1.0, ge=0, le=1, description="Share of hard_sphere and rss structures in train")
    iteration: int = Field(0, ge=0, description="Iteration of the training protocol")
    parent_id: str | None = Field(
        None, description="Dataset (id; in a file also its name) that this one continues; groups keep their side"
    )
    test_dataset_id: str | None = Field(
        None,
        description="Dataset (id; in a file also its name) whose test set this one takes instead of drawing one; its "
        "train set is not used",
    )

    @field_validator("config_type_weights")
    @classmethod
    def _positive(cls, weights: dict[str, float]) -> dict[str, float]:
        return positive_weights(weights)

    @field_validator("reference_energies")
    @classmethod
    def _of_elements(cls, energies: dict[str, float] | str) -> dict[str, float] | str:
        if isinstance(energies, str):
            return energies
        if not all(math.isfinite(energy) for energy in energies.values()):
            raise ValueError("an energy is not a finite number")

        known = chemical_symbols[1:]  # without the dummy X
        if unknown := [symbol for symbol in energies if symbol not in known]:
            raise UnfitValueError(f"unknown element '{unknown[0]}'", nearest(unknown[0], known))
        return energies


def positive_weights(weights: dict[str, float]) -> dict[str, float]:
    """Return the weights; raise ValueError if one is not a positive finite number."""
    for kind, weight in weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight of {kind} is {weight:g}, not a positive number: leave the labels out instead")
    return weights
