"""Molecular dynamics that a device cycle needs, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gst_jobflow.base.errors import InputError
from gst_jobflow.devices.branch import check_state, geometry_of_state
from gst_jobflow.devices.cell import DeviceSpec, barrier_spec, device_counts
from gst_jobflow.devices.cell_maker import melt_quench_stages
from gst_jobflow.devices.heating import Geometry, geometry_of_spec
from gst_jobflow.devices.operations import Operation, on_cell
from gst_jobflow.devices.programme import CyclePlan
from gst_jobflow.dynamics.stages import Protocol
from gst_jobflow.dynamics.work import RunWork
from gst_jobflow.store import Results
from gst_jobflow.store.work import Allotment, ExpectedCost


@dataclass(frozen=True)
class CellToRun:
    """Cell that operations run on, planned or stored."""

    geometry: Geometry
    n_atoms: int
    potential_id: str


def cell_to_make(spec: DeviceSpec, potential_id: str = "") -> CellToRun:
    """Return a cell that is only planned."""
    return CellToRun(geometry_of_spec(spec), sum(device_counts(spec).values()), potential_id)


def cell_of_state(results: Results, trajectory_id: str) -> CellToRun:
    """Return the cell at the end of a stored run, with the potential of that run."""
    run, cycle = check_state(results, trajectory_id, None)
    return CellToRun(geometry_of_state(results, run, cycle), run.n_atoms, str(run.potential_id))


@dataclass(frozen=True)
class OperationWork:
    """One operation of a cycle; `find_cell` is called only when the cost is wanted."""

    plan: CyclePlan
    operation: Operation
    find_cell: Callable[[Results], CellToRun]

    def on(self, cell: CellToRun) -> RunWork:
        """Return the run of this operation on a cell."""
        protocol = Protocol(name=self.operation.kind, stages=on_cell(self.operation, cell.geometry).stages)
        return RunWork(protocol, cell.n_atoms, self.plan.output_of(self.operation.output), cell.potential_id)

    def cost(self, allotment: Allotment) -> ExpectedCost:
        """Return the expected cost of the run."""
        cell = allotment.once(self.find_cell, lambda: self.find_cell(allotment.results))
        return self.on(cell).cost(allotment)


def runs_of_plan(plan: CyclePlan) -> list[RunWork]:
    """Return the runs of a programme with a cell: the melt-quench of the barrier, then each operation.

    Raises InputError if the programme has no cell, or an operation does not fit it.
    """
    if plan.cell is None:
        raise InputError(f"programme '{plan.name}' has no cell", "add its cell")
    cell = cell_to_make(plan.cell)
    barrier = Protocol(name="melt_quench", stages=plan.barrier or melt_quench_stages())
    operations = [OperationWork(plan, one.operation, lambda _: cell).on(cell) for one in plan.planned()]
    return [RunWork(barrier, barrier_spec(plan.cell).n_atoms, plan.output), *operations]
