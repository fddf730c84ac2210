"""Import a published potential: check that its files belong together, store them, build its document."""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import Potential
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.single_point import single_points
from gst_jobflow.fitting.parse import PotentialSummary, count_functions

if TYPE_CHECKING:
    from ase import Atoms

    from gst_jobflow.dynamics.engine import LammpsEngine
    from gst_jobflow.store import Results

_ENDINGS = ("yace", "yaml", "asi")
_NOT_ONE = "give a .yace file, as pace_yaml2yace writes it"
_CUTOFF_TOLERANCE_A = 1e-6
# both styles evaluate the same functions in C++, one on splines of radial functions that the other made
_AGREE_EV_A = 1e-4


@dataclass(frozen=True)
class PotentialImport:
    """Files of a published potential, and its name, source and tags."""

    yace: Path
    name: str
    yaml: Path | None = None
    asi: Path | None = None
    source: str = ""
    tags: tuple[str, ...] = ()


def import_potential(
    results: Results, given: PotentialImport, engine: LammpsEngine | None = None
) -> tuple[Potential, bool]:
    """Check and store the files of a potential; return its document, and whether it is new.

    Parameters
    ----------
    engine
        Takes one step with each pair style that the files are for; None: no step is taken.

    Raises
    ------
    InputError
        A file cannot be read, is of another kind, or belongs to another potential.
    RunError
        LAMMPS does not take them.
    """
    summary = check_potential_files(given)
    if engine is not None:
        try_in_lammps(engine, given, summary.elements)
    stored = {
        ending: results.artifacts.put(path, f"potential.{ending}")
        for ending in _ENDINGS
        if (path := getattr(given, ending)) is not None
    }
    potential = Potential.of(
        ("imported potential", sorted((ending, ref.sha256) for ending, ref in stored.items())),
        summary,
        stored,
        name=given.name,
        n_parameters=summary.n_parameters if given.yaml is not None else None,
        versions=summary.versions,
        source=given.source,
        tags=list(given.tags),
    )
    new = results.add(potential)
    return (potential if new else results.get(Potential, potential.id)), new


def try_in_lammps(engine: LammpsEngine, given: PotentialImport, elements: tuple[str, ...]) -> None:
    """Take one step with each pair style that the files are for; two styles must agree.

    Raises
    ------
    RunError
        LAMMPS does not take the files.
    InputError
        `.yace` and `.yaml` give different energies.
    """
    paths = {ending: str(path.resolve()) for ending in _ENDINGS if (path := getattr(given, ending)) is not None}
    engine = engine.with_ranks(1)
    if "asi" not in paths:
        engine.smoke_test(paths["yace"])
        return
    files = PotentialFiles(elements=list(elements), **paths)
    with tempfile.TemporaryDirectory(prefix="gst_import_") as folder:
        one, other = (
            single_points(engine, files, [_probe(elements)], Path(folder) / style, style)[0]
            for style in ("recursive", "extrapolation")
        )
    if np.abs(one.forces_eV_A - other.forces_eV_A).max() > _AGREE_EV_A:
        raise _of_two(given.yace, given.yaml or given.yace, "they give different forces")


def _probe(elements: tuple[str, ...]) -> Atoms:
    """A rattled simple-cubic cell with each element in it."""
    from ase.build import bulk

    atoms = bulk(elements[0], "sc", a=3.0) * (2, 2, max(2, len(elements) // 4 + 1))
    atoms.symbols = [elements[place % len(elements)] for place in range(len(atoms))]
    atoms.rattle(0.1, seed=1)
    return atoms


def check_potential_files(given: PotentialImport) -> PotentialSummary:
    """Return what the potential consists of: by its `.yaml` if there is one, else by its `.yace`.

    Raises
    ------
    InputError
        A file cannot be read, is of another kind, or belongs to another potential.
    """
    if given.asi is not None and given.yaml is None:
        raise InputError(f"{given.asi.name} is of no use without its .yaml", "give --yaml as well, or leave --asi out")
    summary = read_yace(given.yace)
    if given.yaml is None:
        return summary
    try:
        theirs = count_functions(given.yaml)
    except DataError as err:
        raise InputError(err.message, "give the .yaml that a fit of pacemaker wrote") from err
    for what, one, other in (
        ("elements", summary.elements, theirs.elements),
        ("n_densities", summary.n_densities, theirs.n_densities),
    ):
        if one != other:
            raise _of_two(given.yace, given.yaml, f"{what} {one} and {other}")
    if abs(summary.cutoff_A - theirs.cutoff_A) > _CUTOFF_TOLERANCE_A:
        raise _of_two(given.yace, given.yaml, f"cutoffs of {summary.cutoff_A:g} and {theirs.cutoff_A:g} Å")
    if given.asi is not None:
        _check_active_set(given.asi, theirs)
    return theirs


def _of_two(one: Path, other: Path, what: str) -> InputError:
    return InputError(f"{one.name} and {other.name} are of two potentials: {what}", "give the files of one fit")


def _check_active_set(asi: Path, summary: PotentialSummary) -> None:
    """Check that it holds a square matrix for each element, as wide as the element has functions."""
    try:
        with np.load(asi, allow_pickle=False) as arrays:
            shapes = {name: arrays[name].shape for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as err:
        raise InputError(f"{asi} is no active set: {err}", "give the .asi that pace_activeset wrote") from err
    expected = {element: (n, n) for element, n in summary.n_functions_per_element.items()}
    if shapes != expected:
        theirs, ours = (
            ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sorted(each.items()))
            for each in (shapes, expected)
        )
        raise InputError(
            f"{asi.name} is the active set of another potential: it has {theirs}, the .yaml {ours}",
            "run pace_activeset for this .yaml",
        )


def read_yace(path: Path) -> PotentialSummary:
    """Return what a `.yace` consists of, counted in the functions that LAMMPS evaluates.

    Raises
    ------
    InputError
        It cannot be read or is no potential.
    """
    content = _load(path)
    try:
        elements = tuple(str(element) for element in content["elements"])
        counts = {element: len(content["functions"][place]) for place, element in enumerate(elements)}
        return PotentialSummary(
            elements=elements,
            n_densities=max(int(embedding["ndensity"]) for embedding in content["embeddings"].values()),
            n_functions=sum(counts.values()),
            n_functions_per_element=counts,
            n_parameters=0,
            cutoff_A=max(float(bond["rcut"]) for bond in content["bonds"].values()),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise InputError(f"{path} is no .yace potential: {type(err).__name__} at {err}", _NOT_ONE) from err


def _load(path: Path) -> Any:
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml may not be there
        pass

    # pairs of elements are keys, which lists cannot be
    Loader.add_constructor(
        "tag:yaml.org,2002:seq", lambda loader, node: tuple(loader.construct_sequence(node, deep=True))
    )
    try:
        return yaml.load(path.read_text(), Loader=Loader)
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"cannot read {path}: {err}", _NOT_ONE) from err
    except yaml.YAMLError as err:
        raise InputError(f"{path} is not YAML: {str(err).splitlines()[0]}", _NOT_ONE) from err
