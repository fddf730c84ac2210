"""From a record of a file to what is stored of it: a structure and, where it was computed, a label.

Nothing here knows of batches, workers or the database: the same record gives the same documents wherever it is built.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import ConfigType, Label, Structure
from gst_jobflow.documents.base import derive_id
from gst_jobflow.importing.checks import check_atoms
from gst_jobflow.importing.formats import read_records
from gst_jobflow.importing.records import computed_of
from gst_jobflow.store.atoms import structure_document
from gst_jobflow.structures.document_fields import content_hash

if TYPE_CHECKING:
    from pathlib import Path

    from gst_jobflow.importing.options import ImportOptions
    from gst_jobflow.importing.records import Computed, Record
    from gst_jobflow.store.files.artifacts import ArtifactStore


def build(record: Record, options: ImportOptions, artifacts: ArtifactStore | None) -> tuple[Structure, Label | None]:
    """Check a record and make its documents; coordinates of a large structure go to `artifacts`.

    Without `artifacts` there must be none.

    Raises
    ------
    DataError
        A bad record: it could not be read, or what it holds cannot be believed.
    InputError
        It holds energies, and nothing says by which method.
    """
    if record.atoms is None:
        raise DataError(record.problem)
    check_atoms(record.atoms, options.min_distance_A)
    computed = computed_of(record.atoms)
    structure = _structure(record, options, artifacts)
    return structure, None if computed is None else _label(record, structure, computed, options)


def _structure(record: Record, options: ImportOptions, artifacts: ArtifactStore | None) -> Structure:
    atoms = record.atoms
    assert atoms is not None  # build sees to it
    source = {"builder": "import", "file": _resolved(record.file), "index": record.index}
    for name in ("config_type", "sub_config"):
        if atoms.info.get(name) is not None:
            source[name] = str(atoms.info[name])
    try:
        structure = structure_document(
            atoms,
            _config_type(atoms.info.get("config_type"), options),
            source=source,
            group=_group(record, options),
            iteration=options.iteration,
            tags=options.tags,
            artifacts=artifacts,
        )
    except ValidationError as err:
        first = err.errors()[0]
        if first["loc"] == ("min_distance_A",):  # zero, which no document takes
            raise DataError("two atoms at one place") from err
        raise DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from err
    closest_A = structure.min_distance_A
    if closest_A is not None and closest_A < options.min_distance_A:
        raise DataError(f"atoms {closest_A:.3g} Å apart, closer than {options.min_distance_A:g} Å")
    return structure


@lru_cache(maxsize=16)
def _resolved(file: Path) -> str:
    return str(file.resolve())


def _config_type(theirs: Any, options: ImportOptions) -> ConfigType:
    if theirs is not None and str(theirs) in options.config_types:
        return options.config_types[str(theirs)]
    for known in get_args(ConfigType):
        if theirs == known:
            return known
    if options.default_config_type is not None:
        return options.default_config_type
    if theirs is None:
        raise DataError("no config_type: --default-config-type says which")
    raise DataError(
        f"config_type '{theirs}' is none of ours: --config-type {theirs}=… or --default-config-type says which"
    )


def _group(record: Record, options: ImportOptions) -> str | None:
    """What a split must not part: a trajectory of the file, or what the user says; None: the structure by itself.

    Groups of a file are named after its first structure, so they are the same wherever the file lies.
    """
    if options.one_group:
        return record.group or _first_id(record.file, options)
    if options.group_key is None:
        return record.group or None
    assert record.atoms is not None  # build sees to it
    value = record.atoms.info.get(options.group_key)
    if value is None:
        raise DataError(f"nothing called '{options.group_key}' that --group-key could go by")
    return derive_id("group", _first_id(record.file, options), options.group_key, str(value))


def _first_id(file: Path, options: ImportOptions) -> str:
    """Id of the first structure of a file, read anew: a worker may see only its end."""
    key = (file, file.stat().st_mtime_ns, file.stat().st_size, tuple(options.type_map.items()), options.format)
    if key not in _FIRST_IDS:
        for record in read_records(file, options):
            try:
                if record.atoms is not None:
                    _FIRST_IDS[key] = content_hash(record.atoms)
                    break
            except DataError:
                continue
    if key not in _FIRST_IDS:
        raise DataError("no structure of the file has an id that its group could be named after")
    return _FIRST_IDS[key]


_FIRST_IDS: dict[tuple[Any, ...], str] = {}


def _method(record: Record, options: ImportOptions) -> tuple[str, dict[str, Any]]:
    """Fingerprint and method of a label: what the file says, else what the user says; both must be the same."""
    if record.method is None:
        if options.fingerprint is not None:
            return options.fingerprint, options.method
        why = f": {record.no_method}" if record.no_method else ""
        raise InputError(
            f"{record.file} holds energies (record {record.index}) and nothing says by which method{why}",
            "--method FILE.yaml (code, version, parameters) or --method-name NAME",
        )
    own = record.method.fingerprint()
    if options.fingerprint not in (None, own):
        raise InputError(
            f"{record.file} itself says that its method is {own}; the one given is {options.fingerprint}",
            "leave --method and --method-name out for this file, or correct the method",
        )
    return own, record.method.model_dump(mode="json")


def _label(record: Record, structure: Structure, computed: Computed, options: ImportOptions) -> Label:
    fingerprint, method = _method(record, options)
    return Label.of(
        structure,
        fingerprint,
        method,
        energy_eV=computed.energy_eV,
        forces_eV_A=computed.forces_eV_A,
        stress_eV_A3=computed.stress_eV_A3,
        wall_s=0.0,  # no file says what the calculation took
    )
