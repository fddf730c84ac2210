"""Typed inputs: unknown keys are refused, and jobflow keeps their types."""

from __future__ import annotations

import json

import pytest
from monty.json import MontyDecoder, MontyEncoder

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import StrictModel, checked


class Inner(StrictModel):
    width: float = 1.0


class Outer(StrictModel):
    inner: Inner = Inner()
    sizes: tuple[int, ...] = (1, 2)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"file: inner: unknown key 'witdh' in Inner: did you mean 'width'"):
        checked(Outer, {"inner": {"witdh": 2}}, "file")


def test_a_wrong_value_names_its_key() -> None:
    with pytest.raises(InputError, match=r"inner\.width"):
        checked(Outer, {"inner": {"width": "wide"}})


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
