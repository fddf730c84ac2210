"""Operations of a memory cell, in the words of the device, and the stages of molecular dynamics that they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gst_jobflow.dynamics.stages import Anneal, Cool, Hold, LinearZ, Pulse, Relax, Stage, Uniform
from gst_jobflow.strict import StrictModel

ROOM_TEMPERATURE_K = 300.0


class Reset(StrictModel):
    """Amorphise: a pulse of heat, then cooling by taking kinetic energy out.

    The paper's RESET of the cross-point cell gives 0.749 eV/atom in 10 ps, least at the top, and cools for 40 ps
    (doi 10.1038/s41467-025-63732-4, Fig. 3).
    """

    kind: Literal["RESET"] = "RESET"
    energy_eV_per_atom: float = Field(gt=0, le=10, description="Of the mobile atoms; 10 eV/atom would be plasma")
    pulse_ps: float = Field(gt=0)
    cool_ps: float = Field(gt=0)
    cool_every_ps: float = Field(0.2, gt=0, description="Interval in which energy is taken out while cooling")
    end_K: float = Field(ROOM_TEMPERATURE_K, gt=0)
    profile: Literal["linear_z", "uniform"] = "linear_z"
    floor: float = Field(0.0, ge=0, le=1, description="Share of the largest energy that the atoms at the top get")


class Set(StrictModel):
    """Crystallise: constant temperature by a Langevin thermostat (the paper: 600 K)."""

    kind: Literal["SET"] = "SET"
    temperature_K: float = Field(gt=0)
    duration_ps: float = Field(gt=0)


class Rest(StrictModel):
    """Hold at a temperature; `relax` first takes close contacts out, as a freshly built cell needs."""

    kind: Literal["HOLD"] = "HOLD"
    temperature_K: float = Field(ROOM_TEMPERATURE_K, gt=0)
    duration_ps: float = Field(gt=0)
    relax: bool = False


OperationSpec = Annotated[Reset | Set | Rest, Field(discriminator="kind")]


def stages_of(operation: Reset | Set | Rest, n_mobile: int, z_range_A: tuple[float, float]) -> list[Stage]:
    """Stages of an operation on a cell.

    Parameters
    ----------
    operation
        What to do.
    n_mobile
        Atoms that take up the energy.
    z_range_A
        Lowest and highest z of the mobile atoms, Å: where the linear profile begins and ends.
    """
    if isinstance(operation, Reset):
        profile = LinearZ(bottom_A=z_range_A[0], top_A=z_range_A[1], floor=operation.floor)
        return [
            Pulse(
                energy_eV=operation.energy_eV_per_atom * n_mobile,
                duration_ps=operation.pulse_ps,
                profile=profile if operation.profile == "linear_z" else Uniform(),
            ),
            Cool(end_K=operation.end_K, duration_ps=operation.cool_ps, every_ps=operation.cool_every_ps),
        ]
    if isinstance(operation, Set):
        return [Anneal(temperature_K=operation.temperature_K, duration_ps=operation.duration_ps)]
    hold = Hold(temperature_K=operation.temperature_K, duration_ps=operation.duration_ps)
    return [Relax(), hold] if operation.relax else [hold]


def duration_ps(operation: Reset | Set | Rest) -> float:
    """Simulated time of an operation, ps."""
    return operation.pulse_ps + operation.cool_ps if isinstance(operation, Reset) else operation.duration_ps
