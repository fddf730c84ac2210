"""Programmes of a device cell in YAML: cell, barrier, operations in order, limits. Some are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.base.energy import EV_PER_PJ
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.shipped import Shipped, yaml_mapping
from gst_jobflow.base.strict import StrictModel, checked
from gst_jobflow.devices.cell import DeviceSpec, MushroomSpec
from gst_jobflow.devices.heating import Geometry, geometry_of_spec, heated
from gst_jobflow.devices.operations import Intervals, Operation, OperationSpec, Reset, Set, cooling_ps, profile_of
from gst_jobflow.dynamics.deck import Limits, Output, RunOptions, Tuning
from gst_jobflow.dynamics.stages import TIMESTEP_FS, Stage
from gst_jobflow.structures.material import Material, default_material

PROGRAMMES = Shipped("programme", "gst_jobflow.devices")
HOOK_FRAMES = 10
"""Frames of an operation that are analysed beside the next one, unless the programme says how many."""
MOST_OPERATIONS = 200
"""Each is a firework, and a workflow gets slower with their number."""


class Until(StrictModel):
    """Condition that ends a REPEAT, checked after each round."""

    crystalline_above: float | None = Field(None, ge=0, le=1)
    crystalline_below: float | None = Field(None, ge=0, le=1)

    @model_validator(mode="after")
    def _is_one(self) -> Until:
        if (self.crystalline_above is None) == (self.crystalline_below is None):
            raise ValueError("until needs either crystalline_above or crystalline_below")
        return self

    def is_met(self, fraction: float) -> bool:
        """Whether a crystal-like fraction meets the condition."""
        if self.crystalline_above is not None:
            return fraction >= self.crystalline_above
        return fraction <= float(self.crystalline_below or 0.0)


class Repeat(StrictModel):
    """Repeat operations, with more energy each time, or until the cell has the wanted crystal-like fraction.

    An iterative RESET repeats a RESET with an `energy_factor` above 1 until little of the cell is crystal-like; a
    cumulative SET repeats a short SET. Both reach levels between the two states.
    """

    kind: Literal["REPEAT"] = "REPEAT"
    times: int = Field(ge=1, le=MOST_OPERATIONS)
    operations: list[OperationSpec] = Field(min_length=1)
    energy_factor: float = Field(1.0, gt=0, le=10, description="Energy of a RESET relative to the round before")
    until: Until | None = None


Step = Annotated[OperationSpec | Repeat, Field(discriminator="kind")]


class StopLimits(StrictModel):
    """Limits of a cycle.

    A temperature or gamma above its limit fails the operation, whose results could not be trusted. Once the budget is
    spent, the remaining operations are skipped; core hours also end a SET, READ or HOLD early. A RESET, and a HOLD that
    relaxes, always runs to its end.
    """

    max_temperature_K: float | None = Field(50_000.0, gt=0)
    max_gamma: float | None = Field(None, gt=0, description="Largest extrapolation grade; needs output.gamma_every")
    core_hours: float | None = Field(None, gt=0, description="Budget of the operations of one cycle")
    steps: int | None = Field(None, ge=1, description="Budget of the operations of one cycle")


class AnalysisHooks(StrictModel):
    """Analysis of an operation after its end."""

    times: int = Field(40, ge=2, le=1000, description="Frames that are analysed, evenly over the operation")
    crystalline: bool = Field(True, description="Crystal-like fraction over time and along z")


class CycleSettings(StrictModel):
    """Settings that all operations of a cycle share."""

    output: Output = Field(default_factory=Output)
    stop: StopLimits = Field(default_factory=StopLimits)
    tuning: Tuning = Field(default_factory=Tuning)
    analysis: AnalysisHooks = Field(default_factory=AnalysisHooks)
    analyse: AnalysisPlan | None = Field(
        None, description="Analyses of frames after each operation, in jobs beside the next one: [k-bar, grains]"
    )

    @field_validator("analyse", mode="before")
    @classmethod
    def _few_frames(cls, data: Any) -> Any:
        given = {"what": data} if isinstance(data, list | str) else data
        return {"frames": HOOK_FRAMES} | given if isinstance(given, dict) and "every" not in given else given

    @model_validator(mode="after")
    def _gamma_is_looked_at(self) -> CycleSettings:
        if self.stop.max_gamma and not self.output.gamma_every:
            raise ValueError("stop.max_gamma needs output.gamma_every: steps between two evaluations of gamma")
        return self

    def output_of(self, own: Intervals | None) -> Output:
        """Return the output of an operation: the programme's, with `own` intervals."""
        return self.output if own is None else self.output.model_copy(update=own.model_dump(exclude_none=True))

    def run_options(self, own: Intervals | None = None, **more: Any) -> RunOptions:
        """Return the options of a run; `own` are intervals of the operation, `more` further options."""
        output = self.output_of(own)
        return RunOptions(
            pair_style="extrapolation" if output.gamma_every else "recursive",
            output=output,
            limits=Limits(max_temperature_K=self.stop.max_temperature_K, halt_gamma=self.stop.max_gamma),
            tuning=self.tuning,
            **more,
        )


@dataclass(frozen=True)
class Planned:
    """One operation of a programme, with its repeats written out.

    Skip it if an earlier round of its REPEAT met `until`; `rounds_end` are the indices of the operations that ended
    them.
    """

    operation: Operation
    until: Until | None = None
    rounds_end: tuple[int, ...] = ()


class CyclePlan(CycleSettings):
    """A programme, as written in YAML."""

    name: str = Field("device cycle", min_length=1)
    description: str = ""
    cell: DeviceSpec | None = Field(None, description="None only if the cycle continues a stored state")
    barrier: list[Stage] = Field(default_factory=list, description="Melt-quench of the barrier")
    operations: list[Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _looks_at_what_it_waits_for(self) -> CyclePlan:
        early = any(isinstance(one.operation, Set) and one.operation.until_crystalline for one in self.planned())
        if (early or self.stop.core_hours) and not self.output.restart_every:
            raise ValueError("until_crystalline and core_hours need output.restart_every: runs end early only there")
        for one in self.planned():
            waits = isinstance(one.operation, Set) and one.operation.until_crystalline
            if waits and not self.output_of(one.operation.output).dump_every:
                raise ValueError("until_crystalline needs output.dump_every: frames to analyse")
            if one.until is not None and not self.analysis.crystalline:
                raise ValueError("until needs analysis.crystalline")
        return self

    @model_validator(mode="after")
    def _has_what_is_analysed(self) -> CyclePlan:
        what = self.analyse.what if self.analyse is not None else []
        if "gamma" in what and not any(self.output_of(one.operation.output).gamma_every for one in self.planned()):
            raise ValueError("analyse: gamma needs output.gamma_every")
        if "temperature" in what and not self.output.dump_velocities:
            raise ValueError("analyse: temperature needs output.dump_velocities")
        return self

    def without_gamma(self) -> CyclePlan:
        """Return the programme without extrapolation grades, and without what is analysed of them."""
        left = [name for name in self.analyse.what if name != "gamma"] if self.analyse is not None else []
        analyse = self.analyse.model_copy(update={"what": left}) if self.analyse is not None and left else None
        output = self.output.model_copy(update={"gamma_every": 0})
        return self.model_copy(update={"output": output, "analyse": analyse})

    @model_validator(mode="after")
    def _is_not_endless(self) -> CyclePlan:
        if (number := len(self.planned())) > MOST_OPERATIONS:
            raise ValueError(f"{number} operations with all repeats: a cycle may have {MOST_OPERATIONS}")
        return self

    @property
    def settings(self) -> CycleSettings:
        """The settings that its operations share."""
        return CycleSettings(**{name: getattr(self, name) for name in CycleSettings.model_fields})

    def check_output(self, geometry: Geometry | None = None) -> None:
        """Refuse intervals that contradict each other, or are longer than a part of an operation; raises InputError.

        `geometry` is that of the state that the programme continues; None: that of its own cell. A cooling at a rate is
        checked if one of the two is known.
        """
        for number, operation in enumerate((one.operation for one in self.planned()), 1):
            output, what = self.output_of(operation.output), f"operation {number} ({operation.kind})"
            if problem := output.problem():
                raise InputError(f"{what}: {problem}", "change output of the programme, or of the operation")
            for part, duration_ps in self._parts(operation, geometry):
                steps = round(duration_ps * 1e3 / TIMESTEP_FS)
                for key in ("series_every", "profile_every", "dump_every"):
                    if (every := getattr(output, key)) > steps:
                        raise InputError(
                            f"{what}: its {part} has {steps:,} steps, and {key} is {every:,}",
                            f"give the operation intervals of its own, e.g. output: {{{key}: {max(1, steps // 10)}}}",
                        )

    def _parts(self, operation: Operation, geometry: Geometry | None) -> Iterator[tuple[str, float]]:
        if not isinstance(operation, Reset):
            yield "whole", operation.duration_ps
            return
        yield "pulse", operation.pulse_ps
        if operation.cool_ps is None and geometry is None and self.cell is not None:
            geometry = geometry_of_spec(self.cell)
        if operation.cool_ps is not None:
            yield "cooling", operation.cool_ps
        elif geometry is not None:
            yield "cooling", cooling_ps(operation, geometry)

    def planned(self) -> list[Planned]:
        """Return the operations in order, repeats written out."""
        found: list[Planned] = []
        for step in self.operations:
            if not isinstance(step, Repeat):
                found.append(Planned(step))
                continue
            ends: list[int] = []
            for turn in range(step.times):
                for operation in step.operations:
                    more = _more_energy(operation, step.energy_factor**turn)
                    found.append(Planned(more, step.until, tuple(ends)))
                ends.append(len(found) - 1)
        return found


def _more_energy(operation: Operation, factor: float) -> Operation:
    if not isinstance(operation, Reset) or factor == 1.0:
        return operation
    key = "energy_pJ" if operation.energy_pJ is not None else "energy_eV_per_atom"
    return Reset(**{**operation.model_dump(exclude_none=True), key: getattr(operation, key) * factor})


def load_programme(name_or_file: str, material: Material | None = None) -> CyclePlan:
    """Read a programme: of the material, a shipped one (which are for Ge-Sb-Te), or a YAML file.

    `material` is that of cell and analyses that name none; None: Ge-Sb-Te. Raises InputError if there is no such
    programme, or it has an invalid key or value.
    """
    material = material or default_material()
    own = content = material.programmes.get(name_or_file)
    if content is None:
        content = yaml_mapping(PROGRAMMES.text(name_or_file, others=material.programmes), name_or_file)
    cell, analyse = content.get("cell"), content.get("analyse")
    if isinstance(cell, dict):
        cell = {"material": material, **cell}
    if analyse is not None:
        analyse = {"material": material, **(analyse if isinstance(analyse, dict) else {"what": analyse})}
    given = {"name": name_or_file, **content} if own else content
    given = given | {key: value for key, value in (("cell", cell), ("analyse", analyse)) if value is not None}
    try:
        return checked(CyclePlan, given, name_or_file)
    except InputError as err:
        if own is None and name_or_file in PROGRAMMES.names() and material != default_material():
            of_material = ", ".join(material.programmes) or f"add one under programmes to {material.name}"
            raise InputError(f"programme {err.message}", f"programmes of {material.name}: {of_material}") from err
        raise


def check_programmes(material: Material) -> None:
    """Refuse a material with a programme that cannot be read; raises InputError as `load_programme`."""
    for name in material.programmes:
        try:
            load_programme(name, material)
        except InputError as err:
            raise InputError(f"material: programmes.{err.message}", err.fix) from err


def scaled(plan: CyclePlan, factor: float) -> CyclePlan:
    """Return a programme for a cell of `factor` times the edges, with the energies per heated atom of the full one.

    Repeats are rounded to whole cells; barrier, electrode and domes shrink in proportion; durations stay. Raises
    InputError if there is no cell, or a formula, whose lengths cannot be told from its other numbers.
    """
    if plan.cell is None:
        raise InputError("a programme without a cell cannot be scaled", "scale the programme that makes the cell")
    if not 0 < factor <= 10:
        raise InputError(f"--scale {factor:g}", "give a factor of the edges between 0 and 10")
    needs_geometry = any(isinstance(one.operation, Reset) and one.operation.energy_pJ for one in plan.planned())
    geometry = geometry_of_spec(plan.cell) if needs_geometry else None

    def operation(one: Operation) -> Operation:
        if not isinstance(one, Reset):
            return one
        if one.formula is not None:
            raise InputError("a formula of x, y and z cannot be scaled", "write the scaled formula into the programme")
        values = one.model_dump(exclude_none=True)
        if one.energy_pJ is not None and geometry is not None:
            n_heated = heated(profile_of(one, geometry), geometry).n_atoms
            values["energy_eV_per_atom"] = values.pop("energy_pJ") * EV_PER_PJ / n_heated
        for key in ("diameter_A", "edge_A"):
            if values.get(key):
                values[key] *= factor
        return Reset(**values)

    steps: list[Any] = []
    for step in plan.operations:
        if isinstance(step, Repeat):
            steps.append(step.model_copy(update={"operations": [operation(one) for one in step.operations]}))
        else:
            steps.append(operation(step))
    return plan.model_copy(
        update={"name": f"{plan.name} × {factor:g}", "cell": _scaled_cell(plan.cell, factor), "operations": steps}
    )


def _scaled_cell(cell: DeviceSpec, factor: float) -> DeviceSpec:
    values = cell.model_dump(exclude_none=True)
    values["repeat"] = tuple(max(1, round(factor * number)) for number in cell.repeat)
    values["barrier_thickness_A"] *= factor
    if isinstance(cell, MushroomSpec):
        values["electrode"] = {key: value * factor for key, value in values["electrode"].items()}
    return type(cell)(**values)
