"""Jobs that run molecular dynamics, and the trajectory document of a run."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.settings import find_project
from gst_jobflow.base.strict import checked
from gst_jobflow.documents import ConfigType, Cost, Kick, Potential, Segment, Structure, Trajectory
from gst_jobflow.dynamics.deck import Output, PotentialFiles
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.protocol import ProtocolResult, RunOptions, run_protocol
from gst_jobflow.dynamics.stages import Protocol, Stage
from gst_jobflow.dynamics.temperature import equilibrated_K
from gst_jobflow.dynamics.watch import Watch
from gst_jobflow.dynamics.work import RunWork
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.context import continuation, is_continuation, job_deadline, job_results, job_uuid, work_directory
from gst_jobflow.structures.composition import parse_formula
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.store import Results

THERMO_POINTS = 400
"""Points that a trajectory document keeps of each series; the whole series is among its files."""
ENERGY_TOLERANCE = 1e-3
"""Largest relative difference of the energy that a pulse added from the one that was asked."""
DRIFT_TOLERANCE_A_PS = 1e-6
"""Largest mean velocity of the moving atoms that a change of velocities may leave, Å/ps."""

_THERMO = {
    "time_ps": "time_ps",
    "potential_eV": "pe_eV",
    "kinetic_eV": "ke_eV",
    "total_eV": "etotal_eV",
    "temperature_K": "temp_K",
    "pressure_bar": "press_bar",
}


@in_category("md")
@dataclass
class MeltQuenchMaker(Maker):
    """Make amorphous material: a hard-sphere random start, melted and quenched by a potential."""

    name: str = "melt-quench"
    start: HardSphereSpec | None = None
    stages: list[Stage] = field(default_factory=list)
    seed: int = 1
    output: Output = field(default_factory=Output)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse stages that the job could not run."""
        if self.stages:
            self._protocol()
            _first_temperature(self.stages)

    def _protocol(self) -> Protocol:
        return checked(Protocol, {"name": "melt_quench", "stages": self.stages, "seed": self.seed}, self.name)

    def work(self, potential_id: str) -> RunWork | None:
        """Return the run that :meth:`make` needs; None without a start."""
        if self.start is None:
            return None
        return RunWork(self._protocol(), self.start.n_atoms, self.output, potential_id)

    @job
    def make(self, potential_id: str) -> dict[str, Any]:
        """Run it.

        Returns
        -------
        dict
            `structure_id` of the quenched structure, `trajectory_id`. A run that stopped before its walltime is
            replaced by its continuation.
        """

        if self.start is None:
            raise InputError("a melt-quench needs a start", "give MeltQuenchMaker(start=HardSphereSpec(...))")
        results = job_results()
        atoms = generate(self.start)
        source = {"builder": "hard_sphere", "spec": self.start.model_dump(mode="json", exclude_none=True)}
        first = structure_document(atoms, "hard_sphere", source=source, tags=[*self.tags, "melt-quench start"])
        results.add(first)
        protocol = self._protocol()
        options = RunOptions(create_velocities_K=_first_temperature(self.stages), output=self.output)
        result = run_recorded(results, potential_id, atoms, protocol, options)
        if result.goes_on:
            return continuation(self.make(potential_id))
        trajectory, _ = record(results, result, protocol, potential_id, "melt_quench", first.id, tags=self.tags)
        result.require_success()
        return {"structure_id": trajectory.final_structure_id, "trajectory_id": trajectory.id}


def run_recorded(
    results: Results,
    potential_id: str,
    start: Atoms | Path,
    protocol: Protocol,
    options: RunOptions,
    watch: Watch | None = None,
) -> ProtocolResult:
    """Run a protocol in the job's work directory, or go on with what an earlier attempt began there.

    `watch` may end it early; see :func:`gst_jobflow.dynamics.protocol.run_protocol`.

    Raises
    ------
    DataError
        This is a continuation, and what it continues cannot be seen from here.
    """

    settings = find_project().settings
    deadline = job_deadline(settings)
    directory = work_directory(results, "md")
    if is_continuation() and not any(directory.glob("segment_*")):
        raise DataError(
            f"the segments that this run continues cannot be seen from {socket.gethostname()}",
            "runs_dir has to be on a file system that all nodes share; then: gst recover --failed",
        )
    files = link_potential(results, results.get(Potential, potential_id), directory)
    engine = lammps_engine(settings)
    return run_protocol(engine, files, start, protocol, directory, options, deadline=deadline, watch=watch)


def check_kind(potential: Potential) -> None:
    """Refuse a potential that dynamics cannot be made with.

    Raises
    ------
    InputError
        LAMMPS has no pair style for its kind.
    """
    if potential.kind != "ace":
        raise InputError(
            f"potential {potential.name} is {potential.kind}: LAMMPS here has no pair style for it",
            "take an ACE potential; gst evaluate compares the two",
        )


def link_potential(results: Results, potential: Potential, directory: Path) -> PotentialFiles:
    """The files of a potential that LAMMPS runs, linked into `directory`.

    Raises
    ------
    InputError
        It is of another kind.
    """
    check_kind(potential)
    refs = potential.artifacts
    found = {"yace": refs.yace, "yaml": refs.yaml, "asi": refs.asi}
    paths = {name: str(results.artifacts.fetch(ref, directory)) for name, ref in found.items() if ref is not None}
    return PotentialFiles(elements=potential.elements, **paths)


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
    **more: Any,
) -> tuple[Trajectory, Atoms | None]:
    """Store a run, finished or failed: its files, its last structure, its trajectory document.

    Returns
    -------
    tuple
        The document, and the last atoms (with velocities) of a finished run.

    Raises
    ------
    DataError
        A pulse added another energy than it was asked to.
    """

    atoms = result.final_atoms() if result.status == "finished" else None
    final_id = None
    if atoms is not None:
        final = structure_document(
            atoms,
            config_type,
            source={"protocol": protocol.name, "potential_id": potential_id},
            parents=[start_structure_id],
            tags=tags,
            artifacts=results.artifacts,
        )
        results.add(final)
        final_id = final.id
    start = results.get(Structure, start_structure_id)
    trajectory = Trajectory.of(
        start,
        (protocol.name, _outcome(result)),
        directory=str(result.directory),
        job_uuid=job_uuid(),
        groups=groups,
        stages=[stage.model_dump(mode="json") for stage in protocol.stages],
        potential_id=potential_id,
        final_structure_id=final_id,
        state="finished" if atoms is not None else "failed",
        failure_class=result.failure_class,
        reason=result.error_line,
        timestep_fs=protocol.timestep_fs,
        n_steps=result.reached_step,
        seed=protocol.seed,
        files=[results.artifacts.put(path) for path in result.files()],
        host=socket.gethostname(),
        ended_by=result.ended_by,
        max_drift_A_ps=_drift_A_ps(result, start.formula, (groups or {}).get("mobile", start.n_atoms)),
        **_energies(result, protocol),
        **_measured(result, protocol),
        **more,
    )
    results.add(trajectory)
    if atoms is not None:
        _check_energy(trajectory)
    return trajectory, atoms


def _outcome(result: ProtocolResult) -> str:
    return "finished" if result.status == "finished" else f"{result.status} after {len(result.segments)} segments"


def _first_temperature(stages: list[Stage]) -> float:
    """Temperature to draw velocities at: that of the first stage that has one."""
    for stage in stages:
        found = getattr(stage, "temperature_K", None) or getattr(stage, "start_K", None)
        if found:
            return found
    raise InputError("no stage has a temperature to start at", "begin with an anneal, a hold or a quench")


def _energies(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Asked, added and removed energies of all pulses and coolings, and every kick."""
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
    """Largest mean velocity of the mobile atoms after a kick: their momentum over their mass."""
    from ase.data import atomic_masses, atomic_numbers

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
            f"the pulse added {added:.4f} eV instead of the asked {asked:.4f} eV",
            f"see kicks.csv among the files of trajectory {trajectory.id}",
        )


def _measured(result: ProtocolResult, protocol: Protocol) -> dict[str, Any]:
    """Thermodynamic series (thinned), temperatures, profile, segments and cost."""
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
        "segments": _segments(result),
        "cost": _cost(result),
        # the longest segment says it best
        "us_per_atom_step": max(measured, key=lambda part: part.wall_s).us_per_atom_step if measured else None,
        "versions": {"lammps": last.lammps_version},
    }


def _cost(result: ProtocolResult) -> Cost:
    core_s = sum(segment.wall_s * segment.ranks for segment in result.segments)
    return Cost(wall_s=result.wall_s, cores=result.segments[-1].ranks, core_hours=core_s / 3600)


def _segments(result: ProtocolResult) -> list[Segment]:
    ends = [segment.start_step for segment in result.segments[1:]] + [result.reached_step]
    return [
        Segment(
            directory=str(segment.directory),
            host=segment.host,
            first_step=segment.start_step,
            last_step=max(end, segment.start_step),
            wall_s=segment.wall_s,
        )
        for segment, end in zip(result.segments, ends, strict=True)
    ]


def thinned(columns: dict[str, np.ndarray], points: int = THERMO_POINTS) -> dict[str, list[float]]:
    """At most `points` rows of finite numbers, evenly over the series, first and last among them."""
    table = np.column_stack([np.asarray(column, dtype=float) for column in columns.values()])
    table = table[np.isfinite(table).all(axis=1)]
    chosen = np.unique(np.linspace(0, len(table) - 1, min(points, len(table))).round().astype(int))
    return {name: table[chosen, index].tolist() for index, name in enumerate(columns)}
