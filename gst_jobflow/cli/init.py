"""`gst init`: create a project folder."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.plugins import known
from gst_jobflow.base.settings import PROFILES, PROJECT_FILE, Project, check_profile
from gst_jobflow.cli.common import say
from gst_jobflow.cli.option_group import argument, flag, option
from gst_jobflow.devices.programme import check_programmes
from gst_jobflow.labelling.choose import check_labels
from gst_jobflow.launch.configs import config_template, fill, write_configs
from gst_jobflow.launch.services import make_credentials
from gst_jobflow.store.address import connection, credentials_file, external_uri, uri_file
from gst_jobflow.structures.material import MATERIALS, default_material, load_material, material_of

MATERIAL_FILE = "material.yaml"
DEMO = ("gst demo", "run the whole paper in miniature")


def command(
    folder: Path = argument("Project folder; created if missing.", default=..., metavar="DIR"),
    profile: str | None = option(f"Where the work runs: {', '.join(known('profiles', PROFILES))}; default: laptop."),
    name: str | None = option("Name of the database, if projects share a MongoDB; default: that of the URI, else gst."),
    mongo_uri_file: Path | None = option(
        "File with the URI of an external MongoDB; or set GST_MONGO__URI. Default: own mongod."
    ),
    artifacts_dir: Path | None = option("Shared folder of stored files; default: in the project."),
    material: str | None = option(
        "What the project is about: gst (default), sb-te, cr-sb-te, or your own YAML file, which is copied."
    ),
    force: bool = flag("Rewrite fw_configs/ of an existing project.", "--force"),
) -> None:
    """Create a project: a folder with settings, private state and FireWorks' config files."""
    folder = folder.expanduser().absolute()
    exists = _check_folder(folder, force)
    chosen = check_profile(profile or PROFILES[0])
    uri = _external_uri(mongo_uri_file)
    shared = artifacts_dir and artifacts_dir.expanduser().absolute()
    if material is not None:
        # a fault of it must leave nothing behind; its reader does not know settings of backends, and programmes
        check_labels(found := load_material(material, Path.cwd()))
        check_programmes(found)
    if exists:
        project = Project(folder)
        _refuse_other_settings(project, profile, name, shared)
        _refuse_other_material(project, material)
        written = _configure(project, uri)
    else:
        _check_artifacts_dir(shared)
        database = name or _database_of(uri) or "gst"
        project, written = make_project(folder, chosen, database, uri, shared, material)
    for file in written:
        say(f"wrote {file}")
    _next_steps(project, new=not exists)


def _check_artifacts_dir(shared: Path | None) -> None:
    if shared and not shared.is_dir():
        if shared.exists():
            raise InputError(f"--artifacts-dir {shared} is a file", "name the folder that the owner uses")
        say(f"note: {shared} does not exist yet; name the folder in which the owner of the database keeps files")


def _refuse_other_settings(project: Project, profile: str | None, name: str | None, artifacts_dir: Path | None) -> None:
    """Refuse options that contradict the settings of an existing project."""
    for asked, wanted, key, said in (
        ("--profile", profile, "profile", project.settings.profile),
        ("--name", name, "mongo.database", project.settings.mongo.database),
        ("--artifacts-dir", artifacts_dir, "artifacts_dir", project.artifacts_dir),
    ):
        if wanted not in (None, said):
            raise InputError(
                f"{asked} {wanted}: the settings of this project say {said}",
                f"set {key} in {project.file}, then: gst init DIR --force",
            )


def _refuse_other_material(project: Project, material: str | None) -> None:
    if material is not None and load_material(material, Path.cwd()) != (own := material_of(project)):
        raise InputError(f"--material {material}: this project is about {own.name}", f"set material in {project.file}")


def _check_folder(folder: Path, force: bool) -> bool:
    """Return whether the folder is a project already, which needs `force`."""
    exists = (folder / PROJECT_FILE).exists()
    if exists and not force:
        raise InputError(
            f"{folder} is already a project", "edit its gst.yaml; 'gst init DIR --force' rewrites fw_configs/"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file", "choose another folder")
    return exists


def _database_of(uri: str | None) -> str | None:
    """Return the database named in a URI."""
    place = (uri or "").partition("://")[2].rpartition("@")[2].partition("?")[0]
    return place.partition("/")[2] or None


def make_project(
    folder: Path,
    profile: str,
    database: str,
    uri: str | None = None,
    artifacts_dir: Path | None = None,
    material: str | None = None,
) -> tuple[Project, list[Path]]:
    """Create a project and return it with the configs written; `uri` is that of an external MongoDB.

    A `material` that is a file is copied into the project.
    """
    _make(folder, profile, database, artifacts_dir, material)
    project = Project(folder)
    return project, _configure(project, uri)


def _make(folder: Path, profile: str, database: str, artifacts_dir: Path | None, material: str | None) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,38}", database):
        raise InputError(f"--name {database}: not the name of a database", "use up to 38 letters, digits, '_' and '-'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML, whatever the path holds
        shared = json.dumps(str(artifacts_dir))
        artifacts = "# artifacts_dir: artifacts" if artifacts_dir is None else f"artifacts_dir: {shared}"
        # quoted, since 'on' or '007' would not be text in YAML
        values = {"profile": profile, "database": f"'{database}'", "artifacts": artifacts}
        values["material"] = _material_line(folder, material)
        (folder / PROJECT_FILE).write_text(fill(config_template("gst.yaml").read_text(), values))
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text(config_template("gitignore.txt").read_text())
    except OSError as err:
        raise InputError(f"{folder} cannot be written: {err.strerror}", "choose another folder") from err


def _material_line(folder: Path, material: str | None) -> str:
    """Return the line of gst.yaml, and copy a material file into the project."""
    if material is None:
        return "# material: gst"
    if material in MATERIALS.names():
        return f"material: {material}"
    target = folder / MATERIAL_FILE
    if target.resolve() != Path(material).resolve():
        shutil.copyfile(material, target)
    return f"material: {MATERIAL_FILE}"


def _configure(project: Project, uri: str | None) -> list[Path]:
    project.private_dir.mkdir(mode=0o700, exist_ok=True)
    project.private_dir.chmod(0o700)
    if uri is not None:
        file = uri_file(project)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(uri + "\n")
        file.chmod(0o600)
    elif external_uri(project) is None and not credentials_file(project).exists():
        make_credentials(project)
    return write_configs(project)


def _external_uri(file: Path | None) -> str | None:
    """Return the URI given by file or variable; an invalid one is refused without being printed."""
    if file is not None:
        try:
            uri = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as err:
            raise InputError(f"--mongo-uri-file {file} cannot be read", "give a file with one URI") from err
        source = f"--mongo-uri-file {file}"
    else:
        uri = os.environ.get("GST_MONGO__URI", "").strip()
        source = "GST_MONGO__URI"
        if not uri:
            return None
    if not uri.startswith(("mongodb://", "mongodb+srv://")) or len(uri.split()) != 1:
        raise InputError(f"{source} holds no MongoDB URI", "for example mongodb://user:password@host:27017/?tls=true")
    return uri


def _next_steps(project: Project, new: bool) -> None:
    where = connection(project)
    profile = project.settings.profile
    say(f"{'made' if new else 'refreshed'} project {project.root} (profile {profile})")
    if where.external:
        say(f"database: external, {where.shown}")
    elif profile != "laptop":
        say("note: the project's own mongod listens on this host only. Compute nodes need an external MongoDB:")
        say("      put its URI into a file and run: gst init DIR --force --mongo-uri-file FILE")
    if profile != "laptop":
        say(f"edit:  {project.file}  (queue: account, partition, size, walltime of each category)")
        say(f"       {project.fw_configs_dir / 'my_qadapter.yaml'}  (modules to load)")
    say("next:")
    for step, why in (
        (f"cd {project.root}", ""),
        ("gst doctor", "check programs and services, and how to get what is missing"),
        ("gst db up", "start and prepare the database"),
        *((DEMO,) if material_of(project) == default_material() else ()),
    ):
        say(f"  {step:<14}{'# ' + why if why else ''}".rstrip())
