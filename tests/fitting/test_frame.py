"""Labelled structures as pacemaker's dataframe."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase import Atoms

from gst_jobflow.base.errors import DataError, InputError
from gst_jobflow.datasets import LabelledStructure
from gst_jobflow.fitting.frame import to_dataframe, write_pckl

REFERENCE = {"Ge": -1.0, "Sb": -2.0, "Te": -3.0}


def labelled(symbols="GeSb2Te", energy=-9.0, **changes) -> LabelledStructure:
    atoms = Atoms(symbols, positions=[[3.0 * i, 0, 0] for i in range(len(Atoms(symbols)))], cell=[30, 9, 9], pbc=True)
    item = LabelledStructure(atoms, energy, np.zeros((len(atoms), 3)), "label-1", "rss", 1.0)
    return dataclasses.replace(item, **changes)


def test_corrected_energy_is_energy_less_the_atoms():
    frame = to_dataframe([labelled(energy=-9.0, weight=2.5)], REFERENCE)
    row = frame.iloc[0]
    assert row["energy_corrected"] == pytest.approx(-9.0 - (-1.0 - 4.0 - 3.0))
    assert (row["name"], row["config_type"], row["w_factor"]) == ("label-1", "rss", 2.5)
    assert list(frame.columns) == [
        "ase_atoms",
        "energy",
        "forces",
        "energy_corrected",
        "name",
        "config_type",
        "w_factor",
    ]


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (labelled(energy=None), "missing or not finite"),
        (labelled(energy=float("nan")), "missing or not finite"),
        (labelled(energy=float("inf")), "missing or not finite"),
        (labelled(forces_eV_A=None), "forces are missing"),
        (labelled(forces_eV_A=np.zeros((3, 3))), r"but 4 atoms"),
        (labelled(forces_eV_A=np.full((4, 3), np.nan)), "not finite"),
        (labelled(energy=-3314.0 * 4), "outside -20..250"),
        (labelled(energy=300.0 * 4), "outside -20..250"),
        (labelled(symbols="GeSb2Se"), "no reference energy for Se"),
        (labelled(weight=0.0), "not a positive number"),
        (labelled(label_id="augmented-1"), "as artificial"),
    ],
)
def test_a_label_that_cannot_be_fitted_is_refused(item, says):
    with pytest.raises(DataError, match=says):
        to_dataframe([item], REFERENCE)


def test_an_empty_set_and_a_label_twice_are_refused():
    with pytest.raises(DataError, match="empty"):
        to_dataframe([], REFERENCE)
    with pytest.raises(DataError, match="more than once"):
        to_dataframe([labelled(), labelled()], REFERENCE)


def test_written_frame_reads_back_and_equal_data_gives_equal_bytes(tmp_path):
    import pandas as pd

    frame = to_dataframe([labelled()], REFERENCE)
    first = write_pckl(frame, tmp_path / "deep" / "a.pckl.gzip")
    second = write_pckl(frame, tmp_path / "b.pckl.gzip")
    back = pd.read_pickle(first, compression="gzip")
    assert back["ase_atoms"][0] == frame["ase_atoms"][0]
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["a.pckl.gzip"]
    with pytest.raises(InputError, match=r"pckl\.gzip"):
        write_pckl(frame, tmp_path / "a.pkl")
