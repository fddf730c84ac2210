"""All analyses of one frame by name: numbers for a series, and arrays with a value for each atom and for each bin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from gst_jobflow.analysis.crystallinity import ANION, RMSD_CUTOFF, crystal_like, crystallinity, element_name
from gst_jobflow.analysis.distributions import Pair, radial_distribution
from gst_jobflow.analysis.grains import MIN_ANIONS, grains
from gst_jobflow.analysis.motifs import motifs
from gst_jobflow.analysis.profiles import Bins, Centre, along_z, by_radius, kinetic_temperature, over_xz
from gst_jobflow.analysis.soap import References, similarity
from gst_jobflow.base.errors import DataError, GstError, InputError, MissingProgramError
from gst_jobflow.base.plugins import distribution, offered, resolve

RDF_REACH_A = 10.0
GAMMA_ABOVE = (1.0, 2.0, 5.0, 10.0)
_LEAST_SHARE = 0.2
BIN_A = 6.0
"""Width of slices, shells and squares: about one cell of rock-salt."""


@dataclass(frozen=True)
class FrameOptions:
    """What is computed of each frame, and with what.

    Attributes
    ----------
    what
        Names of analyses, see `ANALYSES`.
    known
        Reference surroundings for k-bar.
    k_bar_cutoff
        Above it an atom is crystal-like; no share without it, for it depends on references and hyperparameters.
    min_anions
        Smallest grain.
    merge_threshold
        Of grains, see there; OVITO finds one for each frame without it.
    bonds_A
        Longest bond by pair, for motifs.
    gamma_above
        Extrapolation grades above which the share of atoms is given.
    mobile
        First and last id, from 1, of the atoms that shares, means and maps count; all atoms without it. Others are seen
        as neighbours. Motifs and grains count all atoms.
    bin_A, centre_A
        Width of bins; what the profile by radius is around, none without it. y None: a line along y.
    threads
        That share k-bar of one frame.
    anion
        Element of the close-packed sublattice.
    """

    what: tuple[str, ...]
    known: References | None = None
    k_bar_cutoff: float | None = None
    rmsd_cutoff: float = RMSD_CUTOFF
    min_anions: int = MIN_ANIONS
    merge_threshold: float | None = None
    bonds_A: Mapping[Pair, float] = field(default_factory=dict)
    gamma_above: tuple[float, ...] = GAMMA_ABOVE
    mobile: tuple[int, int] | None = None
    bin_A: float = BIN_A
    centre_A: Centre | None = None
    threads: int = 1
    anion: str = ANION

    @property
    def counted(self) -> slice:
        """The atoms that shares count."""
        return slice(None) if self.mobile is None else slice(self.mobile[0] - 1, self.mobile[1])

    @property
    def needs_bonds(self) -> bool:
        """Whether an analysis counts bonds, and there are none."""
        return not self.bonds_A and not {"motifs", "liquid"}.isdisjoint(self.what)

    def __post_init__(self) -> None:
        for name in self.what:
            analysis_named(name)
        if "k-bar" in self.what and self.known is None:
            raise InputError("k-bar needs reference crystals of the composition at temperature", "--reference FILE")


Answer = tuple[dict[str, Any], dict[str, "NDArray"]]
"""Numbers, and arrays: of each atom (n,), or of bins under a name with a dot, such as ``xz.k_bar``."""
Answers = dict[str, Answer | str]
"""By analysis; a text says why there is no answer."""


@dataclass(frozen=True)
class Analysis:
    """An analysis that has a name.

    `compute` gets the atoms of a frame. `definition` says what its numbers mean, in a sentence or two; ``{anion}`` and
    ``{name}`` are symbol and name of the anion. `parameters` are the fields of `FrameOptions` that it depends on, and
    `programs` the packages whose version counts.
    """

    compute: Callable[[Atoms, FrameOptions], Answer]
    definition: str
    parameters: tuple[str, ...]
    programs: tuple[str, ...] = ()

    def described(self, options: FrameOptions) -> dict[str, Any]:
        """Return definition, parameters and versions, as they are stored with the numbers."""
        parameters: dict[str, Any] = {name: _plain(getattr(options, name)) for name in self.parameters}
        if parameters.get("anion") == ANION:
            del parameters["anion"]  # as in series that are older than other anions
        if (known := parameters.pop("known", None)) is not None:
            parameters["soap"] = known
        versions = {name: version(name) for name in ("gst_jobflow", *self.programs)}
        return {
            "definition": self.definition.format(anion=options.anion, name=element_name(options.anion)),
            "parameters": parameters,
            "versions": versions,
        }


def analyse_frame(atoms: Atoms, options: FrameOptions, names: Sequence[str], threads: int = 1) -> Answers:
    """Return the answer of each named analysis of a frame, or in words why there is none."""
    found: Answers = {}
    for name in names:
        try:
            found[name] = analysis_named(name).compute(atoms, replace(options, threads=threads))
        except GstError as error:
            found[name] = error.message
    return found


def _k_bar(atoms: Atoms, options: FrameOptions) -> Answer:
    assert options.known is not None
    values = similarity(atoms, options.known, options.threads)
    some = values[options.counted]
    numbers: dict[str, Any] = {"k_bar_mean": float(some.mean())}
    cutoff = options.k_bar_cutoff
    if cutoff is not None:
        numbers["k_bar_fraction"] = float((some > cutoff).mean())
    ordered = None
    if options.anion in atoms.symbols:
        ordered = crystallinity(atoms, None, options.rmsd_cutoff, options.anion).mask[options.counted]
    if ordered is not None and cutoff is not None:
        numbers["k_bar_agreement"] = float(((some > cutoff) == ordered).mean())
    if ordered is not None and 0 < ordered.sum() < len(ordered):
        numbers["k_bar_auc"] = _area(some[ordered], some[~ordered])
    return numbers, {"k_bar": values} | _maps(atoms, options, {"k_bar": some})


def _area(yes: NDArray, no: NDArray) -> float:
    """Return the probability that a value of `yes` is above one of `no`: the area under the ROC."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([yes, no]))[: len(yes)]
    return float((ranks.sum() - len(yes) * (len(yes) + 1) / 2) / (len(yes) * len(no)))


def _tellurium(atoms: Atoms, options: FrameOptions) -> Answer:
    group = np.arange(len(atoms))[options.counted]
    found = crystallinity(atoms, group, options.rmsd_cutoff, options.anion)
    maps = _maps(atoms, options, {"crystalline": found.mask[group]})
    return {"crystalline_fraction": found.fraction}, {"crystalline": found.mask.astype(np.float32)} | maps


def _grains(atoms: Atoms, options: FrameOptions) -> Answer:
    found = grains(
        atoms, options.min_anions, options.rmsd_cutoff, anion=options.anion, merge_threshold=options.merge_threshold
    )
    diameter = found.diameter_A
    numbers: dict[str, Any] = {"n_grains": len(found.n_atoms)}
    numbers |= {f"n_grains_from_{size}": count for size, count in found.counts.items()}
    numbers |= {
        "grain_diameter_A": float(diameter.mean()) if len(diameter) else None,
        "largest_grain_atoms": int(found.n_atoms.max(initial=0)),
        "share_in_grains": float((found.label > 0)[options.counted].mean()),
        "boundary_share": found.boundary_share,
        "grain_merge_threshold": found.merge_threshold,
        "misorientation_deg": _mean(found.boundaries[:, 2], found.boundaries[:, 3]),
    }
    sizes = {"grain.diameter_A": diameter, "grain.atoms": found.n_atoms, "grain.orientation": found.orientation}
    return numbers, {"grain": found.label.astype(np.float32), **sizes, "grain.boundaries": found.boundaries}


def _mean(values: NDArray, weights: NDArray) -> float | None:
    there = np.isfinite(values)
    return float(np.average(values[there], weights=weights[there])) if there.any() else None


def _motifs(atoms: Atoms, options: FrameOptions) -> Answer:
    return _finite(motifs(atoms, options.bonds_A, (options.anion,)).numbers), {}


def _liquid(atoms: Atoms, options: FrameOptions) -> Answer:
    found, rdf = motifs(atoms, options.bonds_A, (options.anion,)), radial_distribution([atoms], RDF_REACH_A)
    curves = {f"rdf.{a}-{b}": g for (a, b), g in rdf.partial.items()} | {"rdf.r_A": rdf.r_A, "rdf.total": rdf.total}
    curves |= {f"angles.{element}": each for element, each in found.angle_density.items()}
    curves |= {"angles.deg": found.angle_deg, "altbc.density": found.altbc, "altbc.edges_A": found.altbc_A}
    return _finite(found.numbers), curves | {f"q.{element}": each for element, each in found.q4.items()}


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}


def _gamma(atoms: Atoms, options: FrameOptions) -> Answer:
    if "gamma" not in atoms.arrays:
        raise DataError("the frame has no gamma", "run with output.gamma_every")
    values = atoms.arrays["gamma"]
    some = values[options.counted]
    if not np.isfinite(some).all():
        raise DataError("gamma is not finite: the configuration comes from a failed run")
    # a point in a name would be a path to the database
    names = {f"gamma_above_{limit:g}".replace(".", "_"): limit for limit in options.gamma_above}
    shares = {name: float((some > limit).mean()) for name, limit in names.items()}
    return {"gamma_max": float(some.max()), **shares}, {"gamma": values} | _maps(atoms, options, {"gamma": some})


def _temperature(atoms: Atoms, options: FrameOptions) -> Answer:
    values = kinetic_temperature(atoms, np.arange(len(atoms))[options.counted])
    return {"temperature_K": float(values.mean())}, _maps(atoms, options, {"temperature_K": values})


def _density(atoms: Atoms, options: FrameOptions) -> Answer:
    found = {f"{axes}.density_per_A3": bins.density() for axes, bins in _bins(atoms, options).items()}
    return {"density_per_A3": len(atoms) / float(atoms.cell.volume)}, found | _maps(atoms, options, {})


def _maps(atoms: Atoms, options: FrameOptions, fields: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Means of values of the counted atoms by ``z``, ``r`` and ``xz``, and the edges of the bins."""
    found: dict[str, NDArray] = {}
    for axes, bins in _bins(atoms, options).items():
        found |= {f"{axes}.{axis}_A": edges for axis, edges in bins.edges_A.items()}
        found |= {f"{axes}.{name}": bins.mean(values, _LEAST_SHARE) for name, values in fields.items()}
    return found


def _bins(atoms: Atoms, options: FrameOptions) -> dict[str, Bins]:
    """No bins of a cell that leans."""
    cell = np.asarray(atoms.cell)
    if not np.allclose(cell, np.diag(np.diag(cell)), atol=1e-6 * np.abs(cell).max()):
        return {}
    group = np.arange(len(atoms))[options.counted]
    found = {"z": along_z(atoms, options.bin_A, group), "xz": over_xz(atoms, options.bin_A, group)}
    if options.centre_A is not None:
        found["r"] = by_radius(atoms, options.bin_A, group, options.centre_A)
    return found


def _plain(value: Any) -> Any:
    """Return an option as what JSON knows; of reference surroundings the hashes of their crystals."""
    if isinstance(value, References):
        return {**asdict(value.options), "references": value.crystals}
    if isinstance(value, Mapping):
        return {f"{a}-{b}": float(end) if np.isfinite(end) else None for (a, b), end in value.items()}
    return list(value) if isinstance(value, tuple) else value


_COUNTED = ("mobile", "bin_A", "centre_A")
_MOTIFS = "bonds out to bonds_A; tetrahedral: four bonds and q above 0.8; squares: four-rings of cations and anions"
ANALYSES: dict[str, Analysis] = {
    "k-bar": Analysis(
        _k_bar,
        "mean SOAP kernel with the surroundings of the reference crystal that an atom is most like; k_bar_auc: "
        "probability that an atom of the crystal, by {name}, has a larger k-bar than another; k_bar_agreement: "
        "share of atoms that both measures call the same",
        ("known", "k_bar_cutoff", "rmsd_cutoff", "anion", *_COUNTED),
        ("ovito", "numba"),
    ),
    "tellurium": Analysis(_tellurium, crystal_like("{anion}"), ("rmsd_cutoff", "anion", *_COUNTED), ("ovito",)),
    "grains": Analysis(
        _grains,
        "grain segmentation of the {name} sublattice without orphan adoption; diameter of the sphere of the same "
        "volume, which is the sum over {name} atoms of d^3/sqrt(2) with their fitted neighbour distance d",
        ("min_anions", "merge_threshold", "rmsd_cutoff", "anion", "mobile"),
        ("ovito",),
    ),
    "motifs": Analysis(_motifs, _MOTIFS, ("bonds_A", "anion"), ("numba",)),
    "liquid": Analysis(
        _liquid,
        f"{_MOTIFS}; curves: partial g(r), bond angles by central element, lengths of straight pairs, q",
        ("bonds_A", "anion"),
        ("numba",),
    ),
    "gamma": Analysis(_gamma, "LAMMPS' extrapolation grade of mobile atoms", ("gamma_above", *_COUNTED)),
    "temperature": Analysis(_temperature, "kinetic energy of mobile atoms over 3/2 k", _COUNTED),
    "density": Analysis(_density, "atoms per volume; in maps mobile atoms per volume of a bin", _COUNTED),
}
"""By the name that a user gives."""


def analysis_named(name: str) -> Analysis:
    """Return an analysis: one of ours, or of a plugin, whose version is stored with its numbers.

    Raises InputError if there is none, and MissingProgramError if the plugin cannot be imported or offers something
    else.
    """
    found = resolve("analyses", name, ANALYSES)
    if name in ANALYSES:
        return found
    package = distribution(offered("analyses")[name])
    if not isinstance(found, Analysis):
        raise MissingProgramError(f"analysis '{name}' of {package} is no Analysis", f"pip install -U {package}")
    return replace(found, programs=tuple(dict.fromkeys((*found.programs, package))))
