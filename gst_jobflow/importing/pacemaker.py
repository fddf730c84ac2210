"""Read pacemaker's dataframes (.pckl.gzip).

A pickle is a program: it can call anything that it names. The unpickler here knows only the classes that pandas, numpy
and ASE need for such a dataframe, and stops at the first other name before anything is called.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import compare_atoms

from gst_jobflow.base.errors import DataError
from gst_jobflow.importing.files import CANNOT_READ_ON, open_bytes
from gst_jobflow.importing.labels import quantity_of
from gst_jobflow.importing.records import Record, last_record_says_why

if TYPE_CHECKING:
    import pandas as pd
    from ase import Atoms

    from gst_jobflow.importing.options import ImportOptions

_ALLOWED: dict[str, frozenset[str]] = {
    "builtins": frozenset({"slice", "object", "set", "frozenset", "complex", "bytearray", "range"}),
    "collections": frozenset({"OrderedDict"}),
    "copyreg": frozenset({"_reconstructor"}),
    "_codecs": frozenset({"encode"}),
    "datetime": frozenset({"datetime", "date", "timedelta"}),
    "numpy": frozenset({"ndarray", "dtype", "bool_", "float64", "int64"}),
    "numpy.core.multiarray": frozenset({"_reconstruct", "scalar"}),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "pandas": frozenset({"DataFrame", "Index", "RangeIndex", "Series", "StringDtype"}),
    "pandas.core.frame": frozenset({"DataFrame"}),
    "pandas.core.series": frozenset({"Series"}),
    "pandas.core.generic": frozenset({"NDFrame"}),
    "pandas.core.internals.managers": frozenset({"BlockManager", "SingleBlockManager"}),
    "pandas.core.internals.blocks": frozenset({"new_block"}),
    "pandas._libs.internals": frozenset({"_unpickle_block", "BlockManager", "BlockPlacement"}),
    "pandas._libs.arrays": frozenset({"__pyx_unpickle_NDArrayBacked", "NDArrayBacked"}),
    "pandas.core.indexes.base": frozenset({"Index", "_new_Index"}),
    "pandas.core.indexes.range": frozenset({"RangeIndex"}),
    "pandas.core.indexes.numeric": frozenset({"Int64Index", "Float64Index"}),
    "pandas.core.indexes.multi": frozenset({"MultiIndex"}),
    "pandas.core.arrays.string_": frozenset({"StringArray", "StringDtype"}),
    "pandas.core.arrays.string_arrow": frozenset({"ArrowStringArray"}),
    "pandas.core.arrays.categorical": frozenset({"Categorical"}),
    "pandas.core.dtypes.dtypes": frozenset({"CategoricalDtype"}),
    "ase.atoms": frozenset({"Atoms"}),
    "ase.atom": frozenset({"Atom"}),
    "ase.cell": frozenset({"Cell"}),
    "ase.symbols": frozenset({"Symbols"}),
    # ASE 3.29 has most of them in modules of their own
    "ase.constraints": frozenset({"FixAtoms", "FixCartesian", "FixScaled", "FixBondLengths", "FixCom"}),
    "ase.constraints.fix_atoms": frozenset({"FixAtoms"}),
    "ase.constraints.fix_cartesian": frozenset({"FixCartesian"}),
    "ase.constraints.fix_scaled": frozenset({"FixScaled"}),
    "ase.constraints.fix_bond_lengths": frozenset({"FixBondLengths"}),
    "ase.constraints.fix_com": frozenset({"FixCom"}),
    "ase.calculators.singlepoint": frozenset(
        {"SinglePointCalculator", "SinglePointDFTCalculator", "SinglePointKPoint", "arrays_to_kpoints"}
    ),
    "ase.calculators.calculator": frozenset({"Parameters"}),
}


_PACEMAKER_FRAME = ("pyace.preparedata", "DataFrameWithMetadata")


class _Unpickler(pickle.Unpickler):
    """An unpickler that loads only the names on a list."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        # numpy 2 renamed its core; files of either version have either name
        place = module_name.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        if (place, global_name) == ("builtins", "getattr"):
            return _bound_method
        if (place, global_name) == _PACEMAKER_FRAME:
            # pacemaker's own dataframe adds metadata; pyace is not imported for it
            return super().find_class("pandas.core.frame", "DataFrame")
        if global_name not in _ALLOWED.get(place, ()):
            raise DataError(
                f"the pickle names {module_name}.{global_name}, which a table of structures does not need; it was not "
                "loaded, for a pickle can run programs"
            )
        if module_name.startswith("numpy.core"):
            module_name = module_name.replace("numpy.core", "numpy._core")
        return super().find_class(module_name, global_name)


def _bound_method(owner: Any, name: str) -> Any:
    """Return the one method that ASE's calculators pickle by name; getattr itself would reach everything."""
    from ase.calculators.singlepoint import SinglePointCalculator

    if not (isinstance(owner, SinglePointCalculator) and name == "_deprecated_get_spin_polarized"):
        raise DataError(f"the pickle asks for '{str(name)[:40]}' of a {type(owner).__name__}; it was not loaded")
    return getattr(owner, name, None)


def load_frame(stream: IO[bytes]) -> pd.DataFrame:
    """Unpickle a dataframe as a whole: a pickle cannot be streamed.

    Raises
    ------
    DataError
        It names a class that is not allowed, is cut or damaged, or is not a dataframe.
    """
    import pandas as pd

    try:
        frame = _Unpickler(stream).load()
    except (*CANNOT_READ_ON, pickle.UnpicklingError) as err:
        raise DataError(f"the pickle is cut or damaged: {err or type(err).__name__}") from err
    # constructors of the classes above raise these for a damaged pickle
    except (AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError, MemoryError) as err:
        raise DataError(f"not a pickle that this pandas and ASE can read: {type(err).__name__}: {err}") from err
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"a pickle of a {type(frame).__name__}, not of a dataframe")
    if "ase_atoms" not in frame.columns:
        raise DataError(f"no column ase_atoms (it has {', '.join(map(str, frame.columns))[:200]})")
    return frame


@last_record_says_why
def read_pacemaker(file: Path, options: ImportOptions) -> Iterator[Record]:
    """Read every row of a dataframe: ase_atoms, and labels in columns or, if it has none, in the structures."""
    with open_bytes(file) as stream:
        frame = load_frame(stream)
    columns = {str(name): frame[name].to_numpy() for name in frame.columns}
    has_labels = any((quantity_of(name) or ("", ""))[0] in ("energy", "forces") for name in columns)
    for index in range(len(frame)):
        row = {name: values[index] for name, values in columns.items()}
        try:
            record = Record(file, index, _atoms(row, has_labels, options))
        except DataError as err:
            record = Record(file, index, problem=err.message)
        yield record


def _atoms(row: dict[str, Any], has_labels: bool, options: ImportOptions) -> Atoms:
    """Return the structure of a row with what was computed of it."""
    theirs = row["ase_atoms"]
    if not isinstance(theirs, Atoms):
        raise DataError(f"ase_atoms is a {type(theirs).__name__}")
    try:
        atoms = Atoms(theirs.numbers, positions=theirs.positions, cell=theirs.cell, pbc=theirs.pbc)
        labels = {} if has_labels else _own_labels(theirs)
        atoms.info.update({name: value for name, value in theirs.info.items() if not quantity_of(str(name))})
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise DataError(f"ase_atoms is damaged: {err}") from err
    # columns of labels override the calculator
    for name, value in row.items():
        if quantity_of(name):
            labels[name] = value
        elif isinstance(value, str | int | float | bool):
            atoms.info[name] = value
    if "forces" in labels:
        labels["forces"] = _forces_of_all(labels["forces"], row.get("results"))
    if options.energy_key is None:
        labels["energy"] = _energy(labels, options)
        labels.pop("energy_corrected", None)
    atoms.info.update({name: value for name, value in labels.items() if value is not None})
    return atoms


def _own_labels(theirs: Atoms) -> dict[str, Any]:
    """Return the labels that a structure itself carries: in its calculator, its arrays and its info.

    Raises
    ------
    DataError
        The calculator's results are those of other positions.
    """
    results = dict(getattr(theirs.calc, "results", None) or {})
    computed = getattr(theirs.calc, "atoms", None) or theirs
    if results and compare_atoms(computed, theirs, excluded_properties=["initial_charges", "initial_magmoms"]):
        raise DataError("the results of its calculator are those of another structure")
    labels = {name: value for name, value in {**theirs.info, **theirs.arrays}.items() if quantity_of(str(name))}
    return labels | results


def _forces_of_all(forces: Any, results: Any) -> Any:
    """Return forces with those of fixed atoms: pace_collect writes zeros, and keeps the computed ones in `results`."""
    computed = results.get("forces") if isinstance(results, dict) else None
    if computed is None or np.shape(computed) != np.shape(forces):
        return forces
    moved = np.asarray(forces) != 0
    return computed if np.array_equal(np.asarray(forces)[moved], np.asarray(computed)[moved]) else forces


def _energy(row: dict[str, Any], options: ImportOptions) -> Any:
    if row.get("energy") is not None:
        return row["energy"]
    if row.get("energy_corrected") is None:
        return None
    if not options.energy_corrected:
        raise DataError(
            "no energy but energy_corrected, from which the energies of the atoms are subtracted; take it with "
            "--energy-corrected"
        )
    return row["energy_corrected"]
