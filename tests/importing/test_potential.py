"""Published potentials come in with the files that belong together, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Potential
from gst_jobflow.importing.potential import (
    PotentialImport,
    check_potential_files,
    import_potential,
    read_yace,
    try_in_lammps,
)
from gst_jobflow.store import Results
from tests.cli.test_main import gst
from tests.dynamics.conftest import engine, tiny_potential  # noqa: F401

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


@pytest.fixture
def given(tiny_potential) -> PotentialImport:  # noqa: F811
    files = {ending: Path(getattr(tiny_potential, ending)) for ending in ("yace", "yaml", "asi")}
    return PotentialImport(name="tiny", **files)


def test_a_yace_tells_elements_functions_and_cutoff(given):
    summary = read_yace(given.yace)
    assert (summary.elements, summary.n_densities, summary.cutoff_A) == (("Sb", "Te"), 1, 5.0)
    # one function of each of two neighbours' elements and two radial functions
    assert summary.n_functions_per_element == check_potential_files(given).n_functions_per_element == {"Sb": 4, "Te": 4}


@pytest.mark.mongo
def test_imported_twice_it_is_one_potential(given, project: Project):
    results = Results.open(project)
    first, new = import_potential(results, replace(given, source="doi:10/x", tags=("theirs",)))
    again, newer = import_potential(results, replace(given, name="other"))
    assert (new, newer) == (True, False) and again.name == "tiny" and again.id == first.id
    stored = results.get(Potential, first.id)
    assert stored.dataset_id is None and stored.source == "doi:10/x" and stored.tags == ["theirs"]
    assert results.artifacts.path(stored.artifacts.yace).read_bytes() == given.yace.read_bytes()
    alone, new = import_potential(results, PotentialImport(given.yace, "alone"))
    assert new and alone.artifacts.yaml is None and alone.n_parameters is None


def test_files_of_two_potentials_are_refused(given, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(given.yaml.read_text().replace("rcutij: 5", "rcutij: 6"))
    with pytest.raises(InputError, match="two potentials: cutoffs of 5 and 6"):
        check_potential_files(replace(given, yaml=other))
    np.savez(tmp_path / "one.npz", Sb=np.eye(3), Te=np.eye(4))
    with pytest.raises(InputError, match="Sb 3x3"):
        check_potential_files(replace(given, asi=tmp_path / "one.npz"))
    with pytest.raises(InputError, match="of no use without"):
        check_potential_files(replace(given, yaml=None))


@pytest.mark.parametrize("text", ["elements: [Sb\n", "elements: [Sb]\nfunctions: 3\n", "hello\n", ""])
def test_a_file_that_is_not_a_yace_is_refused_in_one_line(text, tmp_path):
    file = tmp_path / "x.yace"
    file.write_text(text)
    with pytest.raises(InputError, match=r"x\.yace"):
        read_yace(file)


@pytest.mark.lammps
def test_lammps_refuses_coefficients_of_another_fit(given, engine, tmp_path):  # noqa: F811
    try_in_lammps(engine, given, ("Sb", "Te"))
    other = tmp_path / "other.yaml"
    text = given.yaml.read_text()
    changed = text.replace("c: [1]", "c: [1.5]", 1)
    assert changed != text
    other.write_text(changed)
    with pytest.raises(InputError, match="different forces"):
        try_in_lammps(engine, replace(given, yaml=other), ("Sb", "Te"))


@pytest.mark.mongo
@pytest.mark.lammps
def test_by_hand(given, engine, project: Project):  # noqa: F811
    command = ["-p", str(project.root), "import", "potential"]
    done = gst(*command, str(given.yace), "--name", "mine", "--yaml", str(given.yaml), "--asi", str(given.asi))
    assert done.returncode == 0 and "mine (Sb Te, P = 1, 8 functions, 5 Å)" in done.stdout
    done = gst(*command, str(given.yaml), "--name", "wrong")
    assert done.returncode == 1 and "no .yace potential" in done.stderr
