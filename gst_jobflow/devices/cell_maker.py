"""Make a device cell: melt and quench its barrier with a potential, join it with the crystal, store it or write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Flow, Maker, job

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.cell import DeviceCell, DeviceSpec, barrier_spec, build_device, check_cutoff, device_counts
from gst_jobflow.devices.cell.files import description, write_device
from gst_jobflow.documents import Potential, Structure
from gst_jobflow.dynamics.maker import MeltQuenchMaker
from gst_jobflow.dynamics.potential_files import check_kind, check_knows_elements
from gst_jobflow.dynamics.stages import Anneal, Hold, Quench, Relax, Stage
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import load_atoms, structure_document
from gst_jobflow.store.context import job_results

STORED_ATOMS = 10_000_000
"""Larger cells are files only."""


def melt_quench_stages(melt_K: float = 2000.0, melt_ps: float = 10.0, quench_ps: float = 50.0) -> list[Stage]:
    """Return the stages of a barrier: relax the random start, melt, quench to 300 K, hold.

    The reference paper does not say how its slab was made. The times are our choice; the rate is about 3e13 K/s.
    """
    return [
        Relax(),
        Anneal(temperature_K=melt_K, duration_ps=melt_ps),
        Quench(start_K=melt_K, end_K=300.0, duration_ps=quench_ps),
        Hold(temperature_K=300.0, duration_ps=2.0),
    ]


@dataclass
class DeviceCellMaker(Maker):
    """Make a device cell whose barrier the potential melts and quenches.

    Attributes
    ----------
    barrier_stages
        Melt-quench of the barrier, or of the block that it is tiled from.
    output
        LAMMPS data file to write beside the stored structure; an absolute path.
    seed
        Of velocities and thermostat of the melt-quench.

    Examples
    --------
    >>> cell = CrossPointSpec(repeat=(8, 5, 2), barrier_thickness_A=15)
    >>> flow = DeviceCellMaker(cell=cell).make(potential_id)
    """

    name: str = "device cell"
    cell: DeviceSpec | None = None
    barrier_stages: list[Stage] = field(default_factory=melt_quench_stages)
    output: str | None = None
    seed: int = 1
    tags: list[str] = field(default_factory=list)

    def make(self, potential_id: str) -> Flow:
        """Return the flow of melt-quench and cell; its output has `structure_id`, `groups` and `report`."""
        if self.cell is None:
            raise InputError("no cell given", "give DeviceCellMaker(cell=MushroomSpec.paper())")
        barrier = MeltQuenchMaker(
            name="barrier melt-quench",
            start=barrier_spec(self.cell),
            stages=self.barrier_stages,
            seed=self.seed,
            tags=self.tags,
        ).make(potential_id)
        cell = make_cell(self.cell, potential_id, barrier.output["structure_id"], self.output, self.tags)
        return Flow([barrier, cell], output=cell.output, name=f"{self.cell.kind} cell")


@job(name="device cell")
def make_cell(
    spec: DeviceSpec,
    potential_id: str,
    barrier_structure_id: str,
    output: str | None,
    tags: list[str],
) -> dict[str, Any]:
    """Join crystal and barrier; store the cell and write its files."""
    results = job_results()
    potential = results.get(Potential, potential_id)
    check_potential(spec, potential)
    barrier, source = load_atoms(results, barrier_structure_id), f"structure {barrier_structure_id}"
    made: dict[str, Any] = {"structure_id": None, "output": output, "groups": None, "report": None}
    if output is not None:
        files = write_device(spec, barrier, Path(output), potential.elements, source)
        made.update(groups=files.groups, report=files.report)
    if made["report"] is None or made["report"]["n_atoms"] <= STORED_ATOMS:
        device = build_device(spec, barrier)
        structure = store_cell(results, spec, device, [barrier_structure_id], source, tags)
        made.update(structure_id=structure.id, groups=device.groups, report=device.report)
    return made


def check_potential(spec: DeviceSpec, potential: Potential) -> None:
    """Refuse a potential that LAMMPS cannot run, that lacks an element, or whose cutoff is too long for the cell.

    Raises as `check_kind`, `check_knows_elements` and `check_cutoff`.
    """
    check_kind(potential)
    check_knows_elements(potential, device_counts(spec), "choose a potential with all elements of the cell")
    check_cutoff(spec, potential.cutoff_A)


def check_fits_database(spec: DeviceSpec) -> None:
    """Refuse a cell that is too large for the database; raises InputError."""
    n_atoms = sum(device_counts(spec).values())
    if n_atoms > STORED_ATOMS:
        raise InputError(f"{n_atoms:,} atoms are too many for the database", "write files: --output FILE")


def store_cell(
    results: Results,
    spec: DeviceSpec,
    device: DeviceCell,
    parents: list[str],
    barrier: str,
    tags: list[str] | None = None,
) -> Structure:
    """Store a cell, with its groups, layers and report as its source."""
    structure = structure_document(
        device.atoms,
        "device",
        source={"builder": spec.kind, **description(spec, barrier, device.groups, device.layers, device.report)},
        parents=parents,
        tags=tags,
        artifacts=results.artifacts,
    )
    results.add(structure)
    return structure
