#!/usr/bin/env python3
"""Measure the shape of the package: size, import circles, imports that run up, twin names, longest function.

    scripts/house.py             print the table that docs/architecture.md shows
    scripts/house.py --places    also list the place of each fault
    scripts/house.py --check     exit with 1 if a limit is exceeded

The order of the floors is the layers contract of import-linter in pyproject.toml. Needs Python's standard library only.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "gst_jobflow"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# every program that runs in a process of its own has one
SHARED_NAMES = {"main"}


@dataclass
class Module:
    """A parsed module: its dotted name, its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def room(self) -> str:
        """First folder or file below the package."""
        return room_of(self.name)


def room_of(module: str) -> str:
    """Return the first part of a dotted name below the package; empty for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def read_modules() -> dict[str, Module]:
    """Return all modules of the package by dotted name."""
    modules = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text()
        modules[name] = Module(name, text, ast.parse(text))
    return modules


def own_imports(modules: dict[str, Module]) -> Iterator[tuple[Module, ast.ImportFrom | ast.Import, str, str]]:
    """Yield (importing module, statement, imported module, imported name or "") of all imports of own modules."""
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    yield (module, node, inner, "") if inner in modules else (module, node, node.module, alias.name)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE:
                        yield module, node, alias.name, ""


def circles(modules: dict[str, Module]) -> list[str]:
    """Return the circles of imports; each found circle is cut once so that the next one shows."""
    graph: dict[str, set[str]] = defaultdict(set)
    for module, _, target, _ in own_imports(modules):
        if target != module.name and not module.name.startswith(f"{target}."):
            graph[module.name].add(target)
    found = []
    while True:
        try:
            TopologicalSorter(graph).prepare()
            return found
        except CycleError as err:
            way = err.args[1]
            found.append(" <- ".join(way))
            graph[way[1]].discard(way[0])


def floors() -> dict[str, int]:
    """Return the floor of each room, 0 at the bottom, from the contract in pyproject.toml."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    return {room: floor for floor, layer in enumerate(reversed(layers)) for room in layer.split(" | ")}


def runs_up(modules: dict[str, Module]) -> list[str]:
    """Return the imports of a room from a floor above it."""
    floor = floors()
    return [
        f"{module.name} -> {target}"
        for module, _, target, _ in own_imports(modules)
        if floor.get(module.room, 99) < floor.get(room_of(target), -1)
    ]


def private_imports(modules: dict[str, Module]) -> list[str]:
    """Return the private names that a module takes from another one."""
    return [
        f"{module.name}: {target}.{name}"
        for module, _, target, name in own_imports(modules)
        if name.startswith("_") and not name.startswith("__")
    ]


def twins(modules: dict[str, Module]) -> list[str]:
    """Return public classes and functions that two modules define under one name."""
    places: dict[str, set[str]] = defaultdict(set)
    for module in modules.values():
        # a command is known by its module, and every step between versions has the same functions
        if module.room == "cli" or ".migrations." in module.name:
            continue
        for node in module.tree.body:
            if isinstance(node, FUNCTIONS | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].add(module.name)
    return [
        f"{name}: {', '.join(sorted(where))}"
        for name, where in sorted(places.items())
        if len(where) > 1 and name not in SHARED_NAMES
    ]


def functions(modules: dict[str, Module]) -> list[tuple[int, str]]:
    """Return (lines, name) of all functions, longest first."""
    found = [
        (node.end_lineno - node.lineno + 1, f"{module.name}.{node.name}")
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, FUNCTIONS) and node.end_lineno
    ]
    return sorted(found, reverse=True)


def hidden_imports(modules: dict[str, Module]) -> list[str]:
    """Return the imports of own modules inside functions."""
    found = []
    for module in modules.values():
        inside = {
            id(node)
            for function in ast.walk(module.tree)
            if isinstance(function, FUNCTIONS)
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE
        }
        found += [f"{module.name}: {len(inside)}"] * len(inside)
    return found


def rooms() -> list[str]:
    """Return the folders and files at the top of the package."""
    inside = (ROOT / PACKAGE).iterdir()
    return sorted(path.name for path in inside if path.name not in ("__init__.py", "__pycache__"))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", action="store_true", help="list the place of each fault")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is exceeded")
    options = parser.parse_args()
    modules = read_modules()
    longest = functions(modules)
    lists = {
        "circles of imports": (circles(modules), 0),
        "imports that run up a floor": (runs_up(modules), 0),
        "private names imported across modules": (private_imports(modules), 0),
        "public names with two meanings": (twins(modules), 0),
        "own imports inside functions": (hidden_imports(modules), 149),
        "functions of more than 50 lines": ([f"{name}: {lines}" for lines, name in longest if lines > 50], 0),
        "rooms at the top of the package": (rooms(), 20),
    }
    print("| measure | now | at most |\n|---|---|---|")
    print(f"| lines of `{PACKAGE}` | {sum(len(module.text.splitlines()) for module in modules.values()):,} | |")
    for measure, (places, limit) in lists.items():
        print(f"| {measure} | {len(places)} | {limit} |")
    print(f"| longest function, lines | {longest[0][0]} | 50 |")
    if options.places:
        for measure, (places, _) in lists.items():
            print(f"\n{measure}:", *sorted(set(places)), sep="\n  ")
    return int(options.check and any(len(places) > limit for places, limit in lists.values()))


if __name__ == "__main__":
    sys.exit(main())
