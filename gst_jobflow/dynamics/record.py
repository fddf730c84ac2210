"""Store a run of molecular dynamics: its files, its last structure, its trajectory document."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from gst_jobflow.base.errors import DataError
from gst_jobflow.documents import ConfigType, Cost, Kick, Segment, Structure, Trajectory
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.dynamics.temperature import equilibrated_K
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.context import job_uuid
from gst_jobflow.structures.composition import parse_formula

THERMO_POINTS = 400
"""Points that a trajectory document keeps of each series; the whole series is among its files."""
ENERGY_TOLERANCE = 1e-3
"""Largest relative difference between the energy that a pulse added and the one that was asked."""
DRIFT_TOLERANCE_A_PS = 1e-6
"""Largest mean velocity of the moving atoms that a velocity change may leave, Å/ps."""

_THERMO = {
    "time_ps": "time_ps",
    "potential_eV": "pe_eV",
    "kinetic_eV": "ke_eV",
    "total_eV": "etotal_eV",
    "temperature_K": "temp_K",
    "pressure_bar": "press_bar",
}


def record(
    results: Results,
    result: ProtocolResult,
    protocol: Protocol,
    potential_id: str,
    config_type: ConfigType,
    start_structure_id: str,
    *,
    groups: dict[str, int] | None = None,
    tags: list[str] | None = None,
    run: str = "",
    **more: Any,
) -> Trajectory:
    """Store a finished or failed run and return its document; `more` are further fields of the document.

    `run` tells apart the runs of one protocol within a job. Raises DataError if a pulse added another energy than was
    asked, or a velocity change left the atoms drifting.
    """
    final_id = None
    if result.status == "finished":
        source = {"protocol": protocol.name, "potential_id": potential_id}
        final_id = _store_final(results, result, config_type, source, start_structure_id, tags)
    start = results.get(Structure, start_structure_id)
    n_mobile = (groups or {}).get("mobile", start.n_atoms)
    trajectory = Trajectory.of(
        start,
        (protocol.name, f"{run} {_outcome(result)}".strip()),
        job_uuid=job_uuid(),
        groups=groups,
        potential_id=potential_id,
        final_structure_id=final_id,
        files=[results.artifacts.put(path) for path in result.files()],
        max_drift_A_ps=_drift_A_ps(result, start.formula, n_mobile),
        **_planned(result, protocol),
        **_energies(result, protocol),
        **_measured(result, protocol),
        **more,
    )
    results.add(trajectory)
    if final_id is not None:
        _check_energy(trajectory)
    return trajectory


def _store_final(
    results: Results,
    result: ProtocolResult,
    kind: ConfigType,
    source: dict[str, str],
    parent: str,
    tags: list[str] | None,
) -> str:
    atoms, artifacts = result.final_atoms(), results.artifacts
    final = structure_document(atoms, kind, source=source, parents=[parent], tags=tags, artifacts=artifacts)
    results.add(final)
    return final.id


def _outcome(result: ProtocolResult) -> str:
    return "finished" if result.status == "finished" else f"{result.status} after {len(result.segments)} segments"


def _planned(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Return what was planned, how far it came, and why it ended."""
    return {
        "stages": [stage.model_dump(mode="json") for stage in protocol.stages],
        "timestep_fs": protocol.timestep_fs,
        "seed": protocol.seed,
        "state": "finished" if result.status == "finished" else "failed",
        "failure_class": result.failure_class,
        "reason": result.error_line,
        "ended_by": result.ended_by,
        "n_steps": result.reached_step,
        "directory": str(result.directory),
        "host": socket.gethostname(),
    }


def _energies(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Return asked, added and removed energies of all pulses and coolings, and every kick."""
    table = result.kicks
    pulses = [number for number, stage in enumerate(protocol.stages, 1) if stage.kind == "pulse"]
    coolings = [number for number, stage in enumerate(protocol.stages, 1) if stage.kind == "cool"]
    sums = [result.energies_eV(number) for number in pulses]
    cooled = [result.energies_eV(number)[1] for number in coolings]
    kicks = [
        Kick(time_ps=float(step) * protocol.timestep_fs * 1e-3, asked_eV=float(asked), added_eV=float(added))
        for step, asked, added in zip(table["step"], table["asked_eV"], table["added_eV"], strict=True)
    ]
    return {
        "kicks": kicks,
        "asked_energy_eV": sum(asked for asked, _ in sums) if pulses else None,
        "added_energy_eV": sum(added for _, added in sums) if pulses else None,
        "removed_energy_eV": -sum(cooled) if coolings else None,
    }


def _drift_A_ps(result: ProtocolResult, formula: str, n_mobile: int) -> float | None:
    """Return the largest mean velocity of the mobile atoms after a kick: their momentum over their mass."""
    if not len(result.kicks["kick"]):
        return None
    counts = parse_formula(formula)
    mean_amu = sum(count * atomic_masses[atomic_numbers[name]] for name, count in counts.items()) / sum(counts.values())
    return float(result.kicks["momentum"].max()) / (n_mobile * mean_amu)


def _check_energy(trajectory: Trajectory) -> None:
    if (trajectory.max_drift_A_ps or 0.0) > DRIFT_TOLERANCE_A_PS:
        raise DataError(
            f"a kick left the moving atoms with a mean velocity of {trajectory.max_drift_A_ps:.2g} Å/ps",
            f"see kicks.csv among the files of trajectory {trajectory.id}",
        )
    asked, added = trajectory.asked_energy_eV, trajectory.added_energy_eV
    if asked and added is not None and abs(added - asked) > ENERGY_TOLERANCE * asked:
        raise DataError(
            f"the pulse added {added:.4f} eV, not {asked:.4f} eV",
            f"see kicks.csv among the files of trajectory {trajectory.id}",
        )


def _measured(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Return the thinned series, temperatures, segments and cost."""
    series = result.series
    temperature = series["temp_K"]
    finite = temperature[np.isfinite(temperature)]
    last, measured = result.segments[-1], [part for part in result.segments if part.us_per_atom_step]
    highest_K, end_K = equilibrated_K(series, result.kicks, protocol)
    return {
        "thermo": thinned({ours: series[theirs] for ours, theirs in _THERMO.items()}),
        "n_frames": sum(1 for _ in result.frames()),
        "max_temperature_K": float(finite.max()) if finite.size else None,
        "final_temperature_K": float(finite[-1]) if finite.size else None,
        "max_equilibrated_K": highest_K,
        "end_equilibrated_K": end_K,
        "max_gamma": float(np.nanmax(series["max_gamma"])) if np.any(series["max_gamma"] > 0) else None,
        "segments": [Segment.of(segment) for segment in result.segments],
        "cost": _cost(result),
        # the longest segment measures it best
        "us_per_atom_step": max(measured, key=lambda part: part.wall_s).us_per_atom_step if measured else None,
        "versions": {"lammps": last.lammps_version},
    }


def _cost(result: ProtocolResult) -> Cost:
    core_s = sum(segment.wall_s * segment.ranks for segment in result.segments)
    return Cost(wall_s=result.wall_s, cores=result.segments[-1].ranks, core_hours=core_s / 3600)


def thinned(columns: dict[str, np.ndarray], points: int = THERMO_POINTS) -> dict[str, list[float]]:
    """Return at most `points` rows of finite numbers, evenly over the series, with the first and the last."""
    table = np.column_stack([np.asarray(column, dtype=float) for column in columns.values()])
    table = table[np.isfinite(table).all(axis=1)]
    chosen = np.unique(np.linspace(0, len(table) - 1, min(points, len(table))).round().astype(int))
    return {name: table[chosen, index].tolist() for index, name in enumerate(columns)}
