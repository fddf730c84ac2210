"""Write a project's config files from the templates in `fw_configs/`, for lpad, rlaunch, qlaunch and jobflow."""

from __future__ import annotations

import json
import re
import shlex
import sys
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from gst_jobflow.base.atomic import write_text
from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.plugins import resolve
from gst_jobflow.base.resources import Resources
from gst_jobflow.base.settings import PROFILES, PROJECT_VARIABLE, Project
from gst_jobflow.store.address import AUTH_SOURCE, LOOPBACK, Connection, connection
from gst_jobflow.store.connect import job_store_arguments

CONFIG_FILES = ("my_launchpad.yaml", "my_fworker.yaml", "my_qadapter.yaml", "FW_config.yaml", "jobflow.yaml")
SECRET_FILES = ("my_launchpad.yaml", "jobflow.yaml")
FW_CONFIG = "FW_config.yaml"
JOB_SCRIPT = "job_script.txt"

# FireWorks' reservation mode appends the id of the firework
_ONE = " singleshot"
_DERIVED = "# Generated from my_qadapter.yaml and the settings under `queue` in gst.yaml: edit those instead.\n"
_BLANK = re.compile(r"@\{([a-z_]+)\}")


def fill(text: str, values: dict[str, str]) -> str:
    """Replace every `@{name}` of a template's text; KeyError if its value is missing."""
    return _BLANK.sub(lambda match: values[match.group(1)], text)


def render_config(profile: str, root: Path, where: Connection, bin_dir: Path) -> dict[str, str]:
    """Return the text of every config file of `profile` for the project at `root`.

    The password of the database goes into `SECRET_FILES` only. `bin_dir` holds `rlaunch` and the other programs of this
    environment.
    """
    values = {**_paths(root, bin_dir), **_access(where)}
    return {name: fill((profile_folder(profile) / name).read_text(), values) for name in CONFIG_FILES}


def write_configs(project: Project) -> list[Path]:
    """Write all config files of the project's profile; return those that changed.

    An edited file is kept beside the new one as `NAME.bak`.

    Raises
    ------
    DatabaseError
        The project has no credentials.
    InputError
        The project's path is not safe in a job script.
    """
    return _write(project, set(CONFIG_FILES))


def write_connection_configs(project: Project) -> list[Path]:
    """Write missing files and those that hold the connection; keep the others."""
    missing = {name for name in CONFIG_FILES if not (project.fw_configs_dir / name).exists()}
    return _write(project, missing | set(SECRET_FILES))


def environment(project: Project) -> dict[str, str]:
    """Return the environment variables by which programs find the project; none is secret."""
    return {
        PROJECT_VARIABLE: str(project.root),
        "JOBFLOW_CONFIG_FILE": str(project.fw_configs_dir / "jobflow.yaml"),
        "FW_CONFIG_FILE": str(project.root / FW_CONFIG),
    }


def _write(project: Project, names: set[str]) -> list[Path]:
    if any(character in str(project.root) for character in "\n\r"):
        raise InputError(f"the project's path {str(project.root)!r} holds a line break", "rename the folder")
    texts = render_config(project.settings.profile, project.root, connection(project), Path(sys.executable).parent)
    folder = project.fw_configs_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "logs").mkdir(exist_ok=True)
    changed = [folder / name for name in CONFIG_FILES if name in names and _put(folder / name, texts[name])]
    # FireWorks searches only the working directory
    link = project.root / FW_CONFIG
    if not link.is_symlink() and not link.exists():
        link.symlink_to(Path(folder.name) / FW_CONFIG)
    return changed + write_category_configs(project)


def write_category_configs(project: Project) -> list[Path]:
    """Write a worker and a queue adapter for each category, from `my_qadapter.yaml` and the settings.

    Returns the changed files; a profile without a queue has none. Raises as `queue_base`.
    """
    folder = project.fw_configs_dir
    if not has_queue(project.settings.profile):
        return []
    changed = [folder / JOB_SCRIPT] if _put(folder / JOB_SCRIPT, config_template(JOB_SCRIPT).read_text()) else []
    base = queue_base(project)
    for category in CATEGORIES:
        worker, adapter = category_files(project, category)
        launch = f"{base['rocket_launch'].removesuffix(_ONE)} -w {shlex.quote(str(worker))}{_ONE}"
        for file, content in (
            (worker, {"name": f"{project.settings.profile}-{category}", "category": category, "query": "{}"}),
            (adapter, {**base, **resources(project, category).queueadapter(), "rocket_launch": launch}),
        ):
            text = _DERIVED + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            if _put(file, text):
                changed.append(file)
    return changed


def category_files(project: Project, category: str) -> tuple[Path, Path]:
    """Return the config files of a category's worker and queue adapter."""
    folder = project.fw_configs_dir
    return folder / f"fworker_{category}.yaml", folder / f"qadapter_{category}.yaml"


def queue_base(project: Project) -> dict[str, Any]:
    """Return the content of `my_qadapter.yaml`: the part common to all job scripts.

    A file that is missing, or that FireWorks cannot read, is an InputError.
    """
    file = project.fw_configs_dir / "my_qadapter.yaml"
    fix = f"correct {file}, or rewrite it: gst init {shlex.quote(str(project.root))} --force"
    try:
        content = yaml.safe_load(file.read_text())
    except FileNotFoundError as err:
        raise InputError(f"{file} is missing", fix) from err
    except yaml.YAMLError as err:
        raise InputError(f"{file} is not valid YAML: {str(err).splitlines()[0]}", fix) from err
    if not isinstance(content, dict) or not str(content.get("rocket_launch", "")).endswith(_ONE):
        raise InputError(f"{file}: rocket_launch does not end with '{_ONE.strip()}'", fix)
    return content


def resources(project: Project, category: str) -> Resources:
    """Return the resources of a category: its settings replace those of `every`, which replace the profile's."""
    content = yaml.safe_load((profile_folder(project.settings.profile) / "resources.yaml").read_text())
    profile = {name: Resources.model_validate(values) for name, values in content.items()}
    queue = project.settings.queue
    general = queue.every.over(profile[category].over(profile["every"]))
    return getattr(queue, category).over(general)


def profile_folder(profile: str) -> Traversable:
    """Return the templates of a profile: a folder of `fw_configs/`, or the package that a plugin names."""
    if profile in PROFILES:
        return config_template(profile)
    return files(resolve("profiles", profile, {}))


def has_queue(profile: str) -> bool:
    """Whether jobs of a profile go into SLURM's queue: it says what they ask for by default."""
    return (profile_folder(profile) / "resources.yaml").is_file()


def config_template(name: str) -> Traversable:
    """Return a file or folder of the templates in `fw_configs/`."""
    return files("gst_jobflow.fw_configs") / name


def _put(file: Path, text: str) -> bool:
    """Write `text` atomically; return whether the file changed."""
    mode = 0o600 if file.name in SECRET_FILES else 0o644
    old = file.read_text() if file.exists() else None
    if old == text:
        file.chmod(mode)
        return False
    if old is not None and file.name in CONFIG_FILES and file.name not in SECRET_FILES:
        file.replace(file.with_name(f"{file.name}.bak"))
    write_text(file, text, mode=mode, durable=False)
    return True


def _paths(root: Path, bin_dir: Path) -> dict[str, str]:
    """Return paths as YAML text; those named `…_sh` are quoted for the shell."""
    configs = root / "fw_configs"
    plain = {
        "configs": configs,
        "logs": configs / "logs",
        "launchpad_file": configs / "my_launchpad.yaml",
        "fworker_file": configs / "my_fworker.yaml",
        "qadapter_file": configs / "my_qadapter.yaml",
        "job_script_file": configs / JOB_SCRIPT,
    }
    rlaunch = shlex.quote(str(bin_dir / "rlaunch"))
    return {
        **{name: json.dumps(str(path)) for name, path in plain.items()},
        "project_sh": shlex.quote(str(root)),
        "jobflow_sh": shlex.quote(str(configs / "jobflow.yaml")),
        "fw_config_sh": shlex.quote(str(configs / FW_CONFIG)),
        "bin_sh": shlex.quote(str(bin_dir)),
        "rocket_launch": json.dumps(f"{rlaunch} -c {shlex.quote(str(configs))} singleshot"),
    }


def _access(where: Connection) -> dict[str, str]:
    """Return the connection as YAML text; JSON is YAML."""
    access: dict[str, Any] = {
        "host": where.uri or LOOPBACK,
        "port": None if where.external else where.port,
        "database": where.database,
        "username": None if where.external else where.username,
        "password": None if where.external else where.password,
        "authsource": None if where.external else AUTH_SOURCE,
        "uri_mode": where.external,
        "client_options": where.client_options,
        "docs_store": {"type": "MongoStore", **job_store_arguments(where)},
    }
    return {name: json.dumps(value) for name, value in access.items()}
