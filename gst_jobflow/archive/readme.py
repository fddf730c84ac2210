"""Write README.md and CITATION.cff of a bundle: content, methods and licence."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from gst_jobflow.archive.manifests import BundleManifest, Citation, in_words
from gst_jobflow.exporting.markdown import markdown_table

_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
_LISTED = 50
NO_LICENCE = "NO LICENCE IS STATED: without one nobody may use or pass this on."


@dataclass
class Facts:
    """Facts about the documents, gathered while they are written; their size does not grow with the documents."""

    newest: datetime | None = None
    config_types: Counter[str] = field(default_factory=Counter)
    elements: set[str] = field(default_factory=set)
    methods: dict[str, Any] = field(default_factory=dict)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    listed: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def take(self, collection: str, document: dict[str, Any]) -> None:
        """Add a document."""
        made = document["created_at"]
        self.newest = made if self.newest is None or made > self.newest else self.newest
        if collection == "structures":
            self.config_types[document["config_type"]] += 1
            self.elements |= set(document["elements"])
        elif collection == "labels":
            self.methods.setdefault(document["fingerprint"], document["method"])
            self.labels[document["fingerprint"], document["state"]] += 1
        elif collection not in ("attempts", "trajectories"):
            known = self.listed.setdefault(collection, [])
            if len(known) < _LISTED:
                known.append((document["_id"], document.get("name", ""), _words(collection, document)))


def _words(collection: str, document: dict[str, Any]) -> str:
    if collection == "datasets":
        counts = ", ".join(f"{count} {split}" for split, count in sorted(document["counts"].items()))
        return f"{counts}; method {document['fingerprint']}"
    if collection == "potentials":
        test = (document.get("rmse") or {}).get("test")
        errors = ""
        if test:
            errors = f"; test RMSE {test['energy_meV_per_atom']:.3g} meV/atom, {test['force_meV_per_A']:.4g} meV/Å"
        return f"{' '.join(document['elements'])}, cutoff {document['cutoff_A']:g} Å{errors}"
    if collection == "cycles":
        return f"{document['device']}, {document['formula']}, {document['n_atoms']} atoms, {document['state']}"
    return f"{document['kind']}, {document['state']}"


def readme(manifest: BundleManifest, facts: Facts) -> str:
    """Return the text of README.md."""
    said = manifest.citation
    parts = [
        f"# {said.title or 'Phase-change materials: ' + in_words(manifest.what)}",
        said.description or f"A bundle of {in_words(manifest.what)}.",
        markdown_table(
            ("", ""),
            [
                ("licence", said.licence or f"**{NO_LICENCE}**"),
                ("authors", "; ".join(said.authors) or "not stated"),
                ("DOI", said.doi or "not stated"),
                ("to be cited as", said.citation or "not stated"),
                ("made by", f"{manifest.made_by}, schema version {manifest.schema_version}"),
                ("newest document", f"{facts.newest:%Y-%m-%d %H:%M:%S} UTC" if facts.newest else "none"),
            ],
        ),
        "## What is in it",
        markdown_table(
            ("collection", "documents"), [(name, part.documents) for name, part in manifest.collections.items()]
        ),
        f"Files: {manifest.files.count} ({manifest.files.size_bytes} bytes), named by their SHA-256.",
        _left_out(manifest),
        _structures(facts),
        *(_listed(name, rows, manifest.collections[name].documents) for name, rows in facts.listed.items() if rows),
        _methods(facts),
        _READING,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _left_out(manifest: BundleManifest) -> str:
    if not manifest.files.left_out:
        return ""
    why = {"licensed": "its licence does not let it be passed on", "missing": "it was missing when this was made"}
    rows = [(ref.name, ref.size_bytes, why[ref.reason], ref.sha256) for ref in manifest.files.left_out]
    return "Left out, although documents name them:\n\n" + markdown_table(("name", "bytes", "why", "SHA-256"), rows)


def _structures(facts: Facts) -> str:
    if not facts.config_types:
        return ""
    rows = sorted(facts.config_types.items())
    return f"Structures of {', '.join(sorted(facts.elements))}:\n\n" + markdown_table(
        ("config_type", "structures"), rows
    )


def _listed(name: str, rows: list[tuple[str, str, str]], total: int) -> str:
    more = f"\n\n… and {total - len(rows)} more" if total > len(rows) else ""
    return f"### {name}\n\n" + markdown_table(("id", "name", ""), rows) + more


def _methods(facts: Facts) -> str:
    if not facts.methods:
        return ""
    parts = ["## Methods", "A fingerprint is the hash of everything in a method that changes the physics."]
    for fingerprint in sorted(facts.methods):
        states = sorted((state, n) for (known, state), n in facts.labels.items() if known == fingerprint)
        counts = ", ".join(f"{n} {state}" for state, n in states)
        text = json.dumps(facts.methods[fingerprint], indent=2, sort_keys=True, ensure_ascii=False, default=str)
        parts.append(f"### `{fingerprint}`\n\nLabels: {counts}\n\n```json\n{text}\n```")
    return "\n\n".join(parts)


_READING = """## Reading it

`sha256sum -c checksums.sha256` checks that nothing is damaged. `gst import bundle FOLDER_OR_TAR` puts everything into a
project of gst_jobflow. Without that program: each line of `documents/COLLECTION.jsonl.gz` is one document in MongoDB's
relaxed Extended JSON, which `mongoimport` reads. Arrays are packed little-endian bytes in base64:

```python
import base64, gzip, json
import numpy as np

with gzip.open("documents/structures.jsonl.gz", "rt", encoding="utf-8") as lines:
    for line in lines:
        document = json.loads(line)
        if document["positions"] is not None:  # a large structure keeps both in the file that atoms_artifact names
            data = base64.b64decode(document["positions"]["$binary"]["base64"])
            positions_A = np.frombuffer(data, "<f8").reshape(-1, 3)
            numbers = np.frombuffer(base64.b64decode(document["numbers"]["$binary"]["base64"]), "u1")
```

Labels hold total energies (eV), forces (eV/Å, as positions) and stresses (eV/Å³, Voigt xx, yy, zz, yz, xz, xy, positive
is tension); `structure_id` says of what. Wherever a document holds `sha256`, `size_bytes` and `name`, the file is
`files/` + the first two digits + `/` + the rest of the hash. The members of a dataset are such a file, a JSON line
each."""


def citation_file(said: Citation) -> str | None:
    """Return the text of CITATION.cff; None without a title and authors."""
    if not (said.title and said.authors):
        return None
    content: dict[str, Any] = {
        "cff-version": "1.2.0",
        "message": said.citation or "Please cite this data as below.",
        "type": "dataset",
        "title": said.title,
        "authors": [_author(name) for name in said.authors],
    }
    if said.description:
        content["abstract"] = said.description
    if said.doi:
        content["doi"] = said.doi
    if said.licence.startswith(("http://", "https://")):
        content["license-url"] = said.licence
    elif _SPDX.fullmatch(said.licence):
        content["license"] = said.licence
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


def _author(name: str) -> dict[str, str]:
    family, comma, given = name.partition(",")
    return {"family-names": family.strip(), "given-names": given.strip()} if comma else {"name": name}
