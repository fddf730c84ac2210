"""The shape of the package: imports run down, in no circle, and private names stay in their module."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "house.py"


@pytest.fixture(scope="module")
def house():
    loader = SourceFileLoader("house", str(SCRIPT))
    module = module_from_spec(spec_from_loader("house", loader))
    sys.modules["house"] = module
    loader.exec_module(module)
    return module


def test_imports_run_down_and_in_no_circle(house) -> None:
    modules = house.read_modules()
    assert len(modules) > 250
    assert set(house.floors()) == {path for path in house.rooms()}, "each room has its floor in pyproject.toml"
    assert house.circles(modules) == [] and house.runs_up(modules) == []


def test_private_names_stay_in_their_module(house) -> None:
    assert house.private_imports(house.read_modules()) == []


def test_faults_are_found(house) -> None:
    modules = {
        name: house.Module(name, text, house.ast.parse(text))
        for name, text in {
            "gst_jobflow.base.a": "from gst_jobflow.cli.b import _x",
            "gst_jobflow.cli.b": "def f():\n    from gst_jobflow.base import a",
            "gst_jobflow.base": "",
        }.items()
    }
    assert house.private_imports(modules) == ["gst_jobflow.base.a: gst_jobflow.cli.b._x"]
    assert house.runs_up(modules) == ["gst_jobflow.base.a -> gst_jobflow.cli.b"]
    assert len(house.circles(modules)) == 1 and len(house.hidden_imports(modules)) == 1
