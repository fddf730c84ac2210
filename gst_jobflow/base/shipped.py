"""YAML files that this package ships, and those of users in their place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from gst_jobflow.base.errors import InputError, nearest


@dataclass(frozen=True)
class Shipped:
    """Shipped files of one kind, such as `plan`, which are in the folder `plans` of a package."""

    kind: str
    package: str

    def names(self) -> list[str]:
        """Return their names."""
        files = (resources.files(self.package) / f"{self.kind}s").iterdir()
        return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))

    def text(self, name: str, folder: Path = Path(), others: Iterable[str] = ()) -> str:
        """Return the text of a shipped file or, if none has this name, of a user's file (relative to `folder`).

        If there is neither, or it is no text, that is an InputError with the nearest of the shipped names and `others`.
        """
        if name in (known := self.names()):
            return (resources.files(self.package) / f"{self.kind}s" / f"{name}.yaml").read_text("utf-8")
        file = folder / Path(name).expanduser()
        if not file.is_file():
            raise InputError(f"no {self.kind} or file '{name}'", nearest(name, [*others, *known]))
        try:
            return file.read_text("utf-8")
        except UnicodeDecodeError as err:
            raise InputError(f"{name} is not text", "name a YAML file") from err


def yaml_mapping(text: str, where: str, example: str = "") -> dict[str, Any]:
    """Return the mapping that a YAML text holds; else InputError, with a remedy that ends with `example`."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise InputError(f"{where} is not YAML: {str(err).splitlines()[0]}", "correct its syntax") from err
    if not isinstance(content, dict):
        raise InputError(f"{where} is not a mapping", f"write 'key: value' lines{example}")
    return content
