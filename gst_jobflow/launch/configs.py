"""Fill the templates of `fw_configs/` into a project, so that lpad, rlaunch, qlaunch and jobflow work as they are."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gst_jobflow.errors import InputError
from gst_jobflow.settings import PROJECT_VARIABLE
from gst_jobflow.store.connect import AUTH_SOURCE, LOOPBACK, Connection, connection, job_store_arguments

if TYPE_CHECKING:
    from gst_jobflow.settings import Project

CONFIG_FILES = ("my_launchpad.yaml", "my_fworker.yaml", "my_qadapter.yaml", "FW_config.yaml", "jobflow.yaml")
SECRET_FILES = ("my_launchpad.yaml", "jobflow.yaml")
FW_CONFIG = "FW_config.yaml"

_BLANK = re.compile(r"@\{([a-z_]+)\}")


def fill(template: str, values: dict[str, str]) -> str:
    """Replace every `@{name}` of `template`.

    Raises
    ------
    KeyError
        The template names a value that is not there.
    """
    return _BLANK.sub(lambda match: values[match.group(1)], template)


def render(profile: str, root: Path, where: Connection, bin_dir: Path) -> dict[str, str]:
    """Return the text of every config file of `profile` for the project at `root`.

    Parameters
    ----------
    where
        The database; its password goes into `SECRET_FILES` and nowhere else.
    bin_dir
        Where `rlaunch` and the other programs of this environment are.
    """
    values = {**_paths(root, bin_dir), **_access(where)}
    folder = files("gst_jobflow.fw_configs") / profile
    return {name: fill((folder / name).read_text(), values) for name in CONFIG_FILES}


def write_configs(project: Project) -> list[Path]:
    """Write all config files of the project's profile; return those that changed.

    A file that differed (someone edited it) is kept beside the new one as `NAME.bak`.

    Raises
    ------
    DatabaseError
        There are no credentials to write.
    InputError
        The project's path cannot stand in a job script.
    """
    return _write(project, set(CONFIG_FILES))


def write_connection_configs(project: Project) -> list[Path]:
    """Write the files that hold the connection, and those that are missing; edited others stay as they are."""
    missing = {name for name in CONFIG_FILES if not (project.fw_configs_dir / name).exists()}
    return _write(project, missing | set(SECRET_FILES))


def environment(project: Project) -> dict[str, str]:
    """Return the variables by which a program started for the project finds it; no secret is among them."""
    return {
        PROJECT_VARIABLE: str(project.root),
        "JOBFLOW_CONFIG_FILE": str(project.fw_configs_dir / "jobflow.yaml"),
        "FW_CONFIG_FILE": str(project.root / FW_CONFIG),
    }


def _write(project: Project, names: set[str]) -> list[Path]:
    if any(character in str(project.root) for character in "\n\r"):
        raise InputError(f"a line break in the project's path {str(project.root)!r}", "rename the folder")
    texts = render(project.settings.profile, project.root, connection(project), Path(sys.executable).parent)
    folder = project.fw_configs_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "logs").mkdir(exist_ok=True)
    changed = [folder / name for name in CONFIG_FILES if name in names and _put(folder / name, texts[name])]
    # FireWorks looks for this one in the working directory only
    link = project.root / FW_CONFIG
    if not link.is_symlink() and not link.exists():
        link.symlink_to(Path(folder.name) / FW_CONFIG)
    return changed


def _put(file: Path, text: str) -> bool:
    """Write `text` whole or not at all; return whether the file changed."""
    mode = 0o600 if file.name in SECRET_FILES else 0o644
    old = file.read_text() if file.exists() else None
    if old == text:
        file.chmod(mode)
        return False
    if old is not None and file.name not in SECRET_FILES:
        file.replace(file.with_name(f"{file.name}.bak"))
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    Path(temporary).chmod(mode)
    Path(temporary).replace(file)
    return True


def _paths(root: Path, bin_dir: Path) -> dict[str, str]:
    """Return paths as YAML text, and those for shell lines (`…_sh`) quoted for the shell."""
    configs = root / "fw_configs"
    plain = {
        "configs": configs,
        "logs": configs / "logs",
        "launchpad_file": configs / "my_launchpad.yaml",
        "fworker_file": configs / "my_fworker.yaml",
        "qadapter_file": configs / "my_qadapter.yaml",
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
