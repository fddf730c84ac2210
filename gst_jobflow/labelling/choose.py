"""Make a label backend by name, with the settings of the project."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from gst_jobflow.base.errors import InputError, MissingProgramError, check_known, nearest
from gst_jobflow.base.plugins import distribution, known, loaded, offered
from gst_jobflow.base.settings import Project
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend
from gst_jobflow.labelling.backend import BackendModel, Bounds, LabelBackend
from gst_jobflow.labelling.calculators import calculator_backend, names
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.vasp import VaspBackend
from gst_jobflow.structures.material import Material, material_of

BACKENDS = ("vasp", "cp2k", "tblite", "ase")
# fields of every backend beside its settings
_OF_ALL = ("floor_A", "bounds")
_MODELS: dict[str, type[VaspBackend] | type[Cp2kBackend]] = {"vasp": VaspBackend, "cp2k": Cp2kBackend}


def backend_of(
    name: str, project: Project, options: dict[str, Any] | None = None, material: Material | None = None
) -> LabelBackend:
    """Make a label backend.

    Parameters
    ----------
    name
        One of `known_backends`.
    project
        Its settings say how programs run.
    options
        Fields of the backend's settings, and `floor_A` and `bounds`, over those of the material; those that change the
        physics change the fingerprint.
    material
        Material of what is labelled; None: the project's.

    Raises
    ------
    InputError
        The name or an option is unknown, or a value does not fit.
    MissingProgramError
        The program is missing.
    """
    labels = (material or material_of(project)).labels
    _check_names(labels)
    own, given = labels.get(name, {}), options or {}
    if name == "vasp":
        return _vasp(project, own, given)
    if name == "cp2k":
        return _cp2k(project, own, given)
    if name in offered("label_backends"):
        return _of_plugin(name, project, merged(own, given))
    return _of_ase(name, merged(own, given))


def check_labels(material: Material) -> None:
    """Refuse label settings of a material that its backends do not have; those of plugins are not looked into.

    Raises
    ------
    InputError
        A backend or setting is unknown, or a value does not fit.
    """
    _check_names(material.labels)
    for name, options in material.labels.items():
        if name in _MODELS:
            _of_material(name, options)
        elif name not in offered("label_backends"):
            with suppress(MissingProgramError):  # which labels need, and the file does not
                _of_ase(name, options, f"material: labels.{name}")


def _check_names(labels: Mapping[str, Any]) -> None:
    for name in labels:
        check_known("material: labels: no label backend", name, known_backends())


def known_backends() -> list[str]:
    """Return the names of all label backends: ours, calculators, and those of plugins."""
    return known("label_backends", (*BACKENDS, *names()))


def _of_plugin(name: str, project: Project, options: dict[str, Any]) -> LabelBackend:
    known_backends()
    point = offered("label_backends")[name]
    backend = loaded("label_backends", point)(project, options)
    if not (isinstance(backend, BackendModel) and isinstance(backend, LabelBackend)):
        package = distribution(point)
        raise MissingProgramError(
            f"label backend '{name}' of {package} is no BackendModel with method() and compute()",
            f"pip install -U {package}",
        )
    return backend


def _of_ase(name: str, options: dict[str, Any], where: str = "") -> LabelBackend:
    """Return the backend of a calculator of ASE."""
    if name == "tblite":
        return _tblite(options, where or name)
    if name == "ase":
        return _ase(options, where or name)
    if name in names():
        return calculator_backend(name, options, where or name)
    raise InputError(f"no label backend '{name}'", nearest(name, known_backends()))


def _ase(options: dict[str, Any], where: str) -> LabelBackend:
    options = dict(options)
    calculator = options.pop("calculator", None)
    if not isinstance(calculator, str):
        raise InputError(
            "no calculator is chosen", f"--option calculator=package.module:Name, or one of {', '.join(names())}"
        )
    return calculator_backend(calculator, options, where)


def _tblite(options: dict[str, Any], where: str) -> LabelBackend:
    of_tblite = set(inspect.signature(tblite_backend).parameters) - {"fields"}
    known = {*of_tblite, *_OF_ALL, "isolate", "wall_limit_s", "threads"}
    if unknown := sorted(set(options) - known):
        raise InputError(f"{where} has no option '{unknown[0]}'", nearest(unknown[0], known))
    keywords = {key: value for key, value in options.items() if key in of_tblite}
    if "bounds" in options and keywords.get("parametrisation", "GFN1-xTB") != "GFN1-xTB":
        keywords["bounds"] = checked(Bounds, options["bounds"], where)
    fields = {key: value for key, value in options.items() if key not in of_tblite}
    # the model checks types and bounds
    return checked(AseBackend, merged(tblite_backend(**keywords).model_dump(), fields), where)


def _cp2k(project: Project, own: dict[str, Any], options: dict[str, Any]) -> LabelBackend:
    wanted = project.settings.cp2k
    fields: dict[str, Any] = {"ranks": wanted.ranks}
    if wanted.command:
        fields["program"] = wanted.command
    if wanted.mpi_command:
        fields["launcher"] = wanted.mpi_command
    if wanted.data_dir:
        fields["data_dir"] = str(wanted.data_dir)
    found = Cp2kSettings.discover(**fields).model_dump(exclude={"kinds"})
    return _with_options("cp2k", {**found, **own}, options)


def _vasp(project: Project, own: dict[str, Any], options: dict[str, Any]) -> LabelBackend:
    wanted = project.settings.vasp
    fields = {"command": wanted.command} if wanted.command else {}
    return _with_options("vasp", own, {**fields, **options})


def _parted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that all backends have, and those of settings."""
    of_all = {key: options[key] for key in _OF_ALL if key in options}
    return of_all, {key: value for key, value in options.items() if key not in of_all}


def _of_material(name: str, options: dict[str, Any]) -> BackendModel:
    of_all, settings = _parted(options)
    return checked(_MODELS[name], {**of_all, "settings": settings}, f"material: labels.{name}")


def _with_options(name: str, own: dict[str, Any], options: dict[str, Any]) -> LabelBackend:
    of_all, settings = _parted(options)
    values = merged(_of_material(name, own).model_dump(), {**of_all, "settings": settings})
    return checked(_MODELS[name], values, name)
