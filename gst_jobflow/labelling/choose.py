"""A label backend by its name, set up as the project says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gst_jobflow.errors import InputError, nearest

if TYPE_CHECKING:
    from gst_jobflow.labelling.backend import LabelBackend
    from gst_jobflow.settings import Project

BACKENDS = ("vasp", "cp2k", "tblite")


def backend_of(name: str, project: Project) -> LabelBackend:
    """Make the backend.

    Raises
    ------
    InputError
        There is none of this name.
    MissingProgramError
        Its program is not there.
    """
    makers: dict[str, Any] = {"vasp": _vasp, "cp2k": _cp2k, "tblite": _tblite}
    if name not in makers:
        raise InputError(f"no label backend '{name}'", nearest(name, BACKENDS))
    return makers[name](project)


def _tblite(project: Project) -> LabelBackend:
    from gst_jobflow.labelling.ase_calculator import tblite_backend

    return tblite_backend()


def _cp2k(project: Project) -> LabelBackend:
    from gst_jobflow.labelling.cp2k import Cp2kBackend, Cp2kSettings

    wanted = project.settings.cp2k
    fields: dict[str, Any] = {"ranks": wanted.ranks}
    if wanted.command:
        fields["program"] = wanted.command
    if wanted.mpi_command:
        fields["launcher"] = wanted.mpi_command
    if wanted.data_dir:
        fields["data_dir"] = str(wanted.data_dir)
    return Cp2kBackend(settings=Cp2kSettings.discover(**fields))


def _vasp(project: Project) -> LabelBackend:
    from gst_jobflow.labelling.vasp import VaspBackend, VaspSettings

    wanted = project.settings.vasp
    return VaspBackend(settings=VaspSettings(**({"command": wanted.command} if wanted.command else {})))
