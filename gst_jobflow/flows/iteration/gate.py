"""When a training protocol is done: what the potential of an iteration has to reach."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import check_known
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.documents import ConfigType

ALL = "all"


class RmseLimit(StrictModel):
    """Largest errors on the test set."""

    energy_meV_per_atom: float | None = Field(None, gt=0)
    force_meV_per_A: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _limits_something(self) -> RmseLimit:
        if self.energy_meV_per_atom is None and self.force_meV_per_A is None:
            raise UnfitValueError("a limit of the errors names none", "add energy_meV_per_atom or force_meV_per_A")
        return self


def check_config_types(names: Iterable[str]) -> None:
    """Refuse what is no config type."""
    for name in names:
        check_known("no config type", name, get_args(ConfigType), UnfitValueError)


class GammaLimit(StrictModel):
    """Largest grade by the new potential of a share of this iteration's candidates, chosen or not."""

    quantile: float = Field(0.99, gt=0, le=1, description="Share of the candidates that must be below")
    at_most: float = Field(gt=0, description="Largest extrapolation grade of their atoms")


class Gate(StrictModel):
    """Conditions that end the iterations once all are met; none: all iterations run."""

    rmse: dict[str, RmseLimit] = Field(default_factory=dict, description="By config type, or 'all'")
    success: float | None = Field(None, ge=0, le=1, description="Share of the robustness runs that succeed")
    success_low: float | None = Field(None, gt=0, lt=1, description="Lower end of its 95 % interval")
    gamma: GammaLimit | None = None
    spread_meV_per_A: float | None = Field(None, gt=0, description="Spread of forces of an ensemble on the test set")

    @field_validator("rmse")
    @classmethod
    def _of_known_types(cls, limits: dict[str, RmseLimit]) -> dict[str, RmseLimit]:
        check_config_types(kind for kind in limits if kind != ALL)
        return limits

    @property
    def is_open(self) -> bool:
        """Whether there are no conditions."""
        return self == Gate()

    def check(self, has_robustness: bool, ensemble: int) -> None:
        """Refuse conditions on what the plan does not measure."""
        if not has_robustness and (self.success is not None or self.success_low is not None):
            raise UnfitValueError("gate.success is not measured: the plan has no robustness runs", "add robustness: {}")
        if self.spread_meV_per_A is not None and ensemble < 2:
            raise UnfitValueError("gate.spread_meV_per_A is not measured: fit.ensemble is 1", "set fit.ensemble to 4")

    def unmet(self, row: Mapping[str, Any]) -> list[str]:
        """Return the conditions that the measurements of an iteration do not meet, in words."""
        gamma = self.gamma.at_most if self.gamma else None
        return [
            *self._of_rmse(row),
            *_missed(row, {"success": self.success, "success_low": self.success_low}, "below"),
            *_missed(row, {"gamma": gamma, "spread_meV_per_A": self.spread_meV_per_A}, "above"),
        ]

    def _of_rmse(self, row: Mapping[str, Any]) -> list[str]:
        found = []
        for kind, limits in self.rmse.items():
            errors = (row.get("rmse_by_config_type") or {}).get(kind, {}) if kind != ALL else row
            found += _missed(errors, limits.model_dump(), "above", f" of {kind}")
        return found


def _missed(values: Mapping[str, Any], limits: dict[str, float | None], side: str, of: str = "") -> list[str]:
    """Say which values are on this side of their limits, or not measured."""
    found = []
    for name, limit in limits.items():
        if limit is None:
            continue
        if (value := values.get(name)) is None:
            found.append(f"{name}{of} is not measured")
        elif not (value >= limit if side == "below" else value <= limit):
            found.append(f"{name}{of} is {value:.4g}, {side} {limit:g}")
    return found
