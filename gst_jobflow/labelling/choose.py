"""Make a label backend by name, with the settings of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from gst_jobflow.base.errors import InputError, MissingProgramError, nearest
from gst_jobflow.base.plugins import distribution, known, loaded, offered
from gst_jobflow.base.strict import checked, merged
from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend
from gst_jobflow.labelling.backend import BackendModel, Bounds, LabelBackend
from gst_jobflow.labelling.calculators import calculator_backend, names
from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings
from gst_jobflow.labelling.vasp import VaspBackend
from gst_jobflow.structures.material import material_of

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project
    from gst_jobflow.structures.material import Material

BackendT = TypeVar("BackendT", bound="BackendModel")
BACKENDS = ("vasp", "cp2k", "tblite", "ase")
# fields of every backend beside its settings
_OF_ALL = ("floor_A", "bounds")


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
    makers: dict[str, Any] = {"vasp": _vasp, "cp2k": _cp2k, "tblite": _tblite, "ase": _ase}
    own, given = (material or material_of(project)).labels.get(name, {}), options or {}
    if name in ("vasp", "cp2k"):
        return makers[name](project, own, given)
    options = merged(own, given)
    if name in makers:
        return makers[name](project, options)
    if name in names():
        return calculator_backend(name, options, name)
    if name in offered("label_backends"):
        return _of_plugin(name, project, options)
    raise InputError(f"no label backend '{name}'", nearest(name, known_backends()))


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


def _ase(project: Project, options: dict[str, Any]) -> LabelBackend:
    options = dict(options)
    calculator = options.pop("calculator", None)
    if not isinstance(calculator, str):
        raise InputError(
            "no calculator is chosen", f"--option calculator=package.module:Name, or one of {', '.join(names())}"
        )
    return calculator_backend(calculator, options)


def _tblite(project: Project, options: dict[str, Any]) -> LabelBackend:
    import inspect

    of_tblite = set(inspect.signature(tblite_backend).parameters) - {"fields"}
    known = {*of_tblite, *_OF_ALL, "isolate", "wall_limit_s", "threads"}
    if unknown := sorted(set(options) - known):
        raise InputError(f"tblite has no option '{unknown[0]}'", nearest(unknown[0], known))
    keywords = {key: value for key, value in options.items() if key in of_tblite}
    if "bounds" in options and keywords.get("parametrisation", "GFN1-xTB") != "GFN1-xTB":
        keywords["bounds"] = checked(Bounds, options["bounds"], "tblite")
    fields = {key: value for key, value in options.items() if key not in of_tblite}
    # the model checks types and bounds
    return checked(AseBackend, merged(tblite_backend(**keywords).model_dump(), fields), "tblite")


def _cp2k(project: Project, own: dict[str, Any], options: dict[str, Any]) -> LabelBackend:
    wanted = project.settings.cp2k
    fields: dict[str, Any] = {"ranks": wanted.ranks}
    if wanted.command:
        fields["program"] = wanted.command
    if wanted.mpi_command:
        fields["launcher"] = wanted.mpi_command
    if wanted.data_dir:
        fields["data_dir"] = str(wanted.data_dir)
    of_all, settings = _parted(own)
    found = Cp2kSettings.discover(**fields).model_dump(exclude={"kinds"})
    return _with_options(Cp2kBackend, {**of_all, "settings": {**found, **settings}}, options, "cp2k")


def _vasp(project: Project, own: dict[str, Any], options: dict[str, Any]) -> LabelBackend:
    wanted = project.settings.vasp
    fields = {"command": wanted.command} if wanted.command else {}
    of_all, settings = _parted(own)
    return _with_options(VaspBackend, {**of_all, "settings": settings}, {**fields, **options}, "vasp")


def _parted(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that all backends have, and those of settings."""
    of_all = {key: options[key] for key in _OF_ALL if key in options}
    return of_all, {key: value for key, value in options.items() if key not in of_all}


def _with_options(model: type[BackendT], own: dict[str, Any], options: dict[str, Any], where: str) -> BackendT:
    backend = checked(model, own, f"material: labels.{where}")
    of_all, settings = _parted(options)
    return checked(model, merged(backend.model_dump(), {**of_all, "settings": settings}), where)
