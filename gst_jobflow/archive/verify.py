"""Verify checksums, format and versions of a bundle before it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from pydantic import ValidationError

from gst_jobflow.archive.bundle_format import CHECKSUMS, FILE_NAME, FORMAT, MANIFEST, BundleManifest
from gst_jobflow.archive.open_bundle import FIX, Bundle, is_member
from gst_jobflow.base.errors import DatabaseError, DataError
from gst_jobflow.documents import SCHEMA_VERSION
from gst_jobflow.store.files.artifacts import hash_of

_LARGEST_MANIFEST = 256 << 20
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(\S+)")


def verify(bundle: Bundle, progress: Callable[[str, int, int], None] | None = None) -> BundleManifest:
    """Verify every byte of a bundle; return its manifest.

    Raises
    ------
    DataError
        It is no bundle, is damaged or incomplete, or of a later format.
    DatabaseError
        Its documents are of a newer schema version.
    """
    manifest = _manifest(bundle)
    named, files = _checksums(bundle)
    n_files, size_bytes = 0, 0
    for name, content in bundle.members():
        if name == CHECKSUMS:
            continue
        match = FILE_NAME.fullmatch(name)
        digest, size = hash_of(content)
        if match is None:
            if name not in named:
                continue  # somebody's own words beside it; documents that are not named are not imported either
            if named.pop(name) != digest:
                raise _damaged(bundle, name)
            _check_collection(bundle, manifest, name, digest, size)
            continue
        if digest != match[1] + match[2]:
            raise _damaged(bundle, name)
        if bytes.fromhex(digest) in files:
            files.remove(bytes.fromhex(digest))
            n_files, size_bytes = n_files + 1, size_bytes + size
            if progress:
                progress("checked", n_files, manifest.files.count)
    missing = [*named, *(f"file {digest.hex()}" for digest in sorted(files)[:1])]
    if missing:
        raise DataError(f"{bundle.path} is not whole: {missing[0]} is missing; nothing was changed", FIX)
    if (n_files, size_bytes) != (manifest.files.count, manifest.files.size_bytes):
        raise _damaged(bundle, MANIFEST)
    return manifest


def _damaged(bundle: Bundle, name: str) -> DataError:
    return DataError(f"{bundle.path} is damaged: {name} is not what its checksum says; nothing was changed", FIX)


def _check_collection(bundle: Bundle, manifest: BundleManifest, name: str, digest: str, size: int) -> None:
    if not name.startswith("documents/"):
        return
    part = manifest.collections.get(name.removeprefix("documents/").removesuffix(".jsonl.gz"))
    if part is None or (part.sha256, part.size_bytes) != (digest, size):
        raise _damaged(bundle, MANIFEST)


def _content(bundle: Bundle, wanted: str) -> bytes:
    for name, content in bundle.members():
        if name == wanted:
            text = content.read(_LARGEST_MANIFEST + 1)
            if len(text) > _LARGEST_MANIFEST:
                raise DataError(f"{bundle.path}: {wanted} is larger than any; nothing was changed", FIX)
            return text
    raise DataError(f"{bundle.path} is not a bundle: it has no {wanted}", "name one that gst export wrote")


def _manifest(bundle: Bundle) -> BundleManifest:
    no_bundle = DataError(f"{bundle.path} is not a bundle: its {MANIFEST} cannot be read", FIX)
    try:
        values = json.loads(_content(bundle, MANIFEST))
    except (ValueError, RecursionError) as err:
        raise no_bundle from err
    if not isinstance(values, dict) or values.get("kind") != BundleManifest.model_fields["kind"].default:
        raise no_bundle
    if not isinstance(values.get("format"), int) or not isinstance(values.get("schema_version"), int):
        raise no_bundle
    if values["format"] > FORMAT:
        problem = f"{bundle.path} has bundle format {values['format']}, this program reads {FORMAT}"
        raise DataError(problem, "upgrade gst_jobflow")
    if values["schema_version"] > SCHEMA_VERSION:
        raise DatabaseError(
            f"{bundle.path} has schema version {values['schema_version']}, this program knows {SCHEMA_VERSION}",
            "upgrade gst_jobflow",
        )
    try:
        return BundleManifest.model_validate(values)
    except ValidationError as err:
        raise no_bundle from err


def _checksums(bundle: Bundle) -> tuple[dict[str, str], set[bytes]]:
    """Return the checksums of members by name, and the hashes of files, which are their names."""
    named: dict[str, str] = {}
    files: set[bytes] = set()
    for line in _content(bundle, CHECKSUMS).decode("ascii", "replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or not is_member(match[2]) or match[2] == CHECKSUMS:
            raise _damaged(bundle, CHECKSUMS)
        file = FILE_NAME.fullmatch(match[2])
        if file is None:
            named[match[2]] = match[1]
        elif file[1] + file[2] == match[1]:
            files.add(bytes.fromhex(match[1]))
        else:
            raise _damaged(bundle, CHECKSUMS)
    if MANIFEST not in named:
        raise _damaged(bundle, CHECKSUMS)
    return named, files
