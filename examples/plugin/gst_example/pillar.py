"""A device cell: a cross-point cell of rock salt that is higher than wide."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from gst_jobflow.base.strict import UnfitValueError
from gst_jobflow.devices.cell import CrossPointSpec


class PillarSpec(CrossPointSpec):
    """A slender cross-point cell: the crystal is rock salt, and at least twice as high as wide."""

    kind: Literal["pillar"] = "pillar"  # type: ignore[assignment]
    phase: Literal["trigonal", "rocksalt"] = "rocksalt"
    cut: Literal["block", "layer"] = "layer"

    @model_validator(mode="after")
    def _is_slender(self) -> Self:
        if self.repeat[2] < 2 * max(self.repeat[:2]):
            raise UnfitValueError(f"repeat {self.repeat} is no pillar", "make it at least twice as high as wide")
        return self
