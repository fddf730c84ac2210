"""Fields by dotted name, their ranges, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.fitting.config import FitConfig, RadialConfig
from gst_jobflow.hyperopt.plan import SearchPlan, preset
from gst_jobflow.hyperopt.space import Range, Space, config_of


def space(**fields: Any) -> Space:
    return Space(fields={name.replace("__", "."): content for name, content in fields.items()})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("loss.kappa", 0.7, lambda fit: fit.loss.kappa),
        ("embedding.fs_parameters[3]", 0.25, lambda fit: fit.embedding.fs_parameters[3]),
        ("functions.number_of_functions_per_element", 60, lambda fit: fit.functions.number_of_functions_per_element),
        ("functions.nradmax_by_orders[1]", 2, lambda fit: fit.functions.nradmax_by_orders[1]),
        ("radial.radbase", "ChebPow", lambda fit: fit.radial.radbase),
    ],
)
def test_a_point_sets_the_field_and_leaves_the_others(name: str, value: Any, read: Any) -> None:
    base = FitConfig.small()
    changed = config_of(base, {name: value})
    assert read(changed) == value
    back = config_of(changed, {name: read(config_of(base, {}))})
    assert back == config_of(base, {})


def test_exponents_that_the_fit_leaves_to_the_default_can_be_searched() -> None:
    base = FitConfig.small()
    assert base.embedding.has_default_exponents
    assert config_of(base, {"embedding.fs_parameters[5]": 0.4}).embedding.fs_parameters == (1, 1, 1, 0.5, 1, 0.4)


def test_the_number_of_densities_can_be_searched_and_brings_its_own_exponents() -> None:
    base = FitConfig.small()
    space(embedding__n_densities={"choices": [1, 2, 3]}).check(base)
    assert config_of(base, {"embedding.n_densities": 1}).embedding.fs_parameters == (1, 1)
    with pytest.raises(InputError, match=r"fs_parameters\[5\]"):
        config_of(base, {"embedding.fs_parameters[5]": 0.4, "embedding.n_densities": 2})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"low": 3, "high": 3}, "x: low = 3 must be smaller than high = 3"),
        ({"low": 3, "high": 1}, "x: low = 3 must be smaller than high = 1"),
        ({"low": 0, "high": 1, "scale": "log"}, "a logarithmic scale begins above 0"),
        ({"low": 0.5, "high": 2, "scale": "int"}, "whole numbers"),
        ({"choices": ["SBessel"]}, "two that differ"),
        ({"choices": [1, 1]}, "two that differ"),
        ({"choices": [1, 2], "low": 0}, "not both"),
        ({"high": 2}, "give low and high"),
        ({"low": 1, "hihg": 2}, "did you mean 'high'"),
        (None, "write 'low: …'"),
    ],
)
def test_an_invalid_range_is_refused_by_name(content: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Space(fields={"x": content})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss.kapa": {"low": 0.1, "high": 0.9}}, "did you mean 'loss.kappa'"),
        ({"embedding.fs_parameters[9]": {"low": 0.1, "high": 0.9}}, "did you mean 'embedding.fs_parameters"),
        ({"loss": {"low": 0.1, "high": 0.9}}, "no field 'loss'"),
        ({"loss.kappa": {"low": 0.1, "high": 1.5}}, "loss.kappa = 1.5"),
        ({"radial.radbase": {"choices": ["SBessel", "Bessel"]}}, "radial.radbase"),
        ({"elements[0]": {"choices": ["Ge", "Te"]}}, "they belong to the dataset"),
        ({"backend.batch_size": {"low": 1, "high": 9, "scale": "int"}}, "how a fit is computed"),
        ({"radial.dcut_A": {"low": 0.01, "high": 1}}, "no effect"),
        ({"radial.radparameters[0]": {"low": 1, "high": 9}}, "no effect with radial.radbase = SBessel"),
    ],
)
def test_unknown_fields_and_fields_without_effect_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        Space(fields=fields).check(FitConfig.small())


def test_the_radial_parameter_can_be_searched_where_a_basis_has_one() -> None:
    fields = {"radial.radparameters[0]": {"low": 1, "high": 9}}
    fit = FitConfig.small().model_copy(update={"radial": RadialConfig(radbase="ChebExpCos", rcut_A=6.0)})
    Space(fields=fields).check(fit)
    assert config_of(fit, {"radial.radparameters[0]": 9}).radial.radparameters[0] == 9
    both = {**fields, "radial.radbase": {"choices": ["SBessel", "ChebPow"]}}
    Space(fields=both).check(FitConfig.small())
    point = {"radial.radbase": "ChebPow", "radial.radparameters[0]": 9}
    assert config_of(FitConfig.small(), point).radial.radparameters[0] == 9


@pytest.mark.parametrize("scale", ["linear", "log", "int", "int-log"])
def test_value_and_position_in_the_range_convert_both_ways(scale: str) -> None:
    field = Range(field="x", low=1, high=100, scale=scale)
    assert field.at(0.0) == 1 and field.at(1.0) == 100
    for unit in (0.1, 0.5, 0.9):
        assert field.at(field.unit(field.at(unit))) == pytest.approx(field.at(unit))
    assert isinstance(field.at(0.3), int) == scale.startswith("int")


@pytest.mark.parametrize(("values", "name"), [({"at_once": 9}, "at_once"), ({"n_start": 9}, "n_start")])
def test_more_at_once_or_to_start_with_than_fits_is_refused(values: dict[str, int], name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name} = 9 is more than n_fits = 8"):
        SearchPlan(space={"fields": {"loss.kappa": {"low": 0.1, "high": 0.9}}}, n_fits=8, **{"n_start": 4, **values})


def test_the_preset_is_four_fields_and_32_fits_that_the_fit_reads() -> None:
    plan, fit = preset("xpot-gst", FitConfig.gst_ace_24())
    assert (len(plan.space.fields), plan.n_fits, plan.n_start, plan.seed, plan.start) == (4, 32, 8, 42, "hammersley")
    plan.space.check(fit)
    with pytest.raises(InputError, match="three densities"):
        preset("xpot-gst", FitConfig.linear())
    with pytest.raises(InputError, match="did you mean 'xpot-gst'"):
        preset("xpot-gts", FitConfig.gst_ace_24())
