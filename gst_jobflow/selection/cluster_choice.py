"""Choose atoms of large frames on which a potential extrapolates, and cut a cell to label around each."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gst_jobflow.base.errors import DataError, InputError, RunError
from gst_jobflow.base.settings import Settings
from gst_jobflow.documents import ConfigType, Potential, Structure, Trajectory
from gst_jobflow.dynamics.deck import PotentialFiles
from gst_jobflow.dynamics.engine import LammpsEngine
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.dynamics.potential_files import link_potential
from gst_jobflow.selection.clusters import Cluster, LargeFrame, centres, part_seam, seam_problem
from gst_jobflow.selection.documents import Origin, derived, origin_of
from gst_jobflow.selection.frames import FoundStructure
from gst_jobflow.selection.grade import gammas
from gst_jobflow.selection.pick import Rows, most_informative
from gst_jobflow.selection.projections import coordinates
from gst_jobflow.selection.seam import relax_seam
from gst_jobflow.store import Results

MOST_OF_A_FRAME = 200
"""Largest number of atoms of one frame that are considered."""
GAMMA_TOLERANCE = 1e-6
"""Largest relative difference between the grades of a centre in its cell and in the frame."""
_AT_ONCE = 20


class NothingInWindowError(InputError):
    """No atom has a grade in the window."""


@dataclass(frozen=True)
class CutSettings:
    """Settings of cells that are cut out.

    Grades of the centres lie in `window`, and no atom of a cell may exceed its upper end. `radius_A` is that of the
    unchanged environment, at least the potential's cutoff (None). `floor_A` is the smallest distance at a seam; None:
    0.8 of the sum of the covalent radii.
    """

    window: tuple[float, float]
    max_atoms: int
    radius_A: float | None = None
    floor_A: float | None = None

    def radius(self, potential: Potential) -> float:
        """Return the radius of the unchanged environment; raises InputError if `potential` reaches further."""
        if self.radius_A is not None and self.radius_A < potential.cutoff_A:
            raise InputError(
                f"a radius of {self.radius_A:g} Å is below the potential's cutoff of {potential.cutoff_A:g} Å",
                "leave --radius out, or raise it: atoms within the cutoff decide the grade",
            )
        return self.radius_A or potential.cutoff_A


@dataclass(frozen=True)
class Candidate:
    """An atom of a frame with the cell around it.

    The frame is a stored structure (`structure_id`) or the `step` of a trajectory, and `atom` is the place in it, from
    0. `gamma` is the grade in the frame, reproduced by the cell within `GAMMA_TOLERANCE`. `max_gamma` is the largest
    grade in the cell with its seam relaxed; atoms of the core that were frozen in the frame do not count. `gain` is as
    in :class:`gst_jobflow.selection.choice.ChosenStructure`, of this atom alone.
    """

    name: str
    structure_id: str | None
    step: int | None
    atom: int
    gamma: float
    cluster: Cluster
    max_gamma: float = 0.0
    gain: float = 0.0


def find_centres(
    engine: LammpsEngine, files: PotentialFiles, frames: Iterable[FoundStructure], cut: CutSettings, radius_A: float
) -> Iterator[Candidate]:
    """Grade frames one by one on all ranks of `engine`, and cut cells around atoms with a grade in the window.

    Raises InputError if a frame is small enough to be labelled whole, or as :meth:`LargeFrame.cut`.
    """
    for found in frames:
        if len(found.atoms) <= cut.max_atoms:
            raise InputError(
                f"{found.name} has {len(found.atoms)} atoms: cells of up to {cut.max_atoms} are labelled whole",
                "leave --cluster out, or say -w 'n_atoms>…'",
            )
        with tempfile.TemporaryDirectory(prefix="gst_gamma_") as name:
            gamma = gammas(engine, files, [found.atoms], Path(name), ranks=engine.ranks)[0]
        frame = LargeFrame(found.atoms, found.is_mobile)
        of_mobile = np.where(found.is_mobile, gamma, np.nan)
        for atom in centres(found.atoms, of_mobile, cut.window, radius_A, MOST_OF_A_FRAME):
            cluster = frame.cut(atom, radius_A, cut.max_atoms, cut.floor_A)
            name = f"{found.name} atom {atom}"
            yield Candidate(name, found.structure_id, found.step, atom, float(gamma[atom]), cluster)


def choose_clusters(
    results: Results,
    settings: Settings,
    potential: Potential,
    frames: Iterable[FoundStructure],
    cut: CutSettings,
    number: int,
    cores: int = 1,
) -> tuple[list[Candidate], dict[str, str]]:
    """Choose up to `number` atoms by greedy D-optimality, and relax the seams of their cells.

    If a cell is unsound afterwards, choose again without it. Return the chosen atoms in order, and the reason for each
    dropped cell by name. Raises InputError if no atom has a grade in the window, or as :func:`find_centres`.
    """
    engine, radius_A = lammps_engine(settings, n_ranks=cores), cut.radius(potential)
    with tempfile.TemporaryDirectory(prefix="gst_clusters_") as name:
        files = link_potential(results, potential, Path(name))
        left = list(find_centres(engine, files, frames, cut, radius_A))
        if not left:
            low, high = cut.window
            raise NothingInWindowError(
                f"no atom has gamma in {low:g}..{high:g}", "gst structures gamma shows what there is"
            )
        rows = dict(zip((each.name for each in left), _of_centres(settings, files, left), strict=True))
        sound: dict[str, Candidate] = {}
        dropped: dict[str, str] = {}
        while True:
            places = most_informative([rows[each.name] for each in left], number)
            new = [left[place] for place, _ in places if left[place].name not in sound]
            if not places:
                name, why = next(iter(dropped.items()))
                raise InputError(f"all {len(dropped)} cells are unsound; {name}: {why}", "set --floor or --max-atoms")
            if not new:
                return [replace(sound[left[place].name], gain=gain) for place, gain in places], dropped
            finished = relax_and_grade(engine, files, new, cut, radius_A, Path(name), cores)
            sound.update({each.name: each for each in finished if isinstance(each, Candidate)})
            dropped.update({each.name: why for each, why in zip(new, finished, strict=True) if isinstance(why, str)})
            left = [each for each in left if each.name not in dropped]


def _of_centres(settings: Settings, files: PotentialFiles, candidates: Sequence[Candidate]) -> list[Rows]:
    """Return the coordinates of the centres in the active set, for a few cells at a time."""
    rows: list[Rows] = []
    for start in range(0, len(candidates), _AT_ONCE):
        part = [each.cluster.atoms for each in candidates[start : start + _AT_ONCE]]
        for atoms, of_one in zip(part, coordinates(settings, files, part), strict=True):
            # the centre is the first atom of its element
            element = atoms[0].symbol
            rows.append({element: of_one[element][:1].copy()})
    return rows


def relax_and_grade(
    engine: LammpsEngine,
    files: PotentialFiles,
    candidates: Sequence[Candidate],
    cut: CutSettings,
    radius_A: float,
    directory: Path,
    at_once: int = 1,
) -> list[Candidate | str]:
    """Relax the seams of cells and grade them; return the problem instead of an unsound cell."""

    def relaxed(candidate: Candidate) -> Candidate | str:
        try:
            with tempfile.TemporaryDirectory(dir=directory) as name:
                cluster = relax_seam(engine, files, candidate.cluster, radius_A, Path(name))
            # a potential that extrapolates may have pulled two atoms together
            cluster = part_seam(cluster, cut.floor_A)
        except (RunError, DataError) as err:
            return f"its seam cannot be relaxed: {err.message}"
        return seam_problem(cluster, radius_A, cut.floor_A) or replace(candidate, cluster=cluster)

    with ThreadPoolExecutor(at_once) as pool:
        tried = list(pool.map(relaxed, candidates))
    good = [each for each in tried if isinstance(each, Candidate)]
    with tempfile.TemporaryDirectory(dir=directory) as name:
        grades = gammas(engine, files, [each.cluster.atoms for each in good], Path(name) / "gamma", at_once)
    graded = {each.name: _graded(each, gamma, cut.window[1]) for each, gamma in zip(good, grades, strict=True)}
    return [each if isinstance(each, str) else graded[each.name] for each in tried]


def _graded(candidate: Candidate, gamma: np.ndarray, most: float) -> Candidate | str:
    if not np.isclose(gamma[0], candidate.gamma, rtol=GAMMA_TOLERANCE, atol=0):
        return f"gamma of its centre is {gamma[0]:.6g} in the cell and {candidate.gamma:.6g} in the frame"
    if (largest := candidate.cluster.max_gamma(gamma)) > most:
        return f"an atom of its cell has gamma {largest:.3g}"
    return replace(candidate, max_gamma=largest)


def cluster_candidates(
    results: Results,
    potential: Potential,
    chosen: Sequence[Candidate],
    trajectory: Trajectory | None,
    radius_A: float,
    tags: list[str],
    iteration: int,
    config_type: ConfigType | None = None,
) -> list[Structure]:
    """Return the documents of chosen cells, in the group of their trajectory or structure.

    `config_type` None: that of the structure, or as :func:`gst_jobflow.selection.documents.origin_of`.
    """
    of_run = origin_of(results, trajectory, config_type) if trajectory else None
    documents = []
    for each in chosen:
        origin = of_run or _origin_of_structure(results, str(each.structure_id), config_type)
        source = {
            "builder": "cluster",
            "trajectory_id": trajectory.id if trajectory else None,
            "step": each.step,
            "atom": each.atom,
            "potential_id": potential.id,
            "gamma": each.gamma,
            "max_gamma": each.max_gamma,
            "gain": each.gain,
            "radius_A": radius_A,
            "n_held": each.cluster.n_core,
            "n_deleted": each.cluster.n_deleted,
        }
        documents.append(derived(results, each.cluster.atoms, origin, source, tags, iteration))
    return documents


def _origin_of_structure(results: Results, structure_id: str, config_type: ConfigType | None) -> Origin:
    parent = results.get(Structure, structure_id)
    return parent, config_type or parent.config_type
