"""Every class of failure that the code can give has a row in docs/errors.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from gst_jobflow.base.disk import DISK_FULL
from gst_jobflow.dynamics.log import FailureClass
from gst_jobflow.labelling.backend import FAILURE_CLASSES
from gst_jobflow.launch.slurm import ENDED

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "errors.md").read_text()


def rows(heading: str) -> dict[str, list[str]]:
    """Class to the other cells of its row, of the table below a heading."""
    table = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return {name: cells[1:] for cells in lines for name in re.findall(r"`(\w+)`", cells[0])}


def named_in_code() -> Iterator[tuple[str, str]]:
    """(class, place) of each class of failure that stands in the code: in a RunError, a keyword, a dictionary."""
    for file in sorted((ROOT / "gst_jobflow").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            place = f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Call):
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                if isinstance(node.func, ast.Name) and node.func.id == "RunError":
                    given.setdefault("failure_class", node.args[2] if len(node.args) > 2 else ast.Constant("unknown"))
                yield from ((name, place) for name in constants(given.get("failure_class")))
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "failure_class":
                        yield from ((name, place) for name in constants(value))
            elif isinstance(node, ast.FunctionDef) and node.name == "failure_class":
                found = [item for item in ast.walk(node) if isinstance(item, ast.Return | ast.Dict)]
                values = [value for item in found for value in getattr(item, "values", [getattr(item, "value", None)])]
                yield from ((name, place) for value in values for name in constants(value))


def constants(node: ast.AST | None) -> Iterator[str]:
    parts = [node.body, node.orelse] if isinstance(node, ast.IfExp) else [node]
    yield from (part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str))


def test_every_class_of_a_failed_job_is_explained() -> None:
    page = rows("Classes of failed jobs")
    known = {*get_args(FailureClass), *(name for name, _ in ENDED.values()), DISK_FULL}
    named = [*((name, "a list") for name in known), *named_in_code()]
    assert len(named) > 40, "they are found"
    assert [item for item in named if item[0] and item[0] not in page] == []
    assert [name for name, cells in page.items() if len(cells) != 2 or not all(map(str.strip, cells))] == []


def test_every_explained_class_occurs_in_the_code() -> None:
    known = {*get_args(FailureClass), *FAILURE_CLASSES, *(name for name, _ in ENDED.values()), DISK_FULL}
    assert set(rows("Classes of failed jobs")) <= known | {name for name, _ in named_in_code()}


def test_every_class_of_a_failed_label_is_explained() -> None:
    assert set(rows("Failed labels")) == set(FAILURE_CLASSES)
