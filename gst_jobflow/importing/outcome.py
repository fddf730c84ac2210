"""Check a record of a file and build its documents: a structure and, where it was computed, a label.

Nothing here knows of batches, workers or the database: the same record gives the same outcome wherever it is made.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from ase import Atoms
from pydantic import ValidationError

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.documents import ConfigType, Label
from gst_jobflow.documents.base import derive_id
from gst_jobflow.importing.labels import Computed, RivalLabelsError, computed_of, unread_labels
from gst_jobflow.importing.options import ImportOptions
from gst_jobflow.importing.records import Record
from gst_jobflow.store.atoms import structure_document, structure_values
from gst_jobflow.store.encoded import EncodedLabel, EncodedStructure
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.structures.document_fields import are_elements
from gst_jobflow.structures.lattice import lengths_A, reciprocal_rows
from gst_jobflow.structures.plain_atoms import PlainAtoms

FREE_ATOM_BOX_A = 20.0
_CONFIG_TYPES: tuple[ConfigType, ...] = get_args(ConfigType)
_ROOM_A = 10.0
"""An atom whose images are at least this far away is alone: potentials end before that."""
_ALONE = "single atoms without periodic boundaries are taken as alone in a periodic box"
_FREE_ATOMS = Path("--free-atoms")


@dataclass(frozen=True)
class Question:
    """What only the user knows: a text, the same for all records with one answer, and an option that answers.

    With `stops` nothing may be imported without an answer, else the record is left out.
    """

    text: str
    option: str
    stops: bool = False


@dataclass
class Outcome:
    """A record's documents, or why there are none; without slots, which make pickling slow, and not frozen: see Record.

    Parameters
    ----------
    file, index
        Where the record is from.
    structure, label
        Its documents; a bad record has none.
    n_atoms, elements
        Of the structure.
    problem
        Why the record is bad.
    questions
        What must be answered before it can be imported.
    warning, option
        What is odd about the whole file, and the option that mends it.
    refusal
        Message and remedy of an `InputError`: the import ends here.
    end
        Bytes of the file up to where the record ends; 0 if that is not known.
    """

    file: Path
    index: int
    structure: EncodedStructure | None = None
    label: EncodedLabel | None = None
    n_atoms: int = 0
    elements: tuple[str, ...] = ()
    problem: str = ""
    questions: tuple[Question, ...] = ()
    warning: str = ""
    option: str = ""
    refusal: tuple[str, str] | None = None
    end: int = 0


@dataclass(frozen=True)
class OutcomeBuilder:
    """Build outcomes of records.

    Parameters
    ----------
    first_ids
        Id of the first structure of each file, which its groups are named after; only for files with groups.
    artifacts
        Store for the coordinates of large structures; None if there are none.
    compiled
        Use compiled loops, which pay off for many records.
    """

    options: ImportOptions
    first_ids: dict[Path, str] = field(default_factory=dict)
    artifacts: ArtifactStore | None = None
    compiled: bool = False

    def outcome(self, record: Record) -> Outcome:
        """Check a record and build its documents; what is wrong with it is in the outcome, not raised."""
        place: dict[str, Any] = {"file": record.file, "index": record.index, "end": record.end}
        if record.structure is None:
            return Outcome(**place, problem=record.problem, warning=record.warning)
        warning, option = record.warning, ""
        try:
            atoms, boxed_warning = boxed(PlainAtoms.of(record.structure))
            check_atoms(atoms, self.options.min_distance_A)
            computed, questions = self._computed(atoms, record)
            if not questions:
                unread, option = unread_labels(atoms, computed)
                warning = warning or unread or boxed_warning
            if option and computed is None and self.options.fingerprint is None:
                option += f" {_method_option(record.file)}"
            config_type = _config_type(atoms, self.options)
            if isinstance(config_type, Question):
                questions.append(config_type)
            if questions or isinstance(config_type, Question):
                problem = "; ".join(question.text for question in questions)
                return Outcome(**place, problem=problem, questions=tuple(questions), warning=warning, option=option)
            structure, elements = self._structure(record, atoms, config_type)
            label = None if computed is None else self._label(record, structure, computed)
        except DataError as err:
            return Outcome(**place, problem=err.message, warning=warning)
        except InputError as err:
            return Outcome(**place, warning=warning, refusal=(err.message, err.fix))
        return Outcome(
            **place,
            structure=structure,
            label=label,
            n_atoms=structure.n_atoms,
            elements=elements,
            warning=warning,
            option=option,
        )

    def _computed(self, atoms: PlainAtoms, record: Record) -> tuple[Computed | None, list[Question]]:
        """Return what was computed, and what must be known before it can become a label."""
        questions, computed, rivals = [], None, False
        try:
            computed = computed_of(atoms, self.options)
        except RivalLabelsError as err:
            rivals = True
            questions.append(Question(err.message, err.fix, stops=True))
        if (computed or rivals) and record.method is None and self.options.fingerprint is None:
            why = f": {record.no_method}" if record.no_method else ""
            text = f"holds energies, and nothing says by which method{why}"
            questions.append(Question(text, _method_option(record.file), stops=True))
        return computed, questions

    def _structure(
        self, record: Record, atoms: PlainAtoms, config_type: ConfigType
    ) -> tuple[EncodedStructure, tuple[str, ...]]:
        source = {"builder": "import", "file": _resolved(record.file), "index": record.index}
        for name in ("config_type", "sub_config"):
            if atoms.info.get(name) is not None:
                source[name] = str(atoms.info[name])
        values = structure_values(
            atoms if self.compiled else atoms.atoms(),
            config_type,
            source=source,
            group=self._group(record, atoms),
            iteration=self.options.iteration,
            tags=self.options.tags,
            artifacts=self.artifacts,
        )
        try:
            structure = EncodedStructure.of_values(values)
        except ValidationError as err:
            raise _number_error(err) from err
        closest_A = structure.min_distance_A
        if closest_A is not None and closest_A < self.options.min_distance_A:
            raise DataError(f"atoms {closest_A:.3g} Å apart, closer than {self.options.min_distance_A:g} Å")
        return structure, tuple(values["elements"])

    def _group(self, record: Record, atoms: PlainAtoms) -> str | None:
        """Return what a split must not part: a trajectory, or what the user says; None: the structure by itself.

        Groups of a file are named after its first structure, so they are the same wherever the file lies.
        """
        if self.options.one_group:
            return record.group or self.first_ids[record.file]
        key = self.options.group_key
        if key is None:
            return record.group or None
        value = atoms.info.get(key)
        if value is None:
            raise DataError(f"no '{key}', which --group-key names")
        return derive_id("group", self.first_ids[record.file], key, str(value))

    def _label(self, record: Record, structure: EncodedStructure, computed: Computed) -> EncodedLabel:
        fingerprint, method = self.options.fingerprint, self.options.method
        if record.method is not None:
            own = record.method.fingerprint()
            if fingerprint not in (None, own):
                raise InputError(
                    f"{record.file} states that its method is {own}, but the one given is {fingerprint}",
                    "leave out --method and --method-name for this file, or correct the method",
                )
            fingerprint, method = own, record.method.model_dump(mode="json")
        assert fingerprint is not None  # else there is a question
        values = Label.values_of(
            structure,
            fingerprint,
            method,
            energy_eV=computed.energy_eV,
            forces_eV_A=computed.forces_eV_A,
            stress_eV_A3=computed.stress_eV_A3,
            wall_s=0.0,  # no file says what the calculation took
        )
        try:
            return EncodedLabel.of_values(values)
        except ValidationError as err:
            raise _number_error(err) from err


def free_atom_outcome(
    index: int, element: str, energy_eV: float, fingerprint: str, method: dict[str, Any], options: ImportOptions
) -> Outcome:
    """Return a free atom of known energy as a labelled structure: alone in a box, with forces of zero by symmetry."""
    atoms = Atoms(element, cell=[FREE_ATOM_BOX_A] * 3, pbc=True)
    source = {"builder": "import", "option": "--free-atoms"}
    structure = structure_document(
        atoms, "isolated_atom", source=source, iteration=options.iteration, tags=options.tags
    )
    label = Label.of(structure, fingerprint, method, energy_eV=energy_eV, forces_eV_A=np.zeros((1, 3)), wall_s=0.0)
    documents = EncodedStructure.of(structure), EncodedLabel.of(label)
    return Outcome(_FREE_ATOMS, index, *documents, n_atoms=1, elements=(element,))


def boxed(atoms: PlainAtoms) -> tuple[PlainAtoms, str]:
    """Return a single atom without periodic boundaries in a periodic box, and a warning; others as they are.

    Programs for training (MACE, GAP, autoplex) write free atoms so. The energy does not depend on the box.
    """
    if len(atoms) != 1 or any(atoms.pbc):
        return atoms, ""
    cell_A, inverse = atoms.cell_A, reciprocal_rows(atoms.cell_A)
    # the distance of two opposite faces is the inverse length of a reciprocal vector
    if inverse is None or max(lengths_A(inverse)) > 1 / _ROOM_A:
        cell_A = np.diag([FREE_ATOM_BOX_A] * 3).tolist()
    return replace(atoms, cell_A=cell_A, pbc=[True] * 3), _ALONE


def check_atoms(atoms: PlainAtoms, min_distance_A: float) -> None:
    """Refuse what cannot be a periodic structure, before anything is computed from it.

    Raises
    ------
    DataError
        No atoms, an unknown species, what is not finite, an atom too far outside of the cell, not periodic in all
        directions, or a cell too small for its atoms.
    """
    if len(atoms) == 0:
        raise DataError("no atoms")
    if not are_elements(atoms.numbers):
        raise DataError("an unknown species (not an element)")
    if not atoms.is_finite:
        raise DataError("a position or the cell is not finite")
    if atoms.farthest_A > _FARTHEST_A:
        raise DataError(
            f"an atom at {atoms.farthest_A:.3g} Å: rounding lost its place in the cell; wrap before writing"
        )
    if not all(atoms.pbc):
        raise DataError('not periodic in all directions: put molecules and slabs in a periodic box (pbc="T T T")')
    lengths = lengths_A(atoms.cell_A)
    if max(lengths) > _FARTHEST_A:
        raise DataError(f"a cell vector of {max(lengths):.3g} Å: rounding lost the places of atoms in the cell")
    # closest packing: no arrangement in a smaller cell keeps the distance
    smallest_A3 = len(atoms) * min_distance_A**3 / math.sqrt(2)
    if atoms.volume_A3 < smallest_A3:
        raise DataError(f"a cell of {atoms.volume_A3:.3g} Å3 cannot hold {len(atoms)} atoms {min_distance_A:g} Å apart")
    if min(lengths) < min_distance_A:
        raise DataError(f"a cell vector shorter than {min_distance_A:g} Å: an atom meets its own image")


_FARTHEST_A = 1e8
"""Beyond, a double is coarser than 1e-8 Å, to which structures are told apart."""


def _number_error(err: ValidationError) -> DataError:
    """Return what a model says of a number as an error of the record."""
    first = err.errors()[0]
    if first["loc"] == ("min_distance_A",):  # zero, which no document takes
        return DataError("two atoms at the same place")
    return DataError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")


@lru_cache(maxsize=16)
def _resolved(file: Path) -> str:
    return str(file.resolve())


def _method_option(file: Path) -> str:
    """Propose the name of the file's folder: a name is all that a method needs."""
    return f"--method-name {shlex.quote(Path(_resolved(file)).parent.name or 'NAME')}"


def _config_type(atoms: PlainAtoms, options: ImportOptions) -> ConfigType | Question:
    theirs = atoms.info.get("config_type")
    if theirs is not None and str(theirs) in options.config_types:
        return options.config_types[str(theirs)]
    if len(atoms) == 1 and str(theirs).lower().replace("_", "") == "isolatedatom":
        return "isolated_atom"
    if str(theirs) in _CONFIG_TYPES:
        return cast("ConfigType", str(theirs))
    if options.default_config_type is not None:
        return options.default_config_type
    option = "--default-config-type other"
    if theirs is None:
        return Question(f"no config_type; name one with --default-config-type ({', '.join(_CONFIG_TYPES)})", option)
    return Question(
        f"config_type '{theirs}' is unknown; map it with --config-type {theirs}=… or --default-config-type", option
    )
