"""Validate potentials: melt-quenched cells beside frames of dynamics from first principles, and a study of both."""

from __future__ import annotations

import io
import uuid
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from jobflow import Flow, Job, Maker, job

from gst_jobflow.analysis.reference_frames import ReferenceFrames
from gst_jobflow.analysis.validation import (
    REFERENCE,
    LocalStructure,
    ValidationPlan,
    bonds_of_reference,
    local_structure,
    structure_differences,
)
from gst_jobflow.documents import ArtifactRef, Member, Potential, Study, Trajectory
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.stages import TIMESTEP_FS, steps_in
from gst_jobflow.flows.study import store_finished
from gst_jobflow.selection.frames import iter_trajectory
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms
from gst_jobflow.store.context import job_results

CURVES_FILE = "curves.npz"


@dataclass
class ValidationMaker(Maker):
    """Melt and quench amorphous cells with potentials, and compare them with frames from first principles.

    All potentials get the same starts and seeds.

    Examples
    --------
    >>> plan = ValidationPlan(compositions=["Sb2Te3"], runs=3)
    >>> references = find_reference_frames(results, plan.references, plan.compositions)  # doctest: +SKIP
    >>> flow = ValidationMaker(plan=plan).make([potential_id], references)  # doctest: +SKIP
    """

    name: str = "validation"
    study_name: str = "validation"
    plan: ValidationPlan = field(default_factory=ValidationPlan)

    def make(self, potential_ids: list[str], references: dict[str, ReferenceFrames]) -> Flow:
        """Flow of the melt-quenches, and of the job that compares them; InputError if a start cannot be made."""
        jobs: list[Job] = []
        rows = []
        for formula, reference in references.items():
            for index in range(self.plan.runs):
                for potential_id in potential_ids:
                    maker = MeltQuenchMaker(
                        name=f"validation {formula} {index + 1}",
                        start=self.plan.start(reference, index),
                        stages=self.plan.stages(),
                        seed=self.plan.seed_of(formula, index),
                        output=self.plan.output(),
                        tags=[f"validation:{self.study_name}"],
                    )
                    jobs.append(maker.make(potential_id))
                    row = {"formula": formula, "potential_id": potential_id}
                    rows.append({**row, "trajectory_id": jobs[-1].output["trajectory_id"]})
        thinned = [each.thinned(self.plan.max_frames) for each in references.values()]
        together = compare_amorphous(uuid.uuid4().hex, self.study_name, self.plan, thinned, rows)
        return Flow([*jobs, together], output=together.output, name=f"validation {self.study_name}")


@job(name="compare")
def compare_amorphous(
    study_id: str, name: str, plan: ValidationPlan, references: list[ReferenceFrames], rows: list[dict[str, str]]
) -> dict[str, Any]:
    """Compare the quenched cells of each potential with the reference frames, store the study and write its page.

    `rows` hold `formula`, `potential_id` and `trajectory_id` of each melt-quench. Returns `study_id`, `table`, `page`.
    """
    results = job_results()
    names = {id: results.get(Potential, id).name for id in dict.fromkeys(row["potential_id"] for row in rows)}
    table: list[dict[str, Any]] = []
    curves: dict[str, np.ndarray] = {}
    described = {}
    for reference in references:
        frames = [[load_atoms(results, id) for id in run] for run in reference.runs]
        bonds = bonds_of_reference([atoms for run in frames for atoms in run], plan.bonds_A)
        there = local_structure(frames, bonds, plan.material.anion)
        curves |= there.named(reference.formula, REFERENCE)
        described[reference.formula] = _described(reference, there, bonds)
        for id, potential in names.items():
            of_both = {"formula": reference.formula, "potential_id": id}
            quenched = [row["trajectory_id"] for row in rows if of_both.items() <= row.items()]
            own_frames = [quenched_frames(results, plan, each) for each in quenched]
            own = local_structure(own_frames, bonds, plan.material.anion)
            curves |= own.named(reference.formula, id)
            counts = {"runs": len(quenched), "frames": own.n_frames, "errors_between_runs": own.between_runs}
            head = {"potential_id": id, "potential": potential, "composition": reference.formula, **counts}
            table += [{**head, **row} for row in structure_differences(there, own)]
    study = Study(
        id=study_id, name=name, kind="validation", plan=plan.model_dump(mode="json"), table=table,
        members=_members(list(names), references, rows), outcome={"references": described},
        files=[_stored(results, curves)],
    )  # fmt: skip
    return store_finished(results, study)


def _members(potential_ids: list[str], references: list[ReferenceFrames], rows: list[dict[str, str]]) -> list[Member]:
    frames = dict.fromkeys(id for each in references for run in each.runs for id in run)
    return [
        *(Member(collection="potentials", id=id, role="tested") for id in potential_ids),
        *(Member(collection="trajectories", id=row["trajectory_id"], role="run") for row in rows),
        *(Member(collection="structures", id=id, role=REFERENCE) for id in frames),
    ]


def quenched_frames(results: Results, plan: ValidationPlan, trajectory_id: str) -> list[Atoms]:
    """Return the frames of a melt-quench at the final temperature, after the quench has ended."""
    run = results.get(Trajectory, trajectory_id)
    first = steps_in(plan.melt_ps, TIMESTEP_FS, "melt_ps") + steps_in(plan.quench_ps, TIMESTEP_FS, "quench_ps")
    return [frame.atoms for frame in iter_trajectory(results, run) if (frame.step or 0) > first]


def _described(
    reference: ReferenceFrames, found: LocalStructure, bonds: dict[tuple[str, str], float]
) -> dict[str, Any]:
    return {
        "fingerprint": reference.fingerprint,
        "runs": len(reference.runs),
        "frames": found.n_frames,
        "errors_between_runs": found.between_runs,
        "n_atoms": reference.n_atoms,
        "density_g_cm3": reference.density_g_cm3,
        "temperature_K": reference.temperature_K,
        "bonds_A": {f"{a}-{b}": float(end) if np.isfinite(end) else None for (a, b), end in bonds.items()},
    }


def _stored(results: Results, curves: dict[str, np.ndarray]) -> ArtifactRef:
    stream = io.BytesIO()
    np.savez_compressed(stream, **curves)  # type: ignore[arg-type]
    return results.artifacts.put_bytes(stream.getvalue(), CURVES_FILE)
