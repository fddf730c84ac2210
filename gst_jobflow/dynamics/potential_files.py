"""Refuse potentials that LAMMPS cannot run, and link the files that it reads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gst_jobflow.base.errors import InputError
from gst_jobflow.dynamics.deck import PotentialFiles

if TYPE_CHECKING:
    from gst_jobflow.documents import Potential
    from gst_jobflow.store import Results


def check_kind(potential: Potential) -> None:
    """Refuse a potential of a kind that LAMMPS cannot run here.

    Raises
    ------
    InputError
        It is not an ACE potential.
    """
    if potential.kind != "ace":
        raise InputError(
            f"potential {potential.name} is {potential.kind}: LAMMPS here has no pair style for it",
            "take an ACE potential; gst evaluate compares the two",
        )


def check_knows_elements(potential: Potential, elements: Iterable[str], fix: str) -> None:
    """Refuse a potential that lacks an element.

    Raises
    ------
    InputError
        It does not know all of `elements`; `fix` is the way out.
    """
    if missing := set(elements) - set(potential.elements):
        raise InputError(
            f"potential {potential.name} has no {', '.join(sorted(missing))}; it knows {', '.join(potential.elements)}",
            fix,
        )


def link_potential(results: Results, potential: Potential, directory: Path) -> PotentialFiles:
    """Link the files of a potential that LAMMPS reads into `directory`.

    Raises
    ------
    InputError
        It is not an ACE potential.
    """
    check_kind(potential)
    refs = potential.artifacts
    found = {"yace": refs.yace, "yaml": refs.yaml, "asi": refs.asi}
    paths = {name: str(results.artifacts.fetch(ref, directory)) for name, ref in found.items() if ref is not None}
    return PotentialFiles(elements=potential.elements, **paths)
