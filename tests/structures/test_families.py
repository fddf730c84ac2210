"""Families of crystals: what is asked for and has no meaning is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.strict import checked
from gst_jobflow.structures.families import CrystalSpec


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("trigonal", {"lattice_A": 6.0}, "lattice_A is for rock-salt"),
        ("trigonal", {"primitive": True, "disorder": True}, "disorder"),
        ("rocksalt", {"primitive": True}, "primitive is for trigonal phases"),
        ("rocksalt", {"disorder": True}, "disorder is for trigonal phases"),
        ("trigonal", {"repeat": (0, 1, 1)}, "is not a supercell"),
        ("trigonal", {"formula": "Ge2Sb2Te5", "primitive": True}, "not rhombohedrally centred"),
        ("trigonal", {"formula": "Sb2Te3", "disorder": True}, "one kind of cation"),
        ("rocksalt", {"repeat": (2, 2, -1)}, "is not a supercell"),
        ("rocksalt", {"volume_scales": (1.0, 0.0)}, "volume_scales.1"),
        ("rocksalt", {"volume_scales": (-1.0,)}, "volume_scales.0"),
        ("rocksalt", {"rattles_A": (-0.1,)}, "rattles_A.0"),
        ("rocksalt", {"rattles_A": (float("inf"),)}, "rattles_A.0"),
    ],
)
def test_ignored_or_impossible_options_of_crystals_are_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked(CrystalSpec, {"kind": kind, "formula": "Ge1Sb2Te4", **values})
