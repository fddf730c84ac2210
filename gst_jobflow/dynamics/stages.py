"""Stages of a molecular-dynamics protocol, and the steps that they take."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, UnfitValueError
from gst_jobflow.dynamics import expression

# the paper integrates with 2 fs and adds the energy of a pulse every 2 ps (its Methods)
TIMESTEP_FS = 2.0
KICK_INTERVAL_PS = 2.0
DAMPING_PS = 0.1
"""Default Langevin damping. Friction slows diffusion: by Einstein's relation D becomes D / (1 + m D / (k_B T damping)),
a third less for 4e-5 cm2/s at 1000 K and 100 amu, and 5 % less with 1 ps."""


class Uniform(StrictModel):
    """The same energy for every atom of the group."""

    kind: Literal["uniform"] = "uniform"


class LinearZ(StrictModel):
    """Energy per atom falling linearly with height: most at `bottom_A`, least at `top_A`.

    The weight of an atom is ``floor + (1 - floor) * u`` with ``u = (top_A - z) / (top_A - bottom_A)`` held between
    0 and 1; z is the wrapped coordinate. With `floor` 0 an atom at the top gets nothing, as in the RESET of the
    cross-point cell (doi 10.1038/s41467-025-63732-4, Fig. 3).
    """

    kind: Literal["linear_z"] = "linear_z"
    bottom_A: float
    top_A: float
    floor: float = Field(0.0, ge=0.0, le=1.0)

    @model_validator(mode="after")
    def _bottom_below_top(self) -> LinearZ:
        if not self.bottom_A < self.top_A:
            raise UnfitValueError(f"bottom_A ({self.bottom_A}) is not below top_A ({self.top_A})", "swap them")
        return self


class Dome(StrictModel):
    """The same energy for every atom of a ball around a point of the bottom electrode, none outside.

    `diameter_A` is that of the ball, whose lower half lies outside the cell. `centre_A` holds x, y and z in the
    coordinates of the cell; None leaves a direction out, so that the dome of a thin slab is a half-disc (as in doi
    10.1038/s41467-025-63732-4, Fig. 4). `edge_A` is the width within the diameter over which the energy falls linearly
    to zero.
    """

    kind: Literal["dome"] = "dome"
    diameter_A: float = Field(gt=0)
    centre_A: tuple[float | None, float | None, float | None]
    edge_A: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _is_somewhere(self) -> Dome:
        if sum(value is not None for value in self.centre_A) < 2:
            raise ValueError("centre_A needs at least two coordinates")
        if self.edge_A > self.diameter_A / 2:
            raise UnfitValueError(
                f"edge_A ({self.edge_A}) is more than the radius ({self.diameter_A / 2:g})",
                "lower it or raise diameter_A",
            )
        return self


class Expression(StrictModel):
    """Energy per atom in proportion to a formula of x, y and z, see :mod:`gst_jobflow.dynamics.expression`."""

    kind: Literal["expression"] = "expression"
    formula: str

    @field_validator("formula")
    @classmethod
    def _can_be_read(cls, formula: str) -> str:
        try:
            expression.parse(formula)
        except InputError as error:
            raise ValueError(str(error)) from error
        return formula


Profile = Annotated[Uniform | LinearZ | Dome | Expression, Field(discriminator="kind")]


class _Stage(StrictModel):
    """Any stage. `group` names the atoms that move; `acts_at_end`: the last step still owes a velocity change."""

    group: str = "mobile"
    acts_at_end: ClassVar[bool] = False


class _Timed(_Stage):
    duration_ps: float = Field(gt=0, allow_inf_nan=False)


class Relax(_Stage):
    """Minimise the energy at fixed cell, in no simulated time."""

    kind: Literal["relax"] = "relax"
    energy_tolerance: float = Field(1e-8, ge=0)
    force_tolerance_eV_A: float = Field(1e-3, ge=0)
    max_iterations: int = Field(500, ge=1)


class Anneal(_Timed):
    """Langevin dynamics at one temperature."""

    kind: Literal["anneal"] = "anneal"
    temperature_K: float = Field(gt=0)
    damping_ps: float = Field(DAMPING_PS, gt=0)


class Quench(_Timed):
    """Langevin dynamics at a temperature that changes linearly with time."""

    kind: Literal["quench"] = "quench"
    start_K: float = Field(gt=0)
    end_K: float = Field(gt=0)
    damping_ps: float = Field(DAMPING_PS, gt=0)


class Hold(_Timed):
    """Langevin dynamics at `temperature_K`, or plain NVE."""

    kind: Literal["hold"] = "hold"
    temperature_K: float = Field(gt=0)
    ensemble: Literal["nve", "langevin"] = "langevin"
    damping_ps: float = Field(DAMPING_PS, gt=0)


class Pulse(_Timed):
    """NVE with `energy_eV` added in equal kicks, one at the start of each interval of `every_ps`."""

    kind: Literal["pulse"] = "pulse"
    energy_eV: float = Field(gt=0)
    profile: Profile = Field(default_factory=Uniform)
    every_ps: float = Field(KICK_INTERVAL_PS, gt=0)


class Slices(StrictModel):
    """Parts of a cell, each cooled from its own temperature.

    By ``z`` they are equal slices of the cell from bottom to top. By ``distance`` they are shells around `centre_A` (as
    in `Dome`), `width_A` thick; the last one is everything outside the others.
    """

    by: Literal["z", "distance"] = "z"
    count: int = Field(ge=1, le=100)
    centre_A: tuple[float | None, float | None, float | None] | None = None
    width_A: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _shells_have_a_centre(self) -> Slices:
        shells = self.centre_A is not None and self.width_A is not None
        if (self.by == "distance") != shells:
            raise ValueError("centre_A and width_A belong to slices by distance, which need both")
        if shells and self.centre_A is not None and self.centre_A.count(None) not in (0, 1):
            raise ValueError("centre_A needs at least two coordinates")
        return self


class Cool(_Timed):
    """NVE with energy removed at the end of each interval, so that the temperature falls linearly to `end_K`.

    It falls over the whole duration, or at `rate_K_ps`. At a rate the duration is only a limit: the stage ends at
    `end_K` if it is the last of its protocol, and otherwise stays there.

    With `slices`, each part of the cell is cooled from its own temperature. Parts colder than `end_K` are left alone;
    at a rate they are kept at `end_K`. Without slices one factor scales all velocities, also of atoms never heated.
    """

    kind: Literal["cool"] = "cool"
    end_K: float = Field(gt=0)
    rate_K_ps: float | None = Field(None, gt=0)
    slices: Slices | None = None
    every_ps: float = Field(KICK_INTERVAL_PS, gt=0)
    acts_at_end: ClassVar[bool] = True


Stage = Annotated[Relax | Anneal | Quench | Hold | Pulse | Cool, Field(discriminator="kind")]


class Protocol(StrictModel):
    """A named list of stages with one timestep and one seed.

    Examples
    --------
    >>> melt = Anneal(temperature_K=2000, duration_ps=10)
    >>> Protocol(name="melt-quench", stages=[melt, Quench(start_K=2000, end_K=300, duration_ps=50)]).total_steps
    30000
    """

    name: str = Field(min_length=1)
    stages: list[Stage] = Field(min_length=1)
    timestep_fs: float = Field(TIMESTEP_FS, gt=0)
    seed: int = Field(1, ge=1, le=2**31 - 1)

    @model_validator(mode="after")
    def _durations_are_whole(self) -> Protocol:
        for stage in self.stages:
            if isinstance(stage, _Timed):
                steps_of(stage, self.timestep_fs)
            if isinstance(stage, Pulse | Cool):
                kick_count(stage, self.timestep_fs)
        return self

    @property
    def total_steps(self) -> int:
        return self.boundaries()[-1][1] if self.stages else 0

    @property
    def duration_ps(self) -> float:
        return self.total_steps * self.timestep_fs * 1e-3

    def boundaries(self) -> list[tuple[int, int]]:
        """Return (first, last) step of each stage, counted from the start of the protocol."""
        spans, step = [], 0
        for stage in self.stages:
            last = step + steps_of(stage, self.timestep_fs)
            spans.append((step, last))
            step = last
        return spans

    def cut_at(self, step: int) -> Protocol | None:
        """Return the protocol as if planned to end at `step`; None if the stage there cannot be cut.

        Constant conditions can be cut; a pulse would lose energy, a quench or a cooling would end elsewhere.
        """
        for index, (stage, (first, last)) in enumerate(zip(self.stages, self.boundaries(), strict=True)):
            if first < step <= last:
                if not isinstance(stage, Anneal | Hold):
                    return None
                shorter = stage.model_copy(update={"duration_ps": (step - first) * self.timestep_fs * 1e-3})
                return self.model_copy(update={"stages": [*self.stages[:index], shorter]})
        return None

    def digest(self) -> str:
        """Return a hash of everything that changes the trajectory, to tell a continuation from a new run."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def steps_in(duration_ps: float, timestep_fs: float, what: str) -> int:
    """Return a duration as a whole number of steps.

    Raises InputError if it is no multiple of the timestep; the message names the nearest duration.
    """
    exact = duration_ps * 1e3 / timestep_fs
    steps = round(exact)
    if steps < 1 or abs(exact - steps) > 1e-6 * max(1.0, exact):
        near = max(1, steps) * timestep_fs * 1e-3
        raise InputError(
            f"{what} of {duration_ps} ps is not a whole number of steps of {timestep_fs} fs",
            f"the nearest is {near:g} ps",
        )
    return steps


def steps_of(stage: Stage, timestep_fs: float) -> int:
    """Return the number of steps of a stage; 0 for a stage without duration."""
    if not isinstance(stage, _Timed):
        return 0
    return steps_in(stage.duration_ps, timestep_fs, f"{stage.kind} duration_ps")


def kick_count(stage: Pulse | Cool, timestep_fs: float) -> int:
    """Return the number of velocity changes of a stage.

    Raises InputError if the duration is no multiple of the interval; the message names the nearest one.
    """
    steps = steps_of(stage, timestep_fs)
    every = steps_in(stage.every_ps, timestep_fs, f"{stage.kind} every_ps")
    if steps % every:
        near = max(1, round(steps / every)) * stage.every_ps
        raise InputError(
            f"{stage.kind} duration_ps of {stage.duration_ps} is not a multiple of every_ps {stage.every_ps}",
            f"the nearest duration is {near:g} ps",
        )
    return steps // every
