"""Options shared by commands of `gst submit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from gst_jobflow.base.strict import StrictModel, checked
from gst_jobflow.cli.common import chosen_material, read_yaml

PlanT = TypeVar("PlanT", bound=StrictModel)
FitOption = Annotated[
    list[str] | None, typer.Option("--option", help="A field of the fit, e.g. loss.kappa=0.3 (repeatable).")
]
PlanFile = Annotated[Path | None, typer.Option("--config", help="YAML file of the plan; --show-config prints one.")]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file with fields of the fit that replace the preset's.")]


def read_plan(model: type[PlanT], file: Path | None, compositions: str | None, **given: Any) -> PlanT:
    """Return the plan in the file of `--config`, with options that are not None over its fields."""
    values, where = read_config(file)
    given.setdefault("material", values.pop("material", None) or chosen_material())
    if compositions:
        given["compositions"] = [each.strip() for each in compositions.split(",")]
    return checked(model, values | {key: value for key, value in given.items() if value is not None}, where)


def read_config(file: Path | None) -> tuple[dict[str, Any], str]:
    """Return the fields in the file of `--config` and its name."""
    return ({}, "") if file is None else (read_yaml(file), str(file))
