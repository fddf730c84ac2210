"""Check what a profile needs by using it: one function a check, and a table of the profiles that need it."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import psutil
from ase import Atoms
from bson import ObjectId
from pymongo.errors import PyMongoError

from gst_jobflow import __version__
from gst_jobflow.base.errors import DatabaseError, GstError, InputError, MissingProgramError, RunError
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.plugins import KINDS, distribution, loaded, offered
from gst_jobflow.base.processes import die_with_parent, end_group
from gst_jobflow.base.settings import Project, Settings
from gst_jobflow.base.words import counted
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.labelling.ase_calculator import tblite_backend
from gst_jobflow.labelling.calculators import found
from gst_jobflow.labelling.choose import check_labels
from gst_jobflow.labelling.cp2k import FIX, Cp2kSettings, cp2k_version
from gst_jobflow.labelling.vasp import find_command
from gst_jobflow.launch.configs import has_queue
from gst_jobflow.launch.doctor_queue import refused_categories, run_test_job
from gst_jobflow.launch.services import LocalMongod, find_mongod
from gst_jobflow.store.address import connection, external_uri
from gst_jobflow.store.connect import JOB_STORE_COLLECTION, connect
from gst_jobflow.structures.material import Material, default_material, material_of

log = logging.getLogger(__name__)

PACKAGES = ("ase", "jobflow", "fireworks", "atomate2", "custodian", "pymatgen", "maggma", "pymongo", "matscipy")
LAPTOP, CLUSTERS = "laptop", ("slurm", "archer2")
ALL = (LAPTOP, *CLUSTERS)

_FREE_DISK_GB = 2.0
_MEMORY_GB = 4.0
# TensorFlow imports slowly on a loaded machine
_IMPORT_S = 300.0

# one species, four functions: enough for one step of `pace` and `pace/extrapolation`
_POTENTIAL = """\
global:
  DeltaSplineBins: 0.01
species:
  - speciesblock: Ge
    ndensityi: 1
    npoti: FinnisSinclairShiftedScaled
    parameters: [1, 1]
    rho_core_cut: 100000
    drho_core_cut: 250
    nradmaxi: 1
    lmaxi: 1
    rcutij: 5
    dcutij: 0.01
    NameOfCutoffFunctionij: cos
    r_in: 0
    delta_in: 0
    inner_cutoff_type: distance
    nradbaseij: 2
    radbase: ChebExpCos
    radparameters: [5.25]
    radcoefficients: [[[1, 0], [1, 0]]]
    core-repulsion: [0, 0]
    nbody:
      - {type: Ge Ge, nr: [1], nl: [0], c: [0.1]}
      - {type: Ge Ge, nr: [2], nl: [0], c: [0.1]}
      - {type: Ge Ge Ge, nr: [1, 1], nl: [0, 0], c: [0.1]}
      - {type: Ge Ge Ge, nr: [1, 1], nl: [1, 1], c: [0.1]}
"""
_N_FUNCTIONS = 4

_DECK = """\
units metal
lattice sc 3.5
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 72.63
pair_style {style}
pair_coeff * * {files} Ge
velocity all create 300 1
fix 1 all nve
{extra}
run 1
print "GST-FINISHED energy $(pe) gamma {gamma}"
"""


@dataclass(frozen=True)
class Check:
    """The outcome of one check; `fix` is the remedy, empty if it passed."""

    name: str
    ok: bool
    found: str
    version: str = ""
    fix: str = ""
    required: bool = False


@dataclass(frozen=True)
class CheckResult:
    """The result of a passed check."""

    what: str
    version: str = ""


class NoProjectError(InputError):
    """A check needs a project, and there is none."""


@dataclass(frozen=True)
class CheckContext:
    """The settings and project to check."""

    project: Project | None
    settings: Settings
    profile: str

    @property
    def like(self) -> str:
        """The profile of ours that a plugin's is like: with or without a queue."""
        if self.profile in ALL:
            return self.profile
        return CLUSTERS[0] if has_queue(self.profile) else LAPTOP

    def material(self) -> Material:
        """Return the material of the project, else Ge-Sb-Te; InputError if it or its label settings do not fit."""
        found = default_material() if self.project is None else material_of(self.project)
        check_labels(found)
        return found

    def need_project(self) -> Project:
        """Return the project; raises NoProjectError without one."""
        if self.project is None:
            raise NoProjectError("no project", "gst init DIR, then work in it")
        return self.project


@dataclass(frozen=True)
class CheckEntry:
    """A line of the table: a check, the profiles that run it, and those that require it."""

    name: str
    look: Callable[[CheckContext], CheckResult]
    shown: Sequence[str] = ALL
    required: Sequence[str] = ()


def checks(
    project: Project | None,
    profile: str | None = None,
    tell: Callable[[Check], None] | None = None,
    more: Sequence[CheckEntry] = (),
) -> list[Check]:
    """Run every check of a profile, slow ones in parallel.

    Without a project, checks that need one fail, but are not required. The profile is the project's, else laptop;
    `tell` is called with each finished check, and `more` are checks beside those of the table, which come last.
    """
    settings = project.settings if project else Settings()
    context = CheckContext(project, settings, profile or settings.profile)
    entries = [entry for entry in (*TABLE, *more) if context.like in entry.shown]
    done: dict[str, Check] = {}
    # most checks start a program, and a laptop has few cores
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting = [pool.submit(run_check, entry, context) for entry in entries]
        for finished in as_completed(waiting):
            check = finished.result()
            done[check.name] = check
            if tell:
                tell(check)
    return [done[entry.name] for entry in entries]


def run_check(entry: CheckEntry, context: CheckContext) -> Check:
    """Run one check; a known error becomes an outcome with its remedy."""
    required = context.like in entry.required
    try:
        found = entry.look(context)
    except GstError as err:
        return Check(entry.name, False, err.message, "", err.fix, required and not isinstance(err, NoProjectError))
    except ImportError as err:
        return Check(entry.name, False, f"cannot import: {err}", "", "pip install 'gst_jobflow[all]'", required)
    return Check(entry.name, True, found.what, found.version, "", required)


def can_run(found: Sequence[Check]) -> bool:
    """Whether every required check passed."""
    return all(check.ok for check in found if check.required)


# -- python and the project


def python(context: CheckContext) -> CheckResult:
    """Check this Python and this package."""
    return CheckResult(f"{sys.executable}, gst_jobflow {__version__}", platform.python_version())


def packages(context: CheckContext) -> CheckResult:
    """Check the packages that every job needs."""
    missing = [name for name in PACKAGES if not _version(name)]
    if missing:
        raise MissingProgramError(f"missing: {', '.join(missing)}", "pip install 'gst_jobflow[all]'")
    return CheckResult(", ".join(f"{name} {_version(name)}" for name in PACKAGES))


def project_folder(context: CheckContext) -> CheckResult:
    """Check that the project's folders are writable and its secrets private."""
    project = context.need_project()
    for folder in (project.root, project.artifacts_dir, project.runs_dir):
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        try:
            with tempfile.NamedTemporaryFile(dir=existing, prefix=".gst-"):
                pass
        except OSError as err:
            raise InputError(
                f"{existing} is not writable: {err.strerror}", "grant access, or set another folder"
            ) from err
    # the lock files of gst recover and gst launch --queue are empty
    held = [file for file in project.private_dir.glob("*") if file.is_file() and file.suffix != ".lock"]
    secret = [file for file in held if file.stat().st_mode & 0o077]
    if secret:
        raise InputError(f"others may read {secret[0]}", f"chmod 600 {secret[0]}")
    if not (project.fw_configs_dir / "my_launchpad.yaml").is_file():
        raise InputError(f"{project.fw_configs_dir} is incomplete", f"gst init {project.root} --force")
    return CheckResult(str(project.root))


def disk(context: CheckContext) -> CheckResult:
    """Check the free disk space for data, runs and files."""
    folder = context.project.root if context.project else Path.cwd()
    free_GB = shutil.disk_usage(folder).free / 1e9
    if free_GB < _FREE_DISK_GB:
        raise InputError(f"{free_GB:.1f} GB free at {folder}, {_FREE_DISK_GB:g} GB needed", "free some disk space")
    return CheckResult(f"{free_GB:.0f} GB free")


def memory(context: CheckContext) -> CheckResult:
    """Check the memory of this machine."""
    total_GB = psutil.virtual_memory().total / 1e9
    if total_GB < _MEMORY_GB:
        raise InputError(f"{total_GB:.1f} GB of memory, {_MEMORY_GB:g} GB needed", "use smaller cells")
    return CheckResult(f"{total_GB:.0f} GB, {len(os.sched_getaffinity(0))} cores")


# -- the database


def mongod_program(context: CheckContext) -> CheckResult:
    """Check the program mongod of a project with its own database."""
    if context.project and external_uri(context.project) is not None:
        return CheckResult("not needed: external MongoDB")
    program = find_mongod(context.settings.mongo.mongod)
    lines = _output([str(program), "--version"]).splitlines()
    return CheckResult(str(program), lines[0].rpartition("v")[2] if lines else "")


def database(context: CheckContext) -> CheckResult:
    """Check that the server accepts our login."""
    status = LocalMongod(context.need_project()).status()
    if not status.running:
        raise DatabaseError(status.problem, status.fix)
    return CheckResult(status.uri, status.version or "")


def check_launchpad(context: CheckContext) -> CheckResult:
    """Check that FireWorks' launchpad is prepared."""
    base = connect(context.need_project())
    with base.client:
        if base["fw_id_assigner"].find_one({}, {"_id": 1}) is None:
            raise DatabaseError("the launchpad is not initialised", "gst db migrate")
        return CheckResult(f"{base['fireworks'].estimated_document_count()} fireworks", _version("fireworks"))


def check_job_store(context: CheckContext) -> CheckResult:
    """Check that jobflow's outputs can be written and read."""
    collection = connect(context.need_project())[JOB_STORE_COLLECTION]
    probe = {"_id": ObjectId(), "uuid": "gst doctor", "index": 0}
    try:
        with collection.database.client:
            collection.insert_one(probe)
            collection.delete_one({"_id": probe["_id"]})
            return CheckResult(f"{collection.estimated_document_count()} outputs", _version("jobflow"))
    except PyMongoError as err:
        raise DatabaseError(
            f"the job store cannot be written ({type(err).__name__})", "grant the user readWrite there"
        ) from err


def reachable_from_nodes(context: CheckContext) -> CheckResult:
    """Check whether compute nodes can reach the database."""
    where = connection(context.need_project())
    if not where.external:
        raise DatabaseError(
            "the project's own mongod listens on this host only; jobs on other nodes cannot reach it",
            "write the URI of a reachable MongoDB to FILE, then: gst init DIR --force --mongo-uri-file FILE",
        )
    return CheckResult(where.shown)


# -- programs


def lammps(context: CheckContext) -> CheckResult:
    """Run one real step of `pace` and one of `pace/extrapolation`."""
    engine = lammps_engine(context.settings)
    version = ""
    with tempfile.TemporaryDirectory(prefix="gst-") as name:
        folder = Path(name)
        (folder / "p.yaml").write_text(_POTENTIAL)
        with (folder / "p.asi").open("wb") as file:
            np.savez(file, Ge=np.eye(_N_FUNCTIONS))
        grade = (
            "fix g all pair 1 pace/extrapolation gamma 1\ncompute m all reduce max f_g\nthermo_style custom step pe c_m"
        )
        for style, files, extra, gamma in (
            ("pace", "p.yaml", "", "1"),
            ("pace/extrapolation", "p.yaml p.asi", grade, "$(c_m)"),
        ):
            deck = _DECK.format(style=style, files=files, extra=extra, gamma=gamma)
            version = engine.run(deck, folder, timeout_s=_IMPORT_S).require_success().version
            _not_zero((folder / "log.lammps").read_text(), style)
    return CheckResult(
        f"{engine.command[0]} on {counted(engine.ranks, 'rank')}: a step of pace and pace/extrapolation", version
    )


def pacemaker(context: CheckContext) -> CheckResult:
    """Check pacemaker's programs and import its tensorpot evaluator."""
    runner = pacemaker_runner(context.settings)
    code = (
        "import pyace, tensorflow, tensorpotential.compat.pace\n"
        "from importlib.metadata import version as v\n"
        "print('python-ace', v('python-ace'), 'tensorpotential', v('tensorpotential'),"
        " 'tensorflow', tensorflow.__version__, len(tensorflow.config.list_physical_devices('GPU')), 'GPU')"
    )
    said = _import(str(runner.python), code, "scripts/install_pacemaker", runner.environment())
    return CheckResult(f"{runner.pacemaker}: {said}", said.split()[1])


def tblite(context: CheckContext) -> CheckResult:
    """Run a GFN1-xTB single point of two atoms."""
    # large enough for the Gamma point
    atoms = Atoms("GeTe", [[2, 5, 5], [4.7, 5, 5]], cell=[10, 10, 10], pbc=True)
    with tempfile.TemporaryDirectory(prefix="gst-") as name:
        label = tblite_backend().compute(atoms, Path(name))
    if not label.converged:
        raise RunError(f"the single point failed: {label.reason}", "pip install --force-reinstall tblite")
    return CheckResult(f"GFN1-xTB, GeTe: {label.energy_eV:.2f} eV", _version("tblite"))


def calculators(context: CheckContext) -> CheckResult:
    """List the installed ASE calculators; none is required."""
    return CheckResult(", ".join(found()))


def cp2k(context: CheckContext) -> CheckResult:
    """Check CP2K and its data files."""
    wanted = context.settings.cp2k
    found = Cp2kSettings.discover(**({"program": wanted.command} if wanted.command else {}))
    data = str(wanted.data_dir or found.data_dir)
    if not (Path(data) / "GTH_POTENTIALS").is_file():
        raise MissingProgramError(f"{found.program} has no data files", f"{FIX}; or set cp2k.data_dir")
    return CheckResult(f"{found.program}, data in {data}", cp2k_version(found.program))


def material(context: CheckContext) -> CheckResult:
    """Check the material file and what it offers."""
    found = context.material()
    crystals = [*(["rock salt"] if found.rocksalt_A else []), *(f"trigonal {formula}" for formula in found.trigonal)]
    offers = f"{counted(len(found.compositions), 'composition')}, {', '.join(crystals) or 'no crystal'}"
    return CheckResult(f"{found.name}: {', '.join(found.elements)}, anion {found.anion}; {offers}")


def plugins(context: CheckContext) -> CheckResult:
    """Import what other packages offer."""
    lines = []
    for kind in KINDS:
        for name, point in offered(kind).items():
            if kind != "calculators":  # which often take long to import
                loaded(kind, point)
            lines.append(f"{kind.replace('_', ' ')}: {name} ({distribution(point)})")
    return CheckResult("; ".join(lines) or "none installed")


def vasp(context: CheckContext) -> CheckResult:
    """Check VASP's command and the POTCARs of the material."""
    wanted = context.settings.vasp
    if not wanted.command:
        raise MissingProgramError("no vasp.command is set", "set vasp.command, for example 'srun vasp_std' (licensed)")
    find_command(wanted.command)
    root = wanted.potcar_dir or os.environ.get("PMG_VASP_PSP_DIR")
    if not root:
        raise MissingProgramError("no folder of POTCARs is set", "set vasp.potcar_dir or PMG_VASP_PSP_DIR")
    potcars = context.material().labels.get("vasp", {}).get("potcars", {})
    missing = [name for name in potcars.values() if not _potcar(Path(root), name)]
    if missing:
        raise MissingProgramError(
            f"{root} has no PBE_54 POTCAR for {', '.join(missing)}", "pmg config -p VASP_POTCARS FOLDER"
        )
    return CheckResult(f"{wanted.command}, POTCARs in {root}")


def slurm(context: CheckContext) -> CheckResult:
    """Check SLURM's commands and that its controller answers."""
    missing = [name for name in ("sbatch", "squeue", "scontrol", "sinfo") if shutil.which(name) is None]
    if missing:
        raise MissingProgramError(f"not on PATH: {', '.join(missing)}", "load SLURM's module, or work on a login node")
    nodes = _output(["sinfo", "-h", "-o", "%D"]).split()
    version = _output(["sinfo", "--version"]).split()
    return CheckResult(f"{sum(int(n) for n in nodes if n.isdigit())} nodes", version[-1] if version else "")


def queue_settings(context: CheckContext) -> CheckResult:
    """Check that SLURM would accept a job of each category."""
    slurm(context)
    project = _with_queue(context)
    if refused := refused_categories(project):
        category, why = next(iter(refused.items()))
        raise RunError(
            f"sbatch refuses jobs of {', '.join(refused)}; {category}: {why[:200]}",
            f"correct queue.{category} in gst.yaml",
        )
    return CheckResult("SLURM takes jobs of every category")


def queue_job(context: CheckContext) -> CheckResult:
    """Run a job through the queue that looks for the project and its database."""
    slurm(context)
    project = _with_queue(context)
    return CheckResult(run_test_job(project, project.settings.queue.test_wait_s))


def _with_queue(context: CheckContext) -> Project:
    """Return the project, whose profile must have a queue."""
    project = context.need_project()
    if not has_queue(project.settings.profile):
        raise InputError(
            f"this project is of profile {project.settings.profile}",
            f"set 'profile: {context.profile}' in gst.yaml, then: gst init DIR --force",
        )
    return project


def ovito(context: CheckContext) -> CheckResult:
    """Check that OVITO imports and renders without a display."""
    code = "import ovito, ovito.io, ovito.modifiers, ovito.vis; print(ovito.version_string)"
    return CheckResult("imported", _import(sys.executable, code, "pip install 'gst_jobflow[analysis]'"))


def matplotlib(context: CheckContext) -> CheckResult:
    """Check the package that draws figures."""
    missing = [name for name in ("matplotlib", "jinja2") if not _version(name)]
    if missing:
        raise MissingProgramError(f"missing: {', '.join(missing)}", "pip install 'gst_jobflow[analysis]'")
    return CheckResult("installed", _version("matplotlib"))


TABLE = (
    CheckEntry("python", python, ALL, ALL),
    CheckEntry("packages", packages, ALL, ALL),
    CheckEntry("project", project_folder, ALL, ALL),
    CheckEntry("material", material, ALL, ALL),
    CheckEntry("mongod", mongod_program, ALL, ALL),
    CheckEntry("database", database, ALL, ALL),
    CheckEntry("launchpad", check_launchpad, ALL, ALL),
    CheckEntry("job store", check_job_store, ALL, ALL),
    CheckEntry("database from nodes", reachable_from_nodes, CLUSTERS),
    CheckEntry("slurm", slurm, CLUSTERS, CLUSTERS),
    CheckEntry("queue settings", queue_settings, CLUSTERS, CLUSTERS),
    CheckEntry("queue job", queue_job, CLUSTERS, CLUSTERS),
    CheckEntry("lammps", lammps, ALL, ALL),
    CheckEntry("pacemaker", pacemaker, ALL, ALL),
    CheckEntry("tblite", tblite, ALL, ("laptop",)),
    CheckEntry("cp2k", cp2k, ALL),
    CheckEntry("vasp", vasp, ALL),
    CheckEntry("calculators", calculators, ALL),
    CheckEntry("plugins", plugins, ALL, ALL),
    CheckEntry("ovito", ovito, ALL, ALL),
    CheckEntry("figures", matplotlib, ALL, ALL),
    CheckEntry("disk", disk, ALL, ALL),
    CheckEntry("memory", memory, ALL),
)

# -- small things


def _not_zero(text: str, style: str) -> None:
    """Refuse zero energy or extrapolation grade: the pair style exists but computes nothing."""
    words = next((line.split() for line in text.splitlines() if line.startswith("GST-FINISHED energy")), [])
    try:
        energy, gamma = float(words[2]), float(words[4])
    except (IndexError, ValueError) as err:
        raise RunError(f"LAMMPS printed no result of {style}", "install another LAMMPS") from err
    if energy == 0 or not gamma > 0:
        raise RunError(
            f"{style} computes nothing here (energy {energy:g} eV, gamma {gamma:g})",
            "scripts/install_lammps_pace (LAMMPS before November 2023 has no gamma)",
        )


def _potcar(root: Path, name: str) -> bool:
    folder = root / "POT_GGA_PAW_PBE_54"
    places = (folder / f"POTCAR.{name}", folder / name / "POTCAR")
    return any(Path(f"{place}{end}").is_file() for place in places for end in ("", ".gz", ".bz2", ".Z"))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _import(interpreter: str, code: str, fix: str, environment: dict[str, str] | None = None) -> str:
    """Run `code` in a separate Python, which a broken package may crash; return its last line."""
    said = _output([interpreter, "-c", code], fix, environment)
    lines = said.strip().splitlines()
    return lines[-1] if lines else ""


def _output(command: list[str], fix: str = "", environment: dict[str, str] | None = None) -> str:
    """Run a short program and return what it printed; one that fails counts as missing."""
    name = Path(command[0]).name
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    except OSError as err:
        raise MissingProgramError(f"{name} does not start: {err.strerror}", fix) from err
    try:
        out, error = process.communicate(timeout=_IMPORT_S)
    except subprocess.TimeoutExpired as err:
        end_group(process.pid, grace_s=1.0)
        process.communicate()
        raise MissingProgramError(f"{name} does not answer within {_IMPORT_S:g} s", fix) from err
    if process.returncode != 0:
        lines = error.strip().splitlines() or [f"it ends with status {process.returncode}"]
        raise MissingProgramError(f"{name}: {lines[-1]}", fix)
    return out
