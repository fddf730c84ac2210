"""Jobs that run molecular dynamics."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms
from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.base.segments import segment_folders
from gst_jobflow.base.settings import find_project
from gst_jobflow.base.strict import checked
from gst_jobflow.documents import Potential, Structure
from gst_jobflow.dynamics.deck import Output, RunOptions
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.dynamics.protocol import run_protocol
from gst_jobflow.dynamics.record import record
from gst_jobflow.dynamics.result import ProtocolResult
from gst_jobflow.dynamics.stages import Protocol, Stage
from gst_jobflow.dynamics.watch import Watch
from gst_jobflow.dynamics.work import RunWork
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.store.context import continuation, is_continuation, job_deadline, job_results, work_directory
from gst_jobflow.structures.hard_sphere import HardSphereSpec, generate


@in_category("md")
@dataclass
class MeltQuenchMaker(Maker):
    """Make amorphous material: melt and quench a hard-sphere random start with a potential.

    Examples
    --------
    >>> start = HardSphereSpec(formula="Ge2Sb2Te5", n_atoms=315, density_g_cm3=5.9)
    >>> stages = [Anneal(temperature_K=2000, duration_ps=10), Quench(start_K=2000, end_K=300, duration_ps=50)]
    >>> job = MeltQuenchMaker(start=start, stages=stages).make(potential_id)
    """

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
            first_temperature(self.stages)

    def _protocol(self) -> Protocol:
        return checked(Protocol, {"name": "melt_quench", "stages": self.stages, "seed": self.seed}, self.name)

    def work(self, potential_id: str) -> RunWork | None:
        """Return the run that :meth:`make` needs; None without a start."""
        if self.start is None:
            return None
        return RunWork(self._protocol(), self.start.n_atoms, self.output, potential_id)

    @job
    def make(self, potential_id: str) -> dict[str, Any]:
        """Run the melt-quench; a run that stopped before its walltime is replaced by its continuation.

        Returns `structure_id` of the quenched structure, and `trajectory_id`.
        """
        if self.start is None:
            raise InputError("a melt-quench needs a start", "give MeltQuenchMaker(start=HardSphereSpec(...))")
        results = job_results()
        first, atoms = store_random_start(results, self.start, [*self.tags, "melt-quench start"])
        protocol = self._protocol()
        options = RunOptions(create_velocities_K=first_temperature(self.stages), output=self.output)
        result = run_recorded(results, potential_id, atoms, protocol, options)
        if result.goes_on:
            return continuation(self.make(potential_id))
        trajectory = record(results, result, protocol, potential_id, "melt_quench", first.id, tags=self.tags)
        result.require_success()
        return {"structure_id": trajectory.final_structure_id, "trajectory_id": trajectory.id}


def store_random_start(
    results: Results, spec: HardSphereSpec, tags: list[str], index: int | None = None
) -> tuple[Structure, Atoms]:
    """Make a hard-sphere structure, the first or one of several, and store it; return its document and atoms."""
    atoms = generate(spec, index or 0)
    source: dict[str, Any] = {"builder": "hard_sphere", "spec": spec.model_dump(mode="json", exclude_none=True)}
    if index is not None:
        source["index"] = index
    document = structure_document(atoms, "hard_sphere", source=source, tags=tags)
    results.add(document)
    return document, atoms


def first_temperature(stages: list[Stage]) -> float:
    """Return the temperature of the first stage that has one, at which velocities are drawn."""
    for stage in stages:
        found = getattr(stage, "temperature_K", None) or getattr(stage, "start_K", None)
        if found:
            return found
    raise InputError("no stage has a temperature to start at", "begin with an anneal, a hold or a quench")


def run_recorded(
    results: Results,
    potential_id: str,
    start: Atoms | Path,
    protocol: Protocol,
    options: RunOptions,
    watch: Watch | None = None,
) -> ProtocolResult:
    """Run a protocol in the job's work directory, or continue what an earlier attempt began there.

    `watch` may end it early; see :func:`gst_jobflow.dynamics.protocol.run_protocol`. Raises DataError in a continuation
    whose earlier segments cannot be seen from here.
    """
    settings = find_project().settings
    deadline = job_deadline(settings)
    directory = work_directory(results, "md")
    if is_continuation() and not segment_folders(directory):
        raise DataError(
            f"the segments that this run continues cannot be seen from {socket.gethostname()}",
            "runs_dir must be on a file system that all nodes share; then: gst recover --failed",
        )
    files = link_potential(results, results.get(Potential, potential_id), directory)
    engine = lammps_engine(settings)
    return run_protocol(engine, files, start, protocol, directory, options, deadline=deadline, watch=watch)
