"""Analyse a device operation: crystal-like fraction, domes, temperature along z, heating, drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from gst_jobflow.analysis.crystallinity import ANION, crystal_like, crystal_profile, crystallinity
from gst_jobflow.analysis.disorder import Region, largest_region, order_map
from gst_jobflow.devices.programme import AnalysisHooks
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.series import ProfileFrame, Table
from gst_jobflow.dynamics.stages import Dome, Protocol, Pulse

BIN_A = 5.0
# single atoms that left the crystal, such as those that vibrate across the periodic boundary into the barrier, make no
# slice with a temperature of its own: a bin needs one atom on average, and this share of the median bin
_FEWEST, _LEAST_SHARE = 1.0, 0.2
# sizes of the largest disordered region, as in `analysis.disorder.Region`
_SIZES = ("n_atoms", "width_A", "height_A", "diameter_A")


def analyse(
    result: ProtocolResult, protocol: Protocol, mobile: Sequence[int], hooks: AnalysisHooks, anion: str = ANION
) -> dict[str, Any]:
    """Return fields of the trajectory document: `analysis`, and `crystalline_fraction` of the final state.

    `mobile` are first and last id of the mobile atoms, from 1; `anion` is the element of the close-packed sublattice.
    """
    group, timestep_ps = np.arange(mobile[0] - 1, mobile[1]), protocol.timestep_fs * 1e-3
    found: dict[str, Any] = {"temperature_profile": _temperatures(result.profiles, timestep_ps, hooks.times)}
    if hooks.crystalline:
        found |= _order(result, protocol, group, hooks.times, anion)
    if len(result.layers["step"]):
        found["layers"] = _layers(result, protocol)
    if any(isinstance(stage, Pulse) for stage in protocol.stages):
        found["heating"] = heating(result.profiles, protocol)
    if protocol.name in ("READ", "HOLD"):
        found["drift"] = drift(result.series, len(group))
    fractions = found.get("crystalline", {}).get("fraction")
    # a failed run has no final state: its last frame is older
    ended = fractions and result.status == "finished"
    return {"analysis": found, "crystalline_fraction": fractions[-1] if ended else None}


def heating(profiles: Sequence[ProfileFrame], protocol: Protocol) -> dict[str, Any]:
    """Return the hottest slice of a pulse, and the temperature along z at its end.

    The result has `peak_K`, `peak_z_A`, `peak_time_ps`; `bottom_K`, `top_K` (means of the lowest and the highest fifth
    of the mobile crystal) and `gradient_K_per_nm` (least squares over all slices, weighted by their atoms). It is empty
    if no profile was written during a pulse.
    """
    spans = [
        span for stage, span in zip(protocol.stages, protocol.boundaries(), strict=True) if isinstance(stage, Pulse)
    ]
    during = [frame for frame in profiles if any(first < frame.step <= last for first, last in spans)]
    if not during:
        return {}
    tops = [float(np.where(_filled(frame), frame.temperature_K, 0.0).max()) for frame in during]
    hottest, end = during[int(np.argmax(tops))], during[-1]
    full = _filled(end)
    if int(full.sum()) < 2:
        return {}
    z, temperature, atoms = end.z_A[full], end.temperature_K[full], end.count[full]
    fifth = max(1, len(z) // 5)
    slope = np.polyfit(z, temperature, 1, w=np.sqrt(atoms))[0]
    return {
        "peak_K": max(tops),
        "peak_z_A": float(hottest.z_A[int(np.argmax(np.where(_filled(hottest), hottest.temperature_K, 0.0)))]),
        "peak_time_ps": float(hottest.step * protocol.timestep_fs * 1e-3),
        "bottom_K": float(np.average(temperature[:fifth], weights=atoms[:fifth])),
        "top_K": float(np.average(temperature[-fifth:], weights=atoms[-fifth:])),
        "gradient_K_per_nm": float(10.0 * slope),
    }


def _filled(frame: ProfileFrame) -> np.ndarray:
    """Return the mask of the bins that have a temperature, shape (bins,)."""
    some = frame.count[frame.count >= _FEWEST]
    return frame.count >= max(_FEWEST, _LEAST_SHARE * float(np.median(some)) if len(some) else _FEWEST)


def drift(series: Table, n_mobile: int) -> dict[str, Any]:
    """Return the change of the potential energy per decade of time, over the last decade.

    It measures structural relaxation; it is no resistance, and implies none.
    """
    time, energy = series["time_ps"] - series["time_ps"][0], series["pe_eV"]
    late = (time > 0.1 * time[-1]) & np.isfinite(energy) & (time > 0)
    if int(late.sum()) < 5:
        return {}
    slope = np.polyfit(np.log10(time[late]), energy[late], 1)[0]
    return {
        "energy_meV_per_atom_per_decade": float(1e3 * slope / n_mobile),
        "from_ps": float(time[late][0]),
        "to_ps": float(time[late][-1]),
    }


def _layers(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Return the energies that all kicks added to and removed from each layer, lowest first; `height_A` of the cell."""
    table = result.layers
    pulses = [number for number, stage in enumerate(protocol.stages, 1) if isinstance(stage, Pulse)]
    heating_up = np.isin(table["stage"], pulses)
    return {
        "low_A": float(table["low_A"][0]),
        "height_A": float(table["height_A"][0]),
        "added_eV": table["gained_eV"][heating_up].sum(axis=0).tolist(),
        "removed_eV": (-table["gained_eV"][~heating_up].sum(axis=0)).tolist(),
    }


def _order(result: ProtocolResult, protocol: Protocol, group: np.ndarray, most: int, anion: str) -> dict[str, Any]:
    """Return the crystal-like fraction over time and along z; after a dome also the size of the disordered region."""
    times: list[float] = []
    fractions: list[float] = []
    by_z: list[list[float | None]] = []
    centres: np.ndarray = np.array([])
    regions: list[Region] = []
    dome = _dome(protocol)
    for step, atoms in _states(result, protocol, most):
        found = crystallinity(atoms, group, anion=anion)
        centres, profile, _ = crystal_profile(atoms, found.mask, BIN_A, group)
        times.append(float(step * protocol.timestep_fs * 1e-3))
        fractions.append(found.fraction)
        by_z.append(_plain(profile))
        if dome is not None:
            regions.append(largest_region(order_map(atoms, found.mask, group)))
    series = {"time_ps": times, "fraction": fractions, "z_A": centres.tolist(), "fraction_by_z": by_z}
    order: dict[str, Any] = {"crystalline": {"method": crystal_like(anion), **series}}
    if dome is not None:
        sizes = {key: [getattr(region, key) for region in regions] for key in _SIZES}
        order["dome"] = {"asked_diameter_A": dome.diameter_A, "time_ps": times, **sizes}
    return order


def _states(result: ProtocolResult, protocol: Protocol, most: int) -> Iterator[tuple[int, Atoms]]:
    """Yield step and atoms of about `most` frames, of every stage boundary, and of the end of a finished run."""
    # frames are streamed: the first pass counts them, the second analyses few
    steps = [frame.step for frame in result.frames()]
    wanted = {steps[place] for place in _evenly(len(steps), most)} | set(np.ravel(protocol.boundaries()).tolist())
    ends = result.status == "finished"
    for frame in result.frames():
        if frame.step in wanted and not (ends and frame.step >= result.reached_step):
            yield frame.step, frame.to_atoms(result.elements)
    if ends:
        yield result.reached_step, result.final_atoms()


def _dome(protocol: Protocol) -> Dome | None:
    profiles = [stage.profile for stage in protocol.stages if isinstance(stage, Pulse)]
    return next((profile for profile in profiles if isinstance(profile, Dome)), None)


def _temperatures(profiles: list[ProfileFrame], timestep_ps: float, most: int) -> dict[str, Any]:
    chosen = [profiles[index] for index in _evenly(len(profiles), most)]
    return {
        "time_ps": [float(profile.step * timestep_ps) for profile in chosen],
        "z_A": chosen[0].z_A.tolist() if chosen else [],
        "temperature_K": [_plain(np.where(_filled(p), p.temperature_K, np.nan)) for p in chosen],
    }


def _evenly(length: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int)).tolist() if length else []


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
