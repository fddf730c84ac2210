"""Label by VASP with the paper's settings, through atomate2's input sets and custodian."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from pydantic import Field, model_validator

from gst_jobflow.base.errors import InputError, MissingProgramError, nearest
from gst_jobflow.base.processes import words_of
from gst_jobflow.labelling.backend import BackendModel, Bounds, RawLabel, failed
from gst_jobflow.labelling.kpoints import kpoint_mesh
from gst_jobflow.labelling.method import Method
from gst_jobflow.labelling.vasp_settings import FUNCTIONALS, PATH_KEYS, VaspSettings, physics
from gst_jobflow.structures.lattice import right_handed

if TYPE_CHECKING:
    from atomate2.vasp.jobs.core import StaticMaker
    from atomate2.vasp.sets.core import StaticSetGenerator
    from pymatgen.io.vasp.outputs import Vasprun

POTCAR_FIX = (
    "set PMG_VASP_PSP_DIR to the folder that holds POT_GGA_PAW_PBE_54 (pymatgen; `pmg config -p` makes it from "
    "the folder that ASE calls VASP_PP_PATH)"
)

STAND_IN = "standin"
KBAR_EV_A3 = 0.1 * 0.006241509125883258

# VASP's defaults
VASP_DEFAULTS: dict[str, Any] = {"GGA": "PE", "KGAMMA": True, "LASPH": False, "ISPIN": 1, "LREAL": False}


def incar_updates(settings: VaspSettings) -> dict[str, Any]:
    """Return our changes of atomate2's static INCAR; None removes a default.

    Removed are unused outputs (charge analysis, potentials, localisation, projections) and leftovers of the SCAN set.
    """
    keys = {
        "ALGO": settings.algo or ("All" if settings.functional == "r2SCAN" else "Normal"),
        "NELM": settings.nelm,
        "NSW": 0,
        "IBRION": -1,
        # 2: stress at the end of a single point
        "ISIF": 2,
        "LWAVE": False,
        "LCHARG": False,
        "NCORE": settings.ncore,
        "KPAR": settings.kpar,
    }
    removed = ("LAECHG", "LVTOT", "LELF", "LORBIT", "LMIXTAU", "LMAXMIX", "MAGMOM", "METAGGA", "GGA")
    return dict.fromkeys(removed) | keys | physics(settings)


def set_generator(settings: VaspSettings) -> StaticSetGenerator:
    """Return atomate2's generator of the input files, for structures grouped by species.

    (`sort_structure` has no effect in atomate2 0.1.5: its field hides pymatgen's property that sorts.)
    """
    from atomate2.vasp.sets.core import StaticSetGenerator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns about every POTCAR that is not its set's
        return StaticSetGenerator(
            user_incar_settings=incar_updates(settings),
            user_potcar_settings=dict(settings.potcars),
            user_potcar_functional=cast("Any", settings.potcar_functional),  # atomate2 may not list the set
            sort_structure=False,
            auto_ispin=False,
        )


def static_maker(settings: VaspSettings, name: str = "label") -> StaticMaker:
    """Return atomate2's own StaticMaker with our input set and handlers, for atomate2 flows.

    Its task documents keep atomate2's conventions; nothing checks method, bounds or the stand-in.

    Examples
    --------
    >>> maker = static_maker(VaspSettings(command="srun vasp_std"))
    >>> job = maker.make(structure.get_sorted_structure())  # grouped by species
    >>> submit(job, find_project())
    """
    from atomate2.vasp.jobs.core import StaticMaker

    from gst_jobflow.labelling.vasp_custodian import label_handlers

    return StaticMaker(
        name=name,
        input_set_generator=set_generator(settings),
        # ignore INCAR keys of ~/.atomate2.yaml, which could change the method
        write_input_set_kwargs={"apply_incar_updates": False},
        run_vasp_kwargs={
            "vasp_cmd": settings.full_command,
            "vasp_gamma_cmd": settings.full_command,
            "max_errors": settings.max_errors,
            "handlers": label_handlers(frozen_s=settings.frozen_s),
        },
        stop_children_kwargs={"handle_unsuccessful": "error"},
    )


class VaspBackend(BackendModel):
    """Backend of VASP single points, see `VaspSettings`.

    The default bounds of GGAs are absolute, since VASP's energies refer to the pseudo-atoms of PBE. Totals of r2SCAN
    are shifted by tens of eV for heavy elements, so they are bounded only with `bounds.free_atom_eV`.
    """

    settings: VaspSettings = Field(default_factory=VaspSettings)

    @model_validator(mode="after")
    def _no_absolute_bounds_of_a_meta_gga(self) -> VaspBackend:
        default = Bounds()
        absolute = (default.lower_eV_per_atom, default.upper_eV_per_atom)
        if (
            "METAGGA" in FUNCTIONALS[self.settings.functional]
            and not self.bounds.free_atom_eV
            and (self.bounds.lower_eV_per_atom, self.bounds.upper_eV_per_atom) == absolute
        ):
            self.bounds = self.bounds.model_copy(update={"lower_eV_per_atom": None, "upper_eV_per_atom": None})
        return self

    def known_elements(self) -> list[str]:
        return sorted(self.settings.potcars)

    @property
    def needs_periodic(self) -> bool:
        return True

    @property
    def cores(self) -> int | None:
        return self.settings.cores

    def method(self) -> Method:
        """Return the physics of the INCAR, the k-point spacing and the POTCAR titles.

        EDIFF belongs to it. VASP's version does not: with the same POTCARs and INCAR, PBE energies of 5.4 and 6 agree
        far better than a fit resolves.
        """
        settings = self.settings
        return _method(settings, physics(settings), settings.potcar_titles, stand_in=settings.allow_stand_in)

    def check(self, atoms: Atoms) -> None:
        """Raise InputError as every backend does, and if the cell needs too many k-points."""
        super().check(atoms)
        settings = self.settings
        mesh = kpoint_mesh(atoms.cell.array, settings.kspacing_per_A)
        if (number := math.prod(mesh)) > settings.max_kpoints:
            raise InputError(
                f"KSPACING {settings.kspacing_per_A:g} gives this cell {' × '.join(map(str, mesh))} = {number:,} "
                f"k-points, more than {settings.max_kpoints:,}",
                f"label a supercell of it, or raise the limit: --option max_kpoints={number}",
            )

    def check_machine(self, elements: Collection[str]) -> None:
        """Refuse to label these elements on a machine without VASP or their POTCARs.

        Raises
        ------
        MissingProgramError
            The command, the folder of POTCARs, or one of them is missing.
        """
        find_command(self.settings.full_command)
        if absent := missing_potcars(elements, self.settings):
            raise MissingProgramError(
                f"no POTCAR of {', '.join(absent)} in the {self.settings.potcar_functional} set", POTCAR_FIX
            )

    def compute(self, atoms: Atoms, directory: Path) -> RawLabel:
        """Write the input set, run VASP under custodian, read vasprun.xml.

        Raises
        ------
        MissingProgramError
            The VASP command or the folder of POTCARs is missing, or POTCARs have other titles than the settings.
        """
        from gst_jobflow.labelling.vasp_custodian import run_custodian

        settings, directory = self.settings, Path(directory).resolve()
        command = find_command(settings.full_command)
        ordered, order = vasp_order(atoms)
        directory.mkdir(parents=True, exist_ok=True)
        if absent := missing_potcars(set(ordered.get_chemical_symbols()), settings):
            return failed("bad_input", f"no POTCAR of {', '.join(absent)} in the {settings.potcar_functional} set")
        write_inputs(ordered, settings, directory)
        start = time.monotonic()
        problem = run_custodian(
            command,
            directory,
            wall_limit_s=settings.wall_limit_s,
            max_errors=settings.max_errors,
            polling_s=settings.polling_s,
            frozen_s=settings.frozen_s,
        )
        label = failed(*problem) if problem else read_label(directory / "vasprun.xml", ordered, settings)
        if label.forces_eV_A is not None:
            forces = np.empty_like(label.forces_eV_A)
            forces[order] = label.forces_eV_A
            label.forces_eV_A = forces
        label.wall_s = time.monotonic() - start
        names = ("INCAR", "vasprun.xml", "OUTCAR", "OSZICAR", "custodian.json", "vasp.out")
        label.files = {name: directory / name for name in names if (directory / name).exists()}
        return label


def find_command(command: str) -> list[str]:
    """Return the words of a command; raise MissingProgramError if its program, or what it launches, is missing."""
    fix = "set the command of the VASP settings, e.g. 'srun vasp_std', or load VASP's module"
    words = words_of(command, "VASP command", fix)
    if shutil.which(words[-1]) is None and not Path(words[-1]).is_file():
        raise MissingProgramError(f"VASP command '{command}': no program '{words[-1]}'", fix)
    return words


def vasp_order(atoms: Atoms) -> tuple[Atoms, np.ndarray]:
    """Return the atoms grouped by species in a right-handed cell, and the original index of each."""
    order = np.argsort(atoms.get_chemical_symbols(), kind="stable")
    return right_handed(atoms[order]), order


def missing_potcars(elements: Collection[str], settings: VaspSettings) -> list[str]:
    """Return the symbols whose POTCAR is not in the folder of the functional.

    Raises
    ------
    MissingProgramError
        The folder is missing, so that no structure could be labelled.
    """
    from monty.os.path import zpath
    from pymatgen.io.vasp import inputs

    root = inputs.SETTINGS.get("PMG_VASP_PSP_DIR")
    name = inputs.PotcarSingle.functional_dir.get(settings.potcar_functional)
    if name is None:
        raise MissingProgramError(
            f"no set of POTCARs is called '{settings.potcar_functional}'",
            nearest(settings.potcar_functional, inputs.PotcarSingle.functional_dir),
        )
    if not root:
        raise MissingProgramError("no folder of POTCARs is set", POTCAR_FIX)
    folder = Path(root).expanduser() / inputs.SETTINGS.get("PMG_VASP_PSP_SUB_DIRS", {}).get(
        settings.potcar_functional, name
    )
    if not folder.is_dir():
        raise MissingProgramError(f"no folder {folder} of POTCARs", POTCAR_FIX)
    # pymatgen looks for POTCAR.X and X/POTCAR, plain or packed
    symbols = sorted(settings.potcars[element] for element in elements)
    places = {symbol: (folder / f"POTCAR.{symbol}", folder / symbol / "POTCAR") for symbol in symbols}
    return [symbol for symbol in symbols if not any(Path(zpath(place)).is_file() for place in places[symbol])]


def write_inputs(atoms: Atoms, settings: VaspSettings, directory: Path) -> None:
    """Write INCAR, POSCAR and POTCAR (no KPOINTS, so KSPACING holds), and remove results of an earlier attempt.

    Raises
    ------
    MissingProgramError
        POTCARs are missing, or not those of the settings.
    """
    from pymatgen.io.ase import AseAtomsAdaptor

    bare = atoms.copy()
    bare.calc = None
    for name in list(bare.arrays):
        if name not in ("numbers", "positions"):
            del bare.arrays[name]
    structure = AseAtomsAdaptor.get_structure(bare)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            inputs = set_generator(settings).get_input_set(structure)
            potcar: Any = inputs.potcar
        except (ValueError, OSError) as error:
            raise MissingProgramError(f"no POTCAR: {str(error).splitlines()[0]}", POTCAR_FIX) from error
        for single in potcar:
            wanted = settings.potcar_titles[single.element]
            title = single.TITEL
            if title != wanted:
                raise MissingProgramError(
                    f"the POTCAR of {settings.potcar_functional} is '{title}', the settings say '{wanted}'",
                    "correct potcar_titles of the VASP settings, or " + POTCAR_FIX,
                )
        for old in ("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR", "KPOINTS", "WAVECAR", "CHGCAR", "custodian.json"):
            (directory / old).unlink(missing_ok=True)
        inputs.write_input(str(directory))


def read_label(path: Path, atoms: Atoms, settings: VaspSettings) -> RawLabel:
    """Read the label of `atoms`, in VASP's order, from vasprun.xml.

    The energy is the free energy (`e_fr_energy`), which the forces are consistent with, unlike the energy extrapolated
    to zero smearing.
    """
    from pymatgen.io.vasp.outputs import Vasprun

    if not path.exists():
        return failed("missing_output", "VASP wrote no vasprun.xml")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence is checked below
        try:
            run = Vasprun(str(path), parse_dos=False, parse_eigen=False, parse_potcar_file=False)
        except (SyntaxError, ValueError, KeyError, IndexError, AttributeError) as error:
            # xml.etree and lxml raise SyntaxErrors for a truncated file
            return failed("missing_output", f"vasprun.xml cannot be read: {type(error).__name__}: {error}")
    if STAND_IN in run.vasp_version and not settings.allow_stand_in:
        return failed("wrong_method", f"version {run.vasp_version} is a stand-in, not VASP")
    if len(run.ionic_steps) != 1:
        return failed("missing_output", f"vasprun.xml holds {len(run.ionic_steps)} ionic steps, not 1")
    if not run.converged_electronic:
        return failed("not_converged", "VASP: electronic self-consistency not reached")
    moved = _difference(run, atoms)
    if moved:
        return failed("wrong_method", moved)
    step = run.ionic_steps[0]
    energy, forces, stress = step.get("e_fr_energy"), step.get("forces"), step.get("stress")
    if forces is not None and np.shape(forces) != (len(atoms), 3):
        return failed("missing_output", f"vasprun.xml holds forces on {len(forces)} of {len(atoms)} atoms")
    return RawLabel(
        converged=True,
        energy_eV=None if energy is None else float(energy),
        forces_eV_A=None if forces is None else np.array(forces, dtype=float),
        stress_eV_A3=None if stress is None else stress_of_kbar(np.array(stress, dtype=float)),
        method_seen=method_of(run, settings),
    )


def stress_of_kbar(stress_kbar: np.ndarray) -> np.ndarray:
    """Convert VASP's stress, shape (3, 3) in kbar, to ASE's: shape (6,), Voigt order, eV/Å³, opposite sign."""
    return -KBAR_EV_A3 * full_3x3_to_voigt_6_stress(stress_kbar)


def _difference(run: Vasprun, atoms: Atoms) -> str:
    """Return how the structure that ran differs from the requested one, or an empty text."""
    structure = run.initial_structure
    if [site.specie.symbol for site in structure] != atoms.get_chemical_symbols():
        return "other atoms ran than were requested"
    # vasprun.xml has 8 decimals
    if not np.allclose(structure.lattice.matrix, atoms.cell.array, atol=1e-6):
        return "another cell ran than was requested"
    shift = structure.frac_coords - atoms.get_scaled_positions(wrap=False)
    if np.abs(shift - np.round(shift)).max() > 1e-6:
        return "other positions ran than were requested"
    return ""


def method_of(run: Vasprun, settings: VaspSettings) -> Method:
    """Return the method in a vasprun.xml, which shows changes by custodian or a user.

    INCAR keys that are neither in the method nor in `PATH_KEYS` are kept as "other", so none passes unseen. Absent
    elements keep the titles of the settings.
    """
    asked = physics(settings)
    seen = {key: run.incar.get(key, run.parameters.get(key, VASP_DEFAULTS.get(key))) for key in asked}
    seen["ENCUT"] = run.incar.get("ENCUT", run.parameters.get("ENMAX"))
    mesh = _foreign_mesh(run, settings.kspacing_per_A)
    if mesh is not None:
        seen["KSPACING"] = f"mesh {mesh}"
    titles = {title.split()[1].partition("_")[0]: title for title in run.potcar_symbols}
    other = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in run.incar.items()
        if key not in asked and key not in PATH_KEYS
    }
    stand_in = STAND_IN in run.vasp_version
    return _method(settings, seen, settings.potcar_titles | titles, other=other, stand_in=stand_in)


def functional_of(run: Vasprun) -> str:
    """Return the name of the functional in a vasprun.xml; PBE if it is none of `FUNCTIONALS`."""
    meta, gga = (str(run.incar.get(key, "")).upper() for key in ("METAGGA", "GGA"))
    for name, tags in FUNCTIONALS.items():
        if (meta, gga) == (tags.get("METAGGA", ""), tags.get("GGA", "")):
            return name
    return "PBE"


def _method(
    settings: VaspSettings,
    incar: dict[str, Any],
    titles: dict[str, str],
    *,
    other: dict[str, Any] | None = None,
    stand_in: bool = False,
) -> Method:
    # pymatgen writes "Pe" where VASP has "PE"
    incar = {key: str(value).upper() if key in ("GGA", "METAGGA") else value for key, value in incar.items()}
    incar["PREC"] = _precision(str(incar["PREC"]))
    return Method(
        code="vasp-stand-in" if stand_in else "vasp",
        parameters={"incar": incar, "potcars": titles, "other": other or {}},
    )


def _precision(text: str) -> str:
    """Return PREC in the six letters of vasprun.xml; VASP reads its first letter only."""
    text = text.strip().lower()
    if text.startswith("singlen"):
        return "singlen"  # has other grids than Single
    names = ("accura", "normal", "low", "medium", "high", "single")
    return next((name for name in names if name[0] == text[:1]), text)


def _foreign_mesh(run: Vasprun, kspacing_per_A: float) -> list[int] | None:
    """Return the mesh that ran if KSPACING does not explain it, else None.

    VASP makes |b| / KSPACING intervals (b with 2 pi); versions round it or take the ceiling, and both are accepted.
    """
    if run.kpoints.style.name not in ("Gamma", "Monkhorst") or len(run.kpoints.kpts[0]) != 3:
        return None
    mesh = [int(points) for points in run.kpoints.kpts[0]]
    for points, length in zip(mesh, run.initial_structure.lattice.reciprocal_lattice.abc, strict=True):
        ratio = length / kspacing_per_A
        if not max(1, math.floor(ratio + 0.5)) <= points <= max(1, math.ceil(ratio + 1e-6)):
            return mesh
    return None
