"""Share helpers among commands: project, tables, JSON, progress, errors as one line."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.base.errors import DataError, InputError

if TYPE_CHECKING:
    from gst_jobflow.base.resources import Resources
    from gst_jobflow.base.settings import Project
    from gst_jobflow.structures.material import Material

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Tag for the structures (repeatable).")]
IterationOption = Annotated[int, typer.Option("--iteration", min=0, help="Iteration of the training protocol.")]

_SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class GlobalOptions:
    """Options before a command: `gst --project --set`, and `gst submit --ask --to`."""

    project: Path | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    resources: dict[str | None, Resources] = field(default_factory=dict)
    workflow_file: Path | None = None


_choice: ContextVar[GlobalOptions] = ContextVar("choice", default=GlobalOptions())  # noqa: B039  # frozen


def set_global_options(**values: Any) -> None:
    """Record options given before the command."""
    _choice.set(replace(_choice.get(), **values))


def global_options() -> GlobalOptions:
    """Return the options given before the command."""
    return _choice.get()


def parse_yaml(text: str) -> Any:
    """Read YAML with 1e-6 and 1.5e6 as numbers, which are text in YAML 1.1; raises yaml.YAMLError."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return yaml.load(text, Loader)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping in a user's YAML file; raises InputError if it cannot be read or holds none."""
    import yaml

    try:
        content = parse_yaml(file.read_text())
    except OSError as err:
        raise InputError(f"{file} cannot be read: {err.strerror}", "name a YAML file") from err
    except UnicodeDecodeError as err:
        raise InputError(f"{file} is not text", "name a YAML file") from err
    except yaml.YAMLError as err:
        raise InputError(f"{file} is not YAML: {str(err).splitlines()[0]}", "correct the file") from err
    if not isinstance(content, dict):
        raise InputError(f"{file} is not a mapping", "write 'key: value' lines")
    return content


def parse_assignments(assignments: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Turn `["mongo.port=30000"]` into `{"mongo": {"port": 30000}}`; values are YAML."""
    import yaml

    nested: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign or not key:
            raise InputError(f"{option} {assignment}: not KEY=VALUE", f"for example {option} a.b=1")
        *parents, leaf = key.split(".")
        target = nested
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"{option} {assignment}: '{parent}' already has a value", "set one or the other")
        try:
            target[leaf] = parse_yaml(value)
        except yaml.YAMLError as err:
            raise InputError(
                f"{option} {assignment}: the value is not YAML", f"quote it, for example {option} 'a.b=[1, 2]'"
            ) from err
    return nested


def check_name(name: str) -> None:
    """Refuse an empty name."""
    if not name.strip():
        raise InputError("the name is empty", "give a name")


def parse_repeat(text: str) -> tuple[int, int, int]:
    """Return the three numbers of `2x2x2`."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise InputError(f"--repeat {text}: not three positive integers", "for example 2x2x2")
    return int(parts[0]), int(parts[1]), int(parts[2])


def parse_range(text: str, option: str, fix: str) -> tuple[float, float]:
    """Return the limits of `MIN:MAX`; without one, there is none on that side of positive numbers."""
    low, _, high = text.partition(":")
    try:
        limits = float(low or 0), float(high or "inf")
    except ValueError as err:
        raise InputError(f"{option} {text}: not numbers", fix) from err
    if not 0 <= limits[0] < limits[1]:
        raise InputError(f"{option} {text}: the range is empty", fix)
    return limits


def chosen_project() -> Path | None:
    """Return the project folder given by option, variable or working directory; None if there is none."""
    # pydantic would slow `gst --help`
    from gst_jobflow.base.settings import PROJECT_FILE, PROJECT_VARIABLE

    if (folder := global_options().project) is not None:
        return folder
    if os.environ.get(PROJECT_VARIABLE):
        return Path(os.environ[PROJECT_VARIABLE])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / PROJECT_FILE).is_file()), None)


def _export(overrides: dict[str, Any], prefix: str) -> None:
    """Pass settings of the command line to child processes as variables."""
    for key, value in overrides.items():
        name = f"{prefix}{key}".upper()
        if isinstance(value, dict):
            _export(value, f"{name}__")
        elif value is not None:
            os.environ[name] = str(value)


def open_project(folder: Path | None = None) -> Project:
    """Open the chosen project, and let child processes find it, too."""
    from gst_jobflow.base.settings import ENV_PREFIX, PROJECT_VARIABLE, find_project

    choice = global_options()
    project = find_project(folder or choice.project, choice.overrides)
    os.environ[PROJECT_VARIABLE] = str(project.root)
    _export(choice.overrides, ENV_PREFIX)
    return project


def chosen_material() -> Material:
    """Return the material of the chosen project; outside a project that of `gst --set material=…`, else Ge-Sb-Te."""
    from gst_jobflow.structures.material import default_material, load_material, material_of

    if chosen_project() is not None:
        return material_of(open_project())
    source = global_options().overrides.get("material")
    return default_material() if source is None else load_material(source, Path.cwd())


def print_json(data: Any) -> None:
    """Print `data` as JSON; times become ISO 8601 UTC."""
    sys.stdout.write(json.dumps(data, indent=2, default=json_default) + "\n")


def json_default(value: Any) -> Any:
    """Return times and paths as JSON text."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def print_table(rows: Iterable[Sequence[Any]], columns: Sequence[str], title: str | None = None) -> None:
    """Print rows as a table that fits the terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        *columns, title=title, title_justify="left", show_edge=False, header_style="bold", show_header=any(columns)
    )
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    # a pipe has no width
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False).print(table)


def say(text: str) -> None:
    """Print to stderr; stdout is for results."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def complain(message: str, fix: str = "") -> None:
    """Print an error in one line, and its remedy below."""
    say(f"error: {message}" + (f"\n  → {fix}" if fix else ""))


@dataclass
class _ProgressLines:
    """Progress in lines: one every few seconds, and the last state of whatever had a line before."""

    percent: bool
    said: float
    what: str = ""
    had_line: bool = False
    unsaid: str = ""

    def show(self, what: str, done: int, total: int) -> None:
        if what != self.what:
            self.end()
            self.what = what
        share = f", {100 * done / total:.0f} %" if total else ""
        self.unsaid = f"{what}{share}" if self.percent else f"{what}: {done} of {total}"
        if time.monotonic() - self.said > _SECONDS_BETWEEN_LINES:
            say(self.unsaid)
            self.said, self.had_line, self.unsaid = time.monotonic(), True, ""

    def end(self) -> None:
        if self.had_line and self.unsaid:
            say(self.unsaid)
        self.had_line, self.unsaid = False, ""


@contextmanager
def progress_line(*, percent: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress: a bar on a terminal, else a line every few seconds; call it with text, number done and total.

    With `percent`, lines tell the share done instead of the numbers; a total of 0 is unknown.
    """
    said = time.monotonic()
    if not sys.stderr.isatty():
        lines = _ProgressLines(percent, said)
        yield lines.show
        lines.end()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("")

        def show(what: str, done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said > 0.2:
                said = time.monotonic()
                bars.update(task, description=escape(what), completed=done, total=total or None)

        yield show


@contextmanager
def disk_in_words() -> Iterator[None]:
    """Turn a full or protected disk into one line with its remedy."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output has closed it
        raise
    except OSError as err:
        place = f"{err.filename}: " if err.filename else ""
        raise DataError(
            f"{place}{err.strerror or err}; existing files are unchanged",
            "free space or grant access there, then run this again",
        ) from err
