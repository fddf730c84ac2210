"""Formulas that users write."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.expression import evaluate_formula, parse, to_lammps
from gst_jobflow.dynamics.stages import Expression

POSITIONS, EDGES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([10.0, 20.0, 30.0])


@pytest.mark.parametrize(
    ("formula", "values"),
    [
        ("1", [1, 1]),
        ("x + 2*y - z/3", [4, 12]),
        ("-x^2", [-1, -16]),
        ("(-x)**2", [1, 16]),
        ("lx - x", [9, 6]),
        ("where(z < 4, x, 0)", [1, 0]),
        ("x > 2 or z <= 3", [1, 1]),
        ("x > 2 and z <= 3", [0, 0]),
        ("min(x, y) + max(x, y)", [3, 9]),
        ("log(exp(abs(-x)))", [1, 4]),
        ("cos(pi)", [-1, -1]),
    ],
)
def test_a_formula_means_what_it_says(formula, values):
    np.testing.assert_allclose(evaluate_formula(formula, POSITIONS, EDGES), values)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("__import__('os').system('ls')", "cannot stand|unknown function"),
        ("x.__class__", "cannot stand"),
        ("(lambda: 1)()", "cannot stand"),
        ("x if y else z", "cannot stand"),
        ("[x for x in y]", "cannot stand"),
        ("'text'", "cannot stand"),
        ("True", "cannot stand"),
        ("x < y < z", "cannot stand"),
        ("$(shell)", "not a formula"),
        ('1" units box\nshell ls', "not a formula"),
        ("v_gain", "unknown name 'v_gain'"),
        ("ly2", "did you mean 'ly'"),
        ("sqr(x)", "did you mean 'sqrt'"),
        ("exp(x, y)", "takes 1 values, not 2"),
        ("exp(x=1)", "cannot stand"),
        ("1e999", "not finite"),
        ("x+" * 300 + "x", "characters"),
        ("(" * 60 + "x" + ")" * 60 + "+" + "-" * 60 + "x", "too deeply"),
        ("", "not a formula"),
    ],
)
def test_an_invalid_formula_is_refused(formula, message):
    with pytest.raises(InputError, match=message):
        parse(formula)
    with pytest.raises(ValidationError):
        Expression(formula=formula)


def test_lammps_gets_a_rewritten_formula():
    text = to_lammps("exp(-((x - lx/2)^2 + z^2) / 4e2)")
    assert text == "exp(((-((((x-xlo)-(lx/2))^2)+((z-zlo)^2)))/400))+0.0*z"
    assert to_lammps("where(x<1,2,3)") == "ternary(((x-xlo)<1),2,3)+0.0*z"
