"""Typed inputs: unknown keys are refused, and jobflow keeps their types."""

from __future__ import annotations

import json

import pytest
from monty.json import MontyDecoder, MontyEncoder
from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, UnfitValueError, checked, flattened
from gst_jobflow.structures.hard_sphere import HardSphereSpec


class Inner(StrictModel):
    width: float = 1.0


class Outer(StrictModel):
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"file: inner: unknown key 'witdh' in Inner \(did you mean 'width'"):
        checked(Outer, {"inner": {"witdh": 2}}, "file")


def test_a_wrong_value_names_its_key() -> None:
    with pytest.raises(InputError, match=r"inner\.width"):
        checked(Outer, {"inner": {"width": "wide"}})


class Window(StrictModel):
    low: float | tuple[float, float] = Field(0.0, gt=0)
    high: float = 1.0

    @model_validator(mode="after")
    def _rises(self) -> Window:
        if isinstance(self.low, float) and self.low > self.high:
            raise UnfitValueError(f"low = {self.low} is above high = {self.high}", "swap them")
        return self


def test_a_fault_of_a_whole_model_has_its_own_remedy() -> None:
    with pytest.raises(InputError) as error:
        checked(Window, {"low": 3.0, "high": 2.0}, "file")
    assert (error.value.message, error.value.fix) == ("file: low = 3.0 is above high = 2.0", "swap them")
    with pytest.raises(InputError) as error:
        checked(HardSphereSpec, {"formula": "GeTe", "n_atoms": 8, "density_g_cm3": 5.5, "min_distance_A": (3.0, 2.0)})
    assert (error.value.message, error.value.fix) == (
        "min_distance_A 3-2 is not a range from low to high", "write 2-3",
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        checked(HardSphereSpec, {"formula": "GeTe", "n_atoms": 8})
    assert error.value.fix.startswith("give exactly one of density_g_cm3, ")


def test_a_key_with_several_types_is_named_as_it_is_written() -> None:
    with pytest.raises(InputError) as error:
        checked(HardSphereSpec, {"formula": "GeTe", "n_atoms": 8, "density_g_cm3": 0})
    assert str(error.value).startswith("density_g_cm3: Input should be greater than 0 (set density_g_cm3 to more than")


def test_types_survive_jobflows_storage() -> None:
    model = Outer(inner=Inner(width=2.5), sizes=(3,))
    text = json.dumps([model], cls=MontyEncoder)
    assert MontyDecoder().process_decoded(json.loads(text)) == [model]


def test_types_survive_in_the_fields_of_a_bound_maker() -> None:
    from jobflow.core.job import Job

    from gst_jobflow.flows.structures import HardSphereMaker
    from gst_jobflow.structures.hard_sphere import HardSphereSpec

    spec = HardSphereSpec(formula="GeTe", n_atoms=8, density_g_cm3=5.5)
    job = HardSphereMaker(specs=[spec]).make()
    again = MontyDecoder().process_decoded(json.loads(json.dumps(job.as_dict(), cls=MontyEncoder)))
    assert isinstance(again, Job)
    assert again.maker.specs == [spec]


def test_nested_values_are_flattened_by_path() -> None:
    values = {"a": 1, "b": {"c": [2], "d": {"e": None}}, "f": {}}
    assert dict(flattened(values)) == {"a": 1, "b.c": [2], "b.d.e": None, "f": {}}
