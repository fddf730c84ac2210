"""Refuse potentials that LAMMPS cannot run, and link the files that it reads; kinds of potentials of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from gst_jobflow.base.errors import InputError, MissingProgramError
from gst_jobflow.base.plugins import loaded, offered
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.store import Results

GROUP = "fit_engines"
OWN_KINDS = ("ace", "grace/fs")
"""Kinds of potentials of this package; others are the names of plugins' fit engines."""


class PluginKind(Protocol):
    """How potentials of a plugin's kind are run.

    `files` are those that its fit returned, by name, and `elements` are in the order of LAMMPS atom types.
    """

    def pair_lines(self, files: Mapping[str, Path], elements: Sequence[str]) -> list[str]:
        """Return LAMMPS lines, ``pair_style`` and ``pair_coeff``, for ``units metal`` and ``atom_style atomic``."""

    def calculator(self, files: Mapping[str, Path], elements: Sequence[str]) -> Any:
        """Return an ASE calculator that predicts what LAMMPS does."""


def plugin_kind(kind: str) -> PluginKind:
    """Return the plugin that a kind of potentials is of.

    Raises MissingProgramError if it is not installed or cannot be imported.
    """
    if kind not in offered(GROUP):
        raise MissingProgramError(
            f"no installed package knows potentials of the kind {kind}",
            "pip install the package that fitted it, wherever workers run; gst doctor lists plugins",
        )
    return loaded(GROUP, offered(GROUP)[kind])


def check_kind(potential: Potential) -> None:
    """Refuse a potential that LAMMPS cannot run here.

    Raises InputError for GRACE/FS, and MissingProgramError for a plugin that is not installed.
    """
    if potential.kind not in OWN_KINDS:
        plugin_kind(potential.kind)
    elif potential.kind != "ace":
        raise InputError(
            f"potential {potential.name} is {potential.kind}: LAMMPS here has no pair style for it",
            "take an ACE potential; gst evaluate compares the two",
        )


def check_knows_elements(potential: Potential, elements: Iterable[str], fix: str) -> None:
    """Refuse a potential that lacks one of `elements`; raises InputError with the remedy `fix`."""
    if missing := set(elements) - set(potential.elements):
        raise InputError(
            f"potential {potential.name} has no {', '.join(sorted(missing))}; it knows {', '.join(potential.elements)}",
            fix,
        )


def check_graded(potential: Potential, fix: str) -> None:
    """Refuse a potential without an active set; raises InputError with the remedy `fix`."""
    if potential.artifacts.yaml is None or potential.artifacts.asi is None:
        why = "has no active set" if potential.kind == "ace" else f"is {potential.kind}: only ACE has active sets"
        raise InputError(f"potential {potential.name} {why}, which extrapolation grades (gamma) need", fix)


def link_potential(results: Results, potential: Potential, directory: Path) -> PotentialFiles:
    """Link the files of a potential that LAMMPS reads into `directory`; raises as `check_kind`."""
    check_kind(potential)
    if potential.kind not in OWN_KINDS:
        files = link_other(results, potential, directory)
        lines = plugin_kind(potential.kind).pair_lines(files, potential.elements)
        return PotentialFiles(elements=potential.elements, lines=lines, other=[str(path) for path in files.values()])
    refs = potential.artifacts
    found = {"yace": refs.yace, "yaml": refs.yaml, "asi": refs.asi}
    paths = {name: str(results.artifacts.fetch(ref, directory)) for name, ref in found.items() if ref is not None}
    return PotentialFiles(elements=potential.elements, **paths)


def link_other(results: Results, potential: Potential, directory: Path) -> dict[str, Path]:
    """Link the files of a plugin's kind into `directory`; return their absolute paths by name."""
    folder = Path(directory).resolve()
    return {ref.name: results.artifacts.fetch(ref, folder) for ref in potential.artifacts.other}
