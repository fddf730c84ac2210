"""Expected cost of labels and of molecular dynamics from first principles, by what such labels and steps took."""

from __future__ import annotations

from dataclasses import dataclass

from gst_jobflow.base.words import counted
from gst_jobflow.documents import Structure
from gst_jobflow.labelling.backend import LabelBackend
from gst_jobflow.labelling.cost import cost_model
from gst_jobflow.labelling.cp2k import Cp2kBackend
from gst_jobflow.labelling.cp2k_md import Dynamics, md_method
from gst_jobflow.store.work import Allotment, ExpectedCost


@dataclass(frozen=True)
class LabelWork:
    """Labels of structures by one backend; `planned` is their number as long as `structure_ids` are unknown."""

    backend: LabelBackend
    structure_ids: list[str]
    planned: int = 0

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the expected cost, as many labels at a time as fit on the cores."""
        number, database = len(self.structure_ids) or self.planned, allotment.results.database
        fingerprint = self.backend.method().fingerprint()
        model = allotment.once(("labels", fingerprint), lambda: cost_model(database, self.backend))
        work = counted(number, "label")
        assumed = allotment.assumed.core_hours_per_label
        if model.one_atom_s is None and number and assumed:
            hours = number * assumed
            return allotment.expected(work, allotment.assumed.basis, hours, hours / allotment.cores)
        if model.one_atom_s is None or not number:
            return allotment.expected(work, "no label of this method has been computed here: label a few first")
        cells = database["structures"].find({"_id": {"$in": self.structure_ids}}, {"n_atoms": 1})
        sizes = [cell["n_atoms"] for cell in cells]
        # structures that an earlier job will make count as large as the measured ones
        total_s = float(model.costs([*sizes, *[model.mean_atoms] * (number - len(sizes))]).sum())
        needed = min(getattr(self.backend, "cores", None) or allotment.cores, allotment.cores)
        wall_h = total_s / max(1, allotment.cores // needed) / 3600
        basis = f"{model.n_measured} labels of this method, of {model.mean_atoms:.0f} atoms on average"
        return allotment.expected(work, basis, total_s * needed / 3600, wall_h)


@dataclass(frozen=True)
class AimdWork:
    """Steps of dynamics from first principles; `n_atoms` None: those of the stored structure."""

    backend: Cp2kBackend
    scheme: Dynamics
    steps: int
    n_atoms: int | None
    structure_id: str | None = None

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the expected cost by measured steps; a single point starts without orbitals and is no measure."""
        n_atoms = self.n_atoms or allotment.results.get(Structure, str(self.structure_id)).n_atoms
        work = f"{n_atoms:,} atoms × {self.steps:,} steps"
        method = md_method(self.backend, self.scheme)
        model = cost_model(allotment.results.database, self.backend, method, {"config_type": "aimd"})
        if model.one_atom_s is None:
            return allotment.expected(work, "no dynamics of this method has been run here: run a short one first")
        wall_h = self.steps * float(model.costs([n_atoms])[0]) / 3600
        basis = f"{model.n_measured} steps of this method, of {model.mean_atoms:.0f} atoms on average"
        needed = min(self.backend.cores or allotment.cores, allotment.cores)
        return allotment.expected(work, basis, wall_h * needed, wall_h)
