"""Operations of a memory cell (RESET, SET, HOLD, READ), and the stages of molecular dynamics that they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gst_jobflow.base.energy import EV_PER_PJ
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.devices.heating import Geometry, Heated, check_energy, heated
from gst_jobflow.dynamics.pulse import BOLTZMANN_EV_K
from gst_jobflow.dynamics.stages import (
    DAMPING_PS,
    KICK_INTERVAL_PS,
    Anneal,
    Cool,
    Dome,
    Expression,
    Hold,
    LinearZ,
    Profile,
    Pulse,
    Relax,
    Slices,
    Stage,
    Uniform,
)

ROOM_TEMPERATURE_K = 300.0
# thickness of the slices that are cooled from their own temperature, Å
_SLICE_A = 20.0
PROFILES_ARE_OURS = (
    "the programme chooses how a pulse distributes its energy: the reference paper gives energy and time of its pulses "
    "and the diameter of its domes, but no numbers for the rest (docs/devices.md)"
)
# a cooling at a rate may take this much longer than the energy of its pulse needs
_LONGER = 1.25


class Intervals(StrictModel):
    """Intervals of an operation's output, in steps; None: that of the programme."""

    series_every: int | None = Field(None, ge=1)
    profile_every: int | None = Field(None, ge=0)
    dump_every: int | None = Field(None, ge=0)
    restart_every: int | None = Field(None, ge=0)
    gamma_every: int | None = Field(None, ge=0)


class _Operation(StrictModel):
    output: Intervals | None = Field(None, description="Intervals of this operation; the programme gives the others")


class _Thermostatted(_Operation):
    temperature_K: float = Field(ROOM_TEMPERATURE_K, gt=0, le=5000)
    duration_ps: float = Field(gt=0)
    damping_ps: float = Field(DAMPING_PS, gt=0, description="Of the Langevin thermostat; its friction slows diffusion")

    def stages(self) -> list[Stage]:
        """Return the stage of constant temperature."""
        hold = Anneal if isinstance(self, Set) else Hold
        return [hold(temperature_K=self.temperature_K, duration_ps=self.duration_ps, damping_ps=self.damping_ps)]


class Reset(_Operation):
    """Amorphise: heat with a pulse, then cool by removing kinetic energy.

    `energy_pJ` is that of the whole pulse, `energy_eV_per_atom` that of each heated atom: all mobile atoms, or those of
    the dome. In the paper's RESET of the cross-point cell (doi 10.1038/s41467-025-63732-4, Fig. 3),
    0.064 pJ in 10 ps are followed by 40 ps of cooling; the energy falls linearly with height, from above 1,000 K at the
    bottom to about 300 K at the top. It gives no energy for either end: `floor` 0 is our choice.
    """

    kind: Literal["RESET"] = "RESET"
    energy_eV_per_atom: float | None = Field(None, description="Mean of the heated atoms")
    energy_pJ: float | None = Field(None, description="Of the whole pulse")
    pulse_ps: float = Field(gt=0)
    every_ps: float = Field(KICK_INTERVAL_PS, gt=0, description="Interval between additions of energy")
    profile: Literal["linear_z", "uniform", "dome", "expression"] = "linear_z"
    floor: float = Field(0.0, ge=0, le=1, description="linear_z: share of the largest energy that atoms at the top get")
    diameter_A: float | None = Field(None, gt=0, description="dome: diameter, above the middle of the bottom electrode")
    edge_A: float = Field(0.0, ge=0, description="dome: width over which its energy falls to nothing")
    formula: str | None = Field(None, description="expression: energy per atom in proportion to this of x, y, z in Å")
    cool_ps: float | None = Field(None, gt=0)
    cool_rate_K_ps: float | None = Field(None, gt=0, description="Instead of cool_ps")
    cool_every_ps: float = Field(0.2, gt=0, description="Interval between removals of energy")
    cool: Literal["local", "uniform"] = Field("local", description="local: cool each part from its own temperature")
    end_K: float = Field(ROOM_TEMPERATURE_K, gt=0)

    @model_validator(mode="after")
    def _says_one_thing_once(self) -> Reset:
        for one, other in (("energy_eV_per_atom", "energy_pJ"), ("cool_ps", "cool_rate_K_ps")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise UnfitValueError(f"a RESET needs either {one} or {other}", "give one of them")
        for key, profile in (("diameter_A", "dome"), ("formula", "expression")):
            if (getattr(self, key) is not None) != (self.profile == profile):
                raise UnfitValueError(
                    f"{key} belongs to profile '{profile}', which needs it", f"set both, or leave out {key}"
                )
        if self.energy_eV_per_atom is not None:
            check_energy(self.energy_eV_per_atom, f"{self.energy_eV_per_atom:g} eV/atom")
        if self.energy_pJ is not None and self.energy_pJ <= 0:
            check_energy(self.energy_pJ * EV_PER_PJ, f"{self.energy_pJ:g} pJ")
        if self.formula is not None:
            Expression(formula=self.formula)
        return self


class Set(_Thermostatted):
    """Crystallise at constant temperature with a Langevin thermostat (the paper: 600 K).

    With `until_crystalline` it ends when that share of the mobile atoms is crystal-like, at the latest after its
    duration.
    """

    kind: Literal["SET"] = "SET"
    temperature_K: float = Field(gt=0, le=5000)
    until_crystalline: float | None = Field(None, gt=0, le=1)


class Rest(_Thermostatted):
    """Hold at a temperature; `relax` first removes close contacts, as a new cell needs."""

    kind: Literal["HOLD"] = "HOLD"
    relax: bool = False

    def stages(self) -> list[Stage]:
        """Return the stage of constant temperature, with `relax` after a minimisation."""
        return [*([Relax()] if self.relax else []), *super().stages()]


class Read(_Thermostatted):
    """Observe relaxation and drift of a state at constant temperature.

    Reports energy and crystal-like fraction against the logarithm of time; computes no resistance.
    """

    kind: Literal["READ"] = "READ"


Operation = Reset | Set | Rest | Read
OperationSpec = Annotated[Operation, Field(discriminator="kind")]


def profile_of(reset: Reset, geometry: Geometry) -> Profile:
    """Return the profile of a RESET on a cell."""
    bottom, top = geometry.z_range_A
    if reset.profile == "linear_z":
        return LinearZ(bottom_A=bottom, top_A=top, floor=reset.floor)
    if reset.profile == "expression":
        return Expression(formula=str(reset.formula))
    if reset.profile == "dome":
        assert reset.diameter_A is not None  # the model checks it
        x, y = (float(edge) / 2 for edge in geometry.edges_A[:2])
        centre = (x, None if geometry.depth_is_thin else y, bottom)
        try:
            return Dome(diameter_A=reset.diameter_A, centre_A=centre, edge_A=reset.edge_A)
        except ValueError as error:
            raise InputError(f"edge_A {reset.edge_A:g} exceeds the dome's radius", "make it smaller") from error
    return Uniform()


def profile_words(reset: Reset) -> str:
    """Say how a RESET distributes its energy."""
    if reset.profile == "linear_z":
        return f"falling linearly from the bottom to {reset.floor:g} of that at the top"
    if reset.profile == "dome":
        return f"the same within a dome of {reset.diameter_A:g} Å"
    return f"in proportion to {reset.formula}" if reset.profile == "expression" else "the same for all mobile atoms"


@dataclass(frozen=True)
class OperationOnCell:
    """An operation on a given cell: its stages, and, for a RESET, the atoms that it heats."""

    operation: Operation
    stages: list[Stage]
    heated: Heated | None = None

    @property
    def energy_eV(self) -> float:
        """Energy of the pulse, eV; 0 without one."""
        return sum(stage.energy_eV for stage in self.stages if isinstance(stage, Pulse))

    @property
    def duration_ps(self) -> float:
        """Simulated time, ps; the longest that it may take if it cools at a rate."""
        return float(sum(getattr(stage, "duration_ps", 0.0) for stage in self.stages))


def on_cell(operation: Operation, geometry: Geometry) -> OperationOnCell:
    """Work out the stages of an operation on a cell.

    Raises InputError if the heated region does not fit the cell, or the energy per atom is out of range.
    """
    if not isinstance(operation, Reset):
        return OperationOnCell(operation, operation.stages())
    profile = profile_of(operation, geometry)
    share = heated(profile, geometry)
    energy_eV = _energy_eV(operation, share.n_atoms)
    return OperationOnCell(operation, _pulse_and_cooling(operation, geometry, profile, energy_eV), share)


def _energy_eV(reset: Reset, n_heated: int) -> float:
    if reset.energy_pJ is None:
        return float(reset.energy_eV_per_atom or 0.0) * n_heated
    total = reset.energy_pJ * EV_PER_PJ
    check_energy(total / n_heated, f"{reset.energy_pJ:g} pJ on {n_heated:,} atoms")
    return total


def _pulse_and_cooling(reset: Reset, geometry: Geometry, profile: Profile, energy_eV: float) -> list[Stage]:
    duration_ps = reset.cool_ps
    if duration_ps is None:
        intervals = math.ceil(_LONGER * _cooling_ps(reset, geometry, energy_eV) / reset.cool_every_ps) + 10
        duration_ps = round(intervals * reset.cool_every_ps, 9)
    return [
        Pulse(energy_eV=energy_eV, duration_ps=reset.pulse_ps, profile=profile, every_ps=reset.every_ps),
        Cool(
            end_K=reset.end_K,
            duration_ps=duration_ps,
            rate_K_ps=reset.cool_rate_K_ps,
            every_ps=reset.cool_every_ps,
            slices=_slices(profile, geometry) if reset.cool == "local" else None,
        ),
    ]


def cooling_ps(reset: Reset, geometry: Geometry) -> float:
    """Return how long a RESET cools, ps; at a rate, the time that the energy of its pulse needs."""
    if reset.cool_ps is not None:
        return reset.cool_ps
    return _cooling_ps(reset, geometry, on_cell(reset, geometry).energy_eV)


def _cooling_ps(reset: Reset, geometry: Geometry, energy_eV: float) -> float:
    # the heat spreads over all mobile atoms
    fall_K = energy_eV / geometry.n_mobile / (3.0 * BOLTZMANN_EV_K)
    return fall_K / float(reset.cool_rate_K_ps or 1.0)


def _slices(profile: Profile, geometry: Geometry) -> Slices:
    """Return shells around a dome out to its diameter, and one beyond; without a dome, slices along z."""
    if isinstance(profile, Dome):
        count = min(40, max(2, round(profile.diameter_A / _SLICE_A)))
        width = profile.diameter_A / count
        return Slices(by="distance", count=count + 1, centre_A=profile.centre_A, width_A=width)
    return Slices(by="z", count=min(100, max(1, round(float(geometry.edges_A[2]) / _SLICE_A))))
