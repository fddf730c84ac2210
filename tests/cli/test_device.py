"""`gst structures device`: cells as files without a project, in the database, by melt-quench; bad input is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ase.io import write

from gst_jobflow.devices.cell import MushroomSpec
from gst_jobflow.devices.cell.source import hard_sphere_barrier
from gst_jobflow.documents import ArtifactRef, Potential, Structure
from gst_jobflow.documents.potential import PotentialArtifacts
from gst_jobflow.store import Results
from gst_jobflow.store.atoms import atoms_of, structure_document
from gst_jobflow.store.connect import connect
from gst_jobflow.structures.lammps_data import read_data
from tests.cli.test_main import gst

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

MUSHROOM = ("structures", "device", "mushroom", "--repeat", "6x4x6", "--barrier-thickness", "12")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_cell_is_written_without_a_project(tmp_path: Path) -> None:
    made = gst(*MUSHROOM, "--barrier", "hard-sphere", "-o", "cell.data", "--json")
    assert made.returncode == 0, made.stderr
    assert "HARD-SPHERE" in made.stderr
    told = json.loads(made.stdout)
    assert told["barrier"] == "hard-sphere"
    assert told["files"] == ["cell.data", "cell.groups", "cell.json"]
    assert told["report"]["counts"] == {"Ge": 144, "Sb": 288, "Te": 576}
    atoms = read_data(tmp_path / "cell.data", ["Ge", "Sb", "Te"])
    assert len(atoms) == 1008
    assert told["groups"]["barrier"][1] == 1008
    assert "hard-sphere" in (tmp_path / "cell.data").read_text().splitlines()[0]


def test_barrier_from_a_file_is_tiled(tmp_path: Path) -> None:
    spec = MushroomSpec(repeat=(6, 4, 6), barrier_thickness_A=12)
    write("amorphous.xyz", hard_sphere_barrier(spec), format="extxyz")
    made = gst(*MUSHROOM, "--repeat", "12x4x6", "--barrier", "amorphous.xyz", "-o", "cell.data")
    assert made.returncode == 0, made.stderr
    assert "2 x 1 x 1 tiles; file amorphous.xyz" in made.stdout
    assert "HARD-SPHERE" not in made.stderr


def test_overlapping_barrier_atoms_give_one_line(tmp_path: Path) -> None:
    material = hard_sphere_barrier(MushroomSpec(repeat=(6, 4, 6), barrier_thickness_A=12))
    material.positions[0] = material.positions[1] + [0.3, 0.0, 0.0]
    write("amorphous.xyz", material, format="extxyz")
    wrong = gst(*MUSHROOM, "--barrier", "amorphous.xyz", "-o", "cell.data")
    assert wrong.returncode == 1 and not wrong.stdout
    pair = "-".join(sorted(material.symbols[:2]))
    assert f"the barrier's own atoms overlap: {pair} 0.30 Å apart" in wrong.stderr
    assert "relax it in its own periodic cell" in wrong.stderr and len(wrong.stderr.strip().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["amorphous.xyz"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--barrier", "hard-sphere"], "no project here"),
        (["-o", "x.data"], "no material for the barrier"),
        (["--barrier", "nothing.xyz", "-o", "x.data"], "no such file"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--repeat", "2x4x6"], "less than two cutoffs of 8 Å"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--barrier-thickness", "60"], "does not fit into a cell"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--barrier-thickness", "5"], "thinner than the cutoff"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--formula", "Ge2Sb3Te5"], "is not on the GeTe–Sb2Te3 line"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--elements", "Ge,Te"], "no atom type for Sb"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--electrode-width", "900"], "larger than the crystal"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--repeat", "6x4"], "--repeat 6x4"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--size", "3x3x3"], "exclude each other"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--format", "replica"], "no format 'replica'"),
        (["--barrier", "hard-sphere", "-o", "x.data", "--format", "replicate"], "cannot be cut into equal columns"),
        (["--barrier", "hard-sphere", "--restart"], "need a file"),
        (["--barrier", "hard-sphere", "--potential", "p"], "exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, options: list[str], said: str) -> None:
    wrong = gst(*MUSHROOM, *options)
    assert wrong.returncode == 1 and not wrong.stdout
    lines = [line for line in wrong.stderr.strip().splitlines() if not line.startswith("WARNING")]
    assert len(lines) == 2 and lines[1].startswith("  → "), wrong.stderr
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.mongo
def test_cells_are_stored_and_a_stored_barrier_is_taken(project: Project) -> None:
    here = ["-p", str(project.root)]
    made = gst(*here, *MUSHROOM, "--barrier", "hard-sphere", "--tag", "look", "--json")
    assert made.returncode == 0, made.stderr
    results = Results.open(project)
    stored = results.get(Structure, json.loads(made.stdout)["id"])
    assert (stored.config_type, stored.n_atoms, stored.tags) == ("device", 1008, ["look"])
    assert stored.source["barrier"] == "hard-sphere"
    assert stored.source["groups"]["mobile"][0] == 1
    assert len(atoms_of(stored, results.artifacts)) == 1008

    spec = MushroomSpec(repeat=(6, 4, 6), barrier_thickness_A=12)
    amorphous = structure_document(hard_sphere_barrier(spec), "melt_quench", artifacts=results.artifacts)
    results.add(amorphous)
    wide = ("--repeat", "12x4x6", "--barrier", amorphous.id)
    again = gst(*here, *MUSHROOM, *wide, "--json")
    assert again.returncode == 0, again.stderr
    assert "HARD-SPHERE" not in again.stderr
    taken = results.get(Structure, json.loads(again.stdout)["id"])
    assert (taken.n_atoms, taken.parents) == (2016, [amorphous.id])
    assert taken.source["barrier"] == f"structure {amorphous.id}"
    assert taken.source["report"]["tiles"] == [2, 1, 1]
    # the same cell as a file
    filed = gst(*here, *MUSHROOM, *wide, "-o", "cell.data")
    assert filed.returncode == 0, filed.stderr
    atoms = atoms_of(taken, results.artifacts)
    in_file = read_data(Path("cell.data"), ["Ge", "Sb", "Te"])
    assert np.allclose(in_file.positions, atoms.positions, atol=1e-6)
    first, last = taken.source["groups"]["barrier"]
    assert last - first + 1 == 2 * len(hard_sphere_barrier(spec))

    unknown = gst(*here, *MUSHROOM, "--barrier", "0" * 12, "-o", "none.data")
    assert unknown.returncode == 1 and not Path("none.data").exists()
    assert len(unknown.stderr.strip().splitlines()) == 2


@pytest.mark.mongo
def test_a_potential_submits_the_melt_quench_and_the_cell(project: Project) -> None:
    file = ArtifactRef(sha256="0" * 64, size_bytes=0, name="potential.yaml")
    values = {"n_densities": 1, "n_functions": 1, "artifacts": PotentialArtifacts(yaml=file, yace=file)}
    results = Results.open(project)
    results.add(Potential(_id="p", name="p", elements=["Ge", "Sb", "Te"], cutoff_A=6.0, **values))
    results.add(Potential(_id="long", name="long", elements=["Ge", "Sb", "Te"], cutoff_A=13.0, **values))
    results.add(Potential(_id="few", name="few", elements=["Ge", "Te"], cutoff_A=6.0, **values))
    here = ["-p", str(project.root)]
    for wrong, said in (("few", "has no Sb"), ("long", "less than two cutoffs of 13 Å")):
        refused = gst(*here, *MUSHROOM, "--potential", wrong)
        assert refused.returncode == 1 and said in refused.stderr
    assert connect(project)["fireworks"].count_documents({}) == 0
    done = gst(*here, *MUSHROOM, "--potential", "p", "-o", "cell.data")
    assert done.returncode == 0, done.stderr
    assert "submitted 2 jobs" in done.stderr
    assert connect(project)["fireworks"].count_documents({}) == 2


def test_shown_fields_are_a_config_file_and_options_overrule_it(tmp_path: Path) -> None:
    shown = gst(*MUSHROOM, "--lattice", "6.1", "--electrode-width", "12", "--min-contact", "2.6", "--show-config")
    assert shown.returncode == 0, shown.stderr
    (tmp_path / "cell.yaml").write_text(shown.stdout)
    again = gst("structures", "device", "mushroom", "--config", "cell.yaml", "--show-config")
    assert again.stdout == shown.stdout
    command = ("structures", "device", "mushroom", "--config", "cell.yaml", "--lattice", "6.05")
    made = gst(*command, "--barrier", "hard-sphere", "-o", "cell.data", "--json")
    assert made.returncode == 0, made.stderr
    spec = json.loads(made.stdout)["spec"]
    assert (spec["lattice_A"], spec["electrode"]["width_A"], spec["repeat"]) == (6.05, 12.0, [6, 4, 6])
    assert spec["min_contact_A"] == 2.6


def test_an_unknown_field_of_a_config_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cell.yaml").write_text("lattice: 6.1\n")
    wrong = gst(*MUSHROOM, "--config", "cell.yaml", "--barrier", "hard-sphere", "-o", "cell.data")
    assert wrong.returncode == 1 and "lattice" in wrong.stderr and "Traceback" not in wrong.stderr
    assert not (tmp_path / "cell.data").exists()
