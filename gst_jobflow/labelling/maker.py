"""The job that labels structures: one for all backends, several structures a job."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jobflow import CURRENT_JOB, Maker, job

from gst_jobflow.documents import Label, Structure, pack
from gst_jobflow.errors import DatabaseError
from gst_jobflow.labelling.backend import LabelBackend, RawLabel, checked

if TYPE_CHECKING:
    from gst_jobflow.store import Results

logger = logging.getLogger(__name__)


@dataclass
class LabelMaker(Maker):
    """Label structures one after the other; each label is stored as soon as it is there.

    A rerun after a kill computes only what is missing. A structure that fails is stored as a failed label and does
    not end the job; a missing program does.

    Attributes
    ----------
    backend
        What computes the labels; its method's fingerprint keys them.
    retry_failed
        Compute labels again that are stored as failed.
    """

    backend: LabelBackend
    name: str = "label"
    retry_failed: bool = False

    @job
    def make(self, structure_ids: list[str]) -> dict[str, Any]:
        """Label the structures.

        Returns
        -------
        dict
            `structure_ids`, `fingerprint`, and the counts `converged`, `failed`, `known` (labelled before).
        """
        from gst_jobflow.store.context import job_results

        results = job_results()
        fingerprint = self.backend.method().fingerprint()
        counts = {"converged": 0, "failed": 0, "known": 0}
        for number, structure in enumerate(results.get_many(Structure, structure_ids), 1):
            if _is_known(results, structure.id, fingerprint, self.retry_failed):
                counts["known"] += 1
                continue
            label = label_structure(self.backend, structure, results, Path.cwd() / f"label-{structure.id[:12]}")
            results.add(label)
            counts["converged" if label.state == "converged" else "failed"] += 1
            logger.info("label %d of %d: %s %s", number, len(structure_ids), label.state, label.reason)
        return {"structure_ids": structure_ids, "fingerprint": fingerprint, **counts}


def label_structure(backend: LabelBackend, structure: Structure, results: Results, directory: Path) -> Label:
    """Compute one label inside `directory` and make its document; a failed calculation is a failed label."""
    from gst_jobflow.store.atoms import atoms_of

    directory.mkdir(parents=True, exist_ok=True)
    raw = checked(backend, atoms_of(structure, results.artifacts), directory)
    files = [results.artifacts.put(path, name) for name, path in raw.files.items() if path.is_file()]
    return _document(backend, structure, raw, files)


def _document(backend: LabelBackend, structure: Structure, raw: RawLabel, files: list[Any]) -> Label:
    method = backend.method()
    state = "converged" if raw.converged else "quarantined" if raw.failure_class == "wrong_method" else "failed"
    values: dict[str, Any] = {}
    if raw.converged:
        assert raw.energy_eV is not None and raw.forces_eV_A is not None  # `checked` sees to it
        values = {
            "energy_eV": float(raw.energy_eV),
            "energy_per_atom_eV": float(raw.energy_eV) / structure.n_atoms,
            "forces": pack(raw.forces_eV_A),
            "max_force_eV_A": float(np.linalg.norm(raw.forces_eV_A, axis=1).max()),
            "stress_eV_A3": None if raw.stress_eV_A3 is None else [float(x) for x in raw.stress_eV_A3],
        }
    return Label(
        _id=Label.id_for(structure.id, method.fingerprint()),
        structure_id=structure.id,
        fingerprint=method.fingerprint(),
        method=method.model_dump(mode="json"),
        state=state,
        failure_class=raw.failure_class,
        reason=raw.reason,
        formula=structure.formula,
        config_type=structure.config_type,
        n_atoms=structure.n_atoms,
        wall_s=raw.wall_s,
        host=socket.gethostname(),
        job_uuid=getattr(CURRENT_JOB.job, "uuid", "") or "",
        files=files,
        **values,
    )


def _is_known(results: Results, structure_id: str, fingerprint: str, retry_failed: bool) -> bool:
    try:
        database = results.database
    except DatabaseError:  # it went away; what is computed is spooled
        return False
    found = database["labels"].find_one({"_id": Label.id_for(structure_id, fingerprint)}, {"state": 1})
    return found is not None and (found["state"] == "converged" or not retry_failed)
