"""Import modules under their names in version 0.1.0.

Waiting fireworks and stored outputs name the module of each maker, function and setting. FireWorks and jobflow import
these names before any other code of this package, so `gst_jobflow` itself installs the finder.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

_CELL = ("barrier", "build", "crystal", "files", "plan", "replicate", "seam", "source", "spec")
MOVED = {
    "dynamics.device_restart": "devices.restart",
    "fitting.grace_maker": "fitting.maker",
    "flows.branch": "devices.branch",
    "flows.cycle": "devices.cycle",
    "flows.device_analysis": "devices.analysis",
    "flows.device_cell": "devices.cell_maker",
    "flows.heating": "devices.heating",
    "flows.look": "devices.look",
    "flows.operations": "devices.operations",
    "flows.programme": "devices.programme",
    "flows.stop": "devices.stop",
    "hyperopt.maker": "flows.search",
    "launch.resources": "base.resources",
    "structures.device": "devices.cell",
    **{f"structures.device.{name}": f"devices.cell.{name}" for name in _CELL},
}
"""Modules of version 0.1.0 with makers, functions or settings of jobs, and their present names."""


class _Finder(MetaPathFinder, Loader):
    """Load a moved module under both names as one module."""

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(name, self) if name.removeprefix("gst_jobflow.") in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__
        sys.modules[name] = import_module(f"gst_jobflow.{MOVED[name.removeprefix('gst_jobflow.')]}")


def import_moved_modules() -> None:
    """Let imports find moved modules."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        # first: the path of a moved package would find its modules a second time under their old names
        sys.meta_path.insert(0, _Finder())
