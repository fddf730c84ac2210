"""Make structures with labels by molecular dynamics from first principles."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from jobflow import Maker, job

from gst_jobflow.base.categories import in_category
from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.settings import find_project
from gst_jobflow.base.strict import checked
from gst_jobflow.base.words import counted
from gst_jobflow.documents import Cost, Label, Segment, Structure, Trajectory
from gst_jobflow.dynamics.maker import store_random_start
from gst_jobflow.dynamics.record import thinned
from gst_jobflow.flows.aimd_run import AimdRun, AimdSpec, run_aimd
from gst_jobflow.flows.preset_cells import pair_distances_A
from gst_jobflow.importing.cp2k_input import input_method, parse_input
from gst_jobflow.importing.labels import computed_of
from gst_jobflow.importing.records import Record
from gst_jobflow.labelling.backend import RawLabel, doubts
from gst_jobflow.labelling.cp2k import Cp2kBackend, cp2k_version
from gst_jobflow.labelling.cp2k_md import MdPart, md_input, md_method
from gst_jobflow.labelling.maker import label_of
from gst_jobflow.labelling.method import Method
from gst_jobflow.labelling.work import AimdWork
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of, load_atoms, structure_document
from gst_jobflow.store.context import continuation, job_deadline, job_results, job_uuid, work_directory
from gst_jobflow.structures.hard_sphere import HardSphereSpec
from gst_jobflow.structures.material import Material

# a random start keeps about the distances of bonds, so that it does not heat up by itself
_START = (1.06, 1.22)


@in_category("labels")
@dataclass
class AimdMaker(Maker):
    """Run NVT dynamics with CP2K; its frames become structures with labels of the same method.

    The frames of a run form one group, which no split divides. A step with unconverged electrons gives no label. CP2K
    is stopped before the walltime, and a continuation starts from the last step. `start` is the random start if `make`
    gets no structure.

    Examples
    --------
    >>> backend = Cp2kBackend(settings=Cp2kSettings.discover())
    >>> spec = AimdSpec(stages=[Anneal(temperature_K=1000, duration_ps=5)])
    >>> job = AimdMaker(backend, spec, start=random_start("Ge2Sb2Te5", 63, 5.9, seed=1)).make()
    """

    backend: Cp2kBackend
    spec: AimdSpec
    name: str = "aimd"
    start: HardSphereSpec | None = None
    iteration: int = 0
    tags: list[str] = field(default_factory=list)

    def work(self, structure_id: str | None = None) -> AimdWork:
        """Return the steps that :meth:`make` computes."""
        n_atoms = self.start.n_atoms if self.start and structure_id is None else None
        return AimdWork(self.backend, self.spec.dynamics, self.spec.total_steps, n_atoms, structure_id)

    @job
    def make(self, structure_id: str | None = None) -> dict[str, Any]:
        """Run the dynamics; RunError if CP2K failed, or finished no step before the walltime.

        Returns `trajectory_id`, `structure_ids` of the frames, `fingerprint`, and the counts `labels`, `unconverged`.
        """
        results = job_results()
        start_id = structure_id or self._random_start(results)
        deadline = job_deadline(find_project().settings)
        directory = work_directory(results, "aimd")
        before = AimdRun.read(directory, self.spec).reached_step
        atoms = load_atoms(results, start_id)
        run = run_aimd(self.backend, self.spec, atoms, directory, deadline)
        frames = store_frames(results, run, self, results.get(Structure, start_id))
        if run.status == "stopped" and run.reached_step == before:
            raise RunError(
                "CP2K finished not one step before the walltime",
                "ask for a longer walltime (labels.walltime), or give CP2K more cores (cp2k.ranks)",
                "no_progress",
            )
        if run.status == "stopped":
            return continuation(self.make(structure_id))
        trajectory = trajectory_document(results, run, self, start_id, frames)
        results.add(trajectory)
        if run.status == "failed":
            raise RunError(run.reason, f"see aimd.out in {run.segments[-1].directory}", run.failure_class)
        return {
            "trajectory_id": trajectory.id,
            "structure_ids": frames.structure_ids,
            "fingerprint": trajectory.fingerprint,
            "labels": frames.labels,
            "unconverged": frames.unconverged,
        }

    def _random_start(self, results: Results) -> str:
        if self.start is None:
            raise InputError("dynamics needs a start", "give a structure, or AimdMaker(start=HardSphereSpec(...))")
        first, _ = store_random_start(results, self.start, [*self.tags, "aimd start"])
        return first.id


@dataclass
class Frames:
    """Stored frames of a run."""

    structure_ids: list[str] = field(default_factory=list)
    last_step: int = 0
    labels: int = 0
    unconverged: int = 0


def store_frames(results: Results, run: AimdRun, maker: AimdMaker, start: Structure) -> Frames:
    """Store frames as structures and labels; those of earlier segments are already stored. The first is the start."""
    stored, method = Frames(), md_method(maker.backend, maker.spec.dynamics)
    as_read = _as_read(maker, atoms_of(start, results.artifacts))
    series = run.series()
    wall_s = dict(zip(series["step"].astype(int).tolist(), series["wall_s"].tolist(), strict=True))
    documents, labels = [], []
    for record in run.records():
        if record.atoms is None:
            stored.unconverged += 1
            continue
        structure = start
        if record.step:
            structure = structure_document(
                record.atoms,
                "aimd",
                source={"builder": "aimd", "step": record.step, "time_ps": record.step * run.spec.timestep_fs * 1e-3},
                parents=[start.id],
                group=start.group,
                iteration=maker.iteration,
                tags=maker.tags,
                artifacts=results.artifacts,
            )
            documents.append(structure)
        doubt = _another_method(record, as_read)
        labels.append(_label(record, structure, method, maker, wall_s.get(record.step or 0, 0.0), doubt))
        stored.structure_ids.append(structure.id)
        stored.last_step = record.step or 0
    results.add_many(documents)
    if labels:
        results.put_labels(labels)
    stored.labels = sum(label.state == "converged" for label in labels)
    return stored


def _as_read(maker: AimdMaker, atoms: Atoms) -> Method | None:
    """Return the method as read from the input that the settings make; None if it cannot be read.

    It may differ from the method itself: an input holds no settings of absent elements, nor the rules by which empty
    orbitals and k-points were counted.
    """
    spec, settings = maker.spec, maker.backend.settings
    part = MdPart(temperature_K=300, steps=1, timestep_fs=spec.timestep_fs, every=spec.every, seed=spec.seed)
    text = md_input(atoms, settings, spec.dynamics, part)
    try:
        return input_method(parse_input(text), cp2k_version(settings.program), atoms)
    except DataError:
        return None


def _another_method(record: Record, as_read: Method | None) -> tuple[str, str] | None:
    """Return failure class and reason of a frame that another method computed; None if it was this one."""
    if record.method is None or as_read is None or record.method.fingerprint() == as_read.fingerprint():
        return None
    return "wrong_method", f"CP2K ran with another method: {record.method.fingerprint()}"


def _label(
    record: Record,
    structure: Structure,
    method: Method,
    maker: AimdMaker,
    wall_s: float,
    doubt: tuple[str, str] | None,
) -> Label:
    assert record.atoms is not None  # the caller checks
    computed = computed_of(record.atoms)
    assert computed is not None  # CP2K writes energy and forces of every frame
    raw = RawLabel(True, energy_eV=computed.energy_eV, forces_eV_A=computed.forces_eV_A, wall_s=wall_s)
    if doubt := doubt or next(iter(doubts(raw, record.atoms, maker.backend.bounds)), None):
        raw.converged, (raw.failure_class, raw.reason) = False, doubt
    return label_of(method, structure, raw)


def trajectory_document(results: Results, run: AimdRun, maker: AimdMaker, start_id: str, frames: Frames) -> Trajectory:
    """Build the document of a run that ended: series, segments, files, cost."""
    start, series = results.get(Structure, start_id), run.series()
    uuid, temperature = job_uuid(), series["temperature_K"]
    names = ("time_ps", "potential_eV", "kinetic_eV", "temperature_K", "conserved_eV")
    wall_s = sum(segment.wall_s for segment in run.segments)
    notes = [f"{counted(frames.unconverged, 'frame')} did not converge"] if frames.unconverged else []
    return Trajectory.of(
        start,
        ("aimd", run.status),
        directory=str(run.segments[0].directory.parent),
        job_uuid=uuid,
        name=maker.name,
        stages=[stage.model_dump(mode="json") for stage in run.spec.stages],
        fingerprint=md_method(maker.backend, run.spec.dynamics).fingerprint(),
        # a last step between two frames has no structure
        final_structure_id=frames.structure_ids[-1] if frames.last_step == run.spec.total_steps else None,
        state="finished" if run.status == "finished" else "failed",
        failure_class=run.failure_class,
        reason="; ".join([run.reason, *notes]).strip("; "),
        timestep_fs=run.spec.timestep_fs,
        n_steps=run.reached_step,
        n_frames=len(frames.structure_ids),
        seed=run.spec.seed,
        max_temperature_K=float(temperature.max()) if temperature.size else None,
        final_temperature_K=float(temperature[-1]) if temperature.size else None,
        thermo=thinned({name: series[name] for name in names}) if temperature.size else {},
        analysis={"dynamics": run.spec.dynamics.model_dump(mode="json"), "mean_temperature_K": list(_means_K(run))},
        files=[results.artifacts.put(path) for path in run.files()],
        segments=[Segment.of(segment) for segment in run.segments],
        cost=Cost.of(wall_s, maker.backend.cores or 1),
        versions={"cp2k": cp2k_version(maker.backend.settings.program)},
        host=socket.gethostname(),
    )


def _means_K(run: AimdRun) -> Iterator[dict[str, float]]:
    """Yield asked and mean temperature of the second half of each part, to check the thermostat."""
    series, end = run.series(), 0
    for asked_K, steps in run.spec.parts():
        begin, end = end + steps // 2, end + steps
        inside = (series["step"] > begin) & (series["step"] <= end)
        if np.any(inside):
            yield {"asked_K": asked_K, "mean_K": float(series["temperature_K"][inside].mean())}


def random_start(
    formula: str, n_atoms: int, density_g_cm3: float, seed: int, material: Material | None = None
) -> HardSphereSpec:
    """Return a random start for dynamics from first principles; InputError if `n_atoms` does not match the composition.

    The cell is a cube, which has the largest heights for its volume: such dynamics often uses the Gamma point alone.
    """
    pairs = pair_distances_A(_START, material)
    values = {"formula": formula, "n_atoms": n_atoms, "density_g_cm3": density_g_cm3, "seed": seed}
    return checked(HardSphereSpec, {**values, "min_distances_A": pairs, "min_distance_A": 2.8, "cell_shape": "cubic"})
