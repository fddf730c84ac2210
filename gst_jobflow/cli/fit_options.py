"""Build the configuration of a fit from preset or parent, file and options, and show it as YAML."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import yaml
from pydantic import BaseModel

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.plugins import known
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.cli.common import parse_yaml
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.potential_files import GROUP, OWN_KINDS, plugin_kind
from gst_jobflow.fitting.config import PRESETS, FitConfig, without_default_exponents
from gst_jobflow.fitting.engine import PluginConfig, PluginEngine
from gst_jobflow.fitting.grace import GraceConfig
from gst_jobflow.structures.material import MATERIALS, Material, shipped_material

_DEFAULT_PRESET = "small"
_WIDTH = 110


def fit_config(
    elements: tuple[str, ...],
    preset: str | None = None,
    parent: Potential | None = None,
    values: tuple[Mapping[str, Any], str] = ({}, ""),
    options: Mapping[str, Any] | None = None,
    solver: str | None = None,
) -> FitConfig:
    """Return the configuration of a fit: options replace `values`, which replace those of the preset or parent.

    Parameters
    ----------
    values
        Content of a file, and its name.
    options
        Values of `--option`, nested.

    Raises
    ------
    InputError
        A preset, field or value is unknown; the message names the nearest one.
    """
    if parent is not None and parent.kind != "ace":
        raise InputError(f"potential {parent.id} is {parent.kind}, not ACE", "start from an ACE potential")
    if preset is None and parent is not None and parent.config:
        base = checked(FitConfig, parent.config, f"settings of potential {parent.id}")
    elif (preset or _DEFAULT_PRESET) in PRESETS:
        base = PRESETS[preset or _DEFAULT_PRESET](elements)
    else:
        raise InputError(f"no preset '{preset}'", nearest(str(preset), PRESETS))
    content, file = values
    found = merged(without_default_exponents(merged(base.editable(), content)), options or {})
    if solver == "linear":
        found = merged(found, {"solver": "linear", "embedding": {"n_densities": 1, "fs_parameters": None}})
    elif solver is not None:
        found["solver"] = solver
    return checked(FitConfig, found, file or ("--option" if options else ""))


MODELS = ("ace", "grace")


def models() -> list[str]:
    """Return what `--model` takes: ours, and the fit engines of plugins."""
    return [name for name in known(GROUP, dict.fromkeys((*MODELS, *OWN_KINDS))) if name not in OWN_KINDS[1:]]


def other_config(
    model: str, elements: tuple[str, ...], values: tuple[Mapping[str, Any], str], options: Mapping[str, Any]
) -> GraceConfig | PluginConfig:
    """Return the configuration of a fit of GRACE/FS or of a plugin, like `fit_config`; the plugin may be missing."""
    kind: Any = GraceConfig if model == "grace" else cast(PluginEngine, plugin_kind(model)).config
    content, file = values
    found = merged(merged(kind(elements=elements).model_dump(), content), options)
    return checked(kind, found, file or ("--option" if options else ""))


def varied(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Turn `["loss.kappa=0.1,0.4"]` into `{"loss.kappa": [0.1, 0.4]}`; values are YAML, none is repeated."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        field, sign, values = text.partition("=")
        if field in found:
            raise InputError(f"--vary {field} is given twice", f"name all its values in one: --vary {field}=VALUES")
        try:
            found[field] = parse_yaml(f"[{values}]") if sign and field and values else []
        except yaml.YAMLError:
            found[field] = []
        if not found[field]:
            raise InputError(f"--vary {text}: not FIELD=VALUES", "for example --vary loss.kappa=0.1,0.4")
        if any(value in found[field][:place] for place, value in enumerate(found[field])):
            raise InputError(f"--vary {text}: a value is given twice", "name each value once")
    return found


def as_commented_yaml(config: BaseModel) -> str:
    """Return a configuration as YAML for `--config`, with a comment for each field."""
    return "\n".join(_lines(config, "")) + "\n"


def _lines(model: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, Material):
            yield from _material(value, indent)
            continue
        if isinstance(value, BaseModel):
            yield ""
            yield from _comment((type(value).__doc__ or "").strip().splitlines()[0], indent)
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
            continue
        if field.description:
            yield from _comment(field.description, indent)
        plain = model.model_dump(mode="json", include={name})[name]
        text = yaml.safe_dump(plain, default_flow_style=True, width=10_000).strip().removesuffix("\n...").strip()
        yield f"{indent}{name}: {text.splitlines()[0]}"


def _material(material: Material, indent: str) -> Iterator[str]:
    """Name a shipped material; write out another one."""
    if material.name in MATERIALS.names() and material == shipped_material(material.name):
        yield f"{indent}material: {material.name}"
        return
    yield f"{indent}material:"
    yield from _lines(material, indent + "  ")


def _comment(text: str, indent: str) -> Iterator[str]:
    yield from textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
