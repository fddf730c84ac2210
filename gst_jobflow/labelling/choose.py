"""A label backend by its name, set up as the project says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gst_jobflow.errors import InputError, nearest
from gst_jobflow.strict import checked

if TYPE_CHECKING:
    from gst_jobflow.labelling.backend import LabelBackend
    from gst_jobflow.settings import Project

BACKENDS = ("vasp", "cp2k", "tblite", "ase")


def backend_of(name: str, project: Project, options: dict[str, Any] | None = None) -> LabelBackend:
    """Make the backend.

    Parameters
    ----------
    name
        One of `BACKENDS`, or of a calculator (`calculators.names`).
    project
        Says how programs are run.
    options
        Fields of the backend's settings over their defaults: what they change of the physics is another fingerprint.

    Raises
    ------
    InputError
        There is none of this name, or an option is unknown or does not fit.
    MissingProgramError
        Its program is not there.
    """
    from gst_jobflow.labelling.calculators import calculator_backend, names

    makers: dict[str, Any] = {"vasp": _vasp, "cp2k": _cp2k, "tblite": _tblite, "ase": _ase}
    if name in makers:
        return makers[name](project, options or {})
    if name in (known := names()):
        return calculator_backend(name, options or {}, name)
    raise InputError(f"no label backend '{name}'", nearest(name, (*BACKENDS, *known)))


def _ase(project: Project, options: dict[str, Any]) -> LabelBackend:
    from gst_jobflow.labelling.calculators import calculator_backend, names

    options = dict(options)
    calculator = options.pop("calculator", None)
    if not isinstance(calculator, str):
        raise InputError(
            "which calculator?", f"--option calculator=package.module:Name, or one of {', '.join(names())}"
        )
    return calculator_backend(calculator, options)


def _tblite(project: Project, options: dict[str, Any]) -> LabelBackend:
    import inspect

    from gst_jobflow.labelling.ase_calculator import AseBackend, tblite_backend

    known = {*inspect.signature(tblite_backend).parameters, "isolate", "wall_limit_s", "threads", "floor_A"} - {
        "fields"
    }
    if unknown := sorted(set(options) - known):
        raise InputError(f"tblite has no option '{unknown[0]}'", nearest(unknown[0], known))
    # made once more by the model, which checks types and bounds
    return checked(AseBackend, tblite_backend(**options).model_dump(), "tblite")


def _cp2k(project: Project, options: dict[str, Any]) -> LabelBackend:
    from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings

    wanted = project.settings.cp2k
    fields: dict[str, Any] = {"ranks": wanted.ranks}
    if wanted.command:
        fields["program"] = wanted.command
    if wanted.mpi_command:
        fields["launcher"] = wanted.mpi_command
    if wanted.data_dir:
        fields["data_dir"] = str(wanted.data_dir)
    found = Cp2kSettings.discover(**fields).model_dump()
    return Cp2kBackend(settings=checked(Cp2kSettings, {**found, **options}, "cp2k"))


def _vasp(project: Project, options: dict[str, Any]) -> LabelBackend:
    from gst_jobflow.labelling.vasp import VaspBackend, VaspSettings

    wanted = project.settings.vasp
    fields = {"command": wanted.command} if wanted.command else {}
    return VaspBackend(settings=checked(VaspSettings, {**fields, **options}, "vasp"))
