"""Damaged, mixed and unfit input through `gst analyse`: one line each, and the other frames go on."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ase.io import write

from gst_jobflow.documents import Trajectory
from gst_jobflow.report.pages.analysis import analysis_section
from gst_jobflow.store import Results
from gst_jobflow.structures.crystals import rocksalt, trigonal
from tests.analysis.runs import Gst, dumped, frame, stored

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytest.importorskip("ovito")
Change = Callable[[list[str]], list[str]]


def changed(results: Results, folder: Path, change: Change, **more: Any) -> Trajectory:
    """Store a run of three frames whose dump was changed as text."""
    file = dumped(folder / "whole.gz", {0: frame(0.1), 100: frame(0.12), 200: frame(0.14)})
    lines = change(gzip.decompress(file.read_bytes()).decode().splitlines())
    with gzip.open(folder / "dump_1.lammpstrj.gz", "wt") as out:
        out.write("\n".join(lines) + "\n")
    return stored(results, folder, {0: frame(0.1)}, file=folder / "dump_1.lammpstrj.gz", **more)


def middle(lines: list[str], old: str, new: str) -> list[str]:
    """Change the second frame's lines that begin so."""
    third = len(lines) // 3
    part = [new + line.removeprefix(old) if line.startswith(old) else line for line in lines[third : 2 * third]]
    assert part != lines[third : 2 * third]
    return [*lines[:third], *part, *lines[2 * third :]]


def one_atom_less(lines: list[str]) -> list[str]:
    third = len(lines) // 3
    second = lines[third : 2 * third - 1]
    second[3] = str(int(second[3]) - 1)
    return [*lines[:third], *second, *lines[2 * third :]]


def other_types(lines: list[str]) -> list[str]:
    third, n = len(lines) // 3, 0
    for place in range(third + 9, 2 * third):
        words = lines[place].split()
        lines[place], n = " ".join([words[0], "7", *words[2:]]), n + 1
    return lines


@pytest.mark.mongo
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_atom_less, "atoms instead of"),
        (lambda lines: middle(lines, "5 ", "6 "), "ids of its atoms"),
        (lambda lines: middle(lines, "5 ", "5 x "), "columns changed"),
        (lambda lines: nan(lines), "not finite"),
        (other_types, "types that are none of Ge, Sb, Te"),
    ],
)
def test_a_bad_frame_is_a_gap_and_the_others_go_on(
    gst: Gst,
    project: Project,
    tmp_path: Path,
    change: Change,
    message: str,
) -> None:
    results = Results.open(project)
    run = changed(results, tmp_path, change)
    code, told, err = gst("run", "--what", "tellurium,grains", "--min-grain", "20")
    rows = told[0]["rows"]
    assert code == 1
    assert message in rows[1]["problem"] and message in err
    assert "Traceback" not in err
    assert [row.get("n_grains") for row in rows] == [1, None, 1]
    section = analysis_section(results, [("quench", results.get(Trajectory, run.id))])
    assert section is not None and section["gaps"] is not None
    assert {row[1] for row in section["gaps"].rows} == {"anion", "grains"}


def nan(lines: list[str]) -> list[str]:
    place = len(lines) // 3 + 20
    words = lines[place].split()
    lines[place] = " ".join([*words[:2], "nan", *words[3:]])
    return lines


@pytest.mark.mongo
def test_unsorted_atoms_have_the_numbers_of_sorted_ones(gst: Gst, project: Project, tmp_path: Path) -> None:
    def shuffled(lines: list[str]) -> list[str]:
        third = len(lines) // 3
        order = np.random.default_rng(0).permutation(np.arange(third + 9, 2 * third))
        return [*lines[: third + 9], *(lines[n] for n in order), *lines[2 * third :]]

    changed(Results.open(project), tmp_path, shuffled)
    code, told, err = gst("run", "--what", "tellurium,density")
    assert code == 0, err
    write(tmp_path / "second.extxyz", frame(0.12))
    _, alone, _ = gst(str(tmp_path / "second.extxyz"))
    assert told[0]["rows"][1]["crystalline_fraction"] == alone[0]["rows"][0]["crystalline_fraction"]


@pytest.mark.mongo
def test_a_dump_that_was_cut_gives_its_whole_frames(gst: Gst, project: Project, tmp_path: Path) -> None:
    changed(Results.open(project), tmp_path, lambda lines: lines[:-40])
    code, told, err = gst("run")
    assert code == 0, err
    assert [row["step"] for row in told[0]["rows"]] == [0, 100]


@pytest.mark.mongo
def test_what_a_frame_lacks_is_said(gst: Gst, project: Project, tmp_path: Path) -> None:
    changed(Results.open(project), tmp_path, lambda lines: lines)
    code, told, err = gst("run", "--what", "gamma,temperature,grains", "--min-grain", "500")
    assert code == 1
    for words in ("no gamma", "no velocities", "too few for a grain of 500"):
        assert words in told[0]["rows"][0]["problem"] and words in err


def test_a_file_with_a_record_that_cannot_be_read_gives_the_others(gst: Gst, tmp_path: Path) -> None:
    write(tmp_path / "some.extxyz", [frame(0.1), frame(0.1)])
    text = (tmp_path / "some.extxyz").read_text().splitlines()
    (tmp_path / "some.extxyz").write_text("\n".join(text[:-3]) + "\n")
    code, told, err = gst(str(tmp_path / "some.extxyz"))
    assert code == 1
    assert told[0]["rows"][0]["crystalline_fraction"] == 1.0
    assert told[0]["rows"][1]["problem"] and "Traceback" not in err


def test_references_of_another_composition_or_structure_are_refused(gst: Gst, tmp_path: Path) -> None:
    write(tmp_path / "some.extxyz", frame(0.1))
    write(tmp_path / "other.extxyz", trigonal("Sb2Te3", (3, 2, 1)))
    write(tmp_path / "molten.extxyz", frame(0.9))
    words = (str(tmp_path / "some.extxyz"), "--what", "k-bar", "--reference")
    code, _, err = gst(*words, str(tmp_path / "other.extxyz"))
    assert code == 1 and "is Sb2Te3, the frames are Ge1Sb2Te4" in err
    code, _, err = gst(*words, str(tmp_path / "molten.extxyz"))
    assert code == 1 and "is no crystal" in err
    assert len(err.strip().splitlines()) == 2


def test_a_cell_smaller_than_the_cutoff_has_the_numbers_of_its_supercell(gst: Gst, tmp_path: Path) -> None:
    small = rocksalt("GeTe", (1, 1, 1))
    small.rattle(0.05, seed=1)
    write(tmp_path / "small.extxyz", small)
    write(tmp_path / "large.extxyz", small * (3, 3, 3))
    write(tmp_path / "salt.extxyz", rocksalt("GeTe", (3, 3, 3)))
    means = []
    for name in ("small", "large"):
        words = (str(tmp_path / f"{name}.extxyz"), "--what", "k-bar,tellurium", "--reference")
        code, told, err = gst(*words, str(tmp_path / "salt.extxyz"))
        assert code == 0, err
        means.append(told[0]["rows"][0]["k_bar_mean"])
    assert means[0] == pytest.approx(means[1], abs=1e-5)


def test_an_empty_file_is_one_line(gst: Gst, tmp_path: Path) -> None:
    (tmp_path / "none.extxyz").write_text("")
    code, _, err = gst(str(tmp_path / "none.extxyz"))
    assert code == 1 and "Traceback" not in err and len(err.strip().splitlines()) <= 2
