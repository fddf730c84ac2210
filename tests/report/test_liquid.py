"""Runs beside frames from first principles: those of the database, those that a user names, and none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from gst_jobflow.analysis.distributions import radial_distribution
from gst_jobflow.analysis.motifs import mean_motifs
from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.reference_frames import ReferenceSource
from gst_jobflow.analysis.run import analyse_trajectory
from gst_jobflow.base.errors import InputError
from gst_jobflow.documents import Trajectory
from gst_jobflow.report.catalogue.draw import WrittenFigure, draw_one
from gst_jobflow.report.catalogue.registry import find_kind
from gst_jobflow.report.liquid import liquid_structures
from gst_jobflow.store import Results
from tests.analysis.runs import frame, stored
from tests.flows.test_validation import add_frames

from .catalogue.test_studies import rows_of
from .test_analysis import BONDS

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.mongo


@pytest.fixture
def run(results: Results, tmp_path: Path) -> Trajectory:
    """A run of two frames with the analysis `liquid`."""
    made = stored(results, tmp_path, {0: frame(0.1), 100: frame(0.3)})
    analyse_trajectory(results, made, AnalysisPlan(what=["liquid"], bonds_A=BONDS))
    return results.get(Trajectory, made.id)


def draw(results: Results, run: Trajectory, folder: Path, name: str = "rdf", **options: object) -> WrittenFigure:
    return draw_one(results, find_kind(name), [run], folder / name, ["png"], **options)  # type: ignore[arg-type]


def test_labelled_frames_of_dynamics_stand_beside_a_run_with_its_bonds(
    results: Results, run: Trajectory, tmp_path: Path
) -> None:
    frames = [frame(0.1 + 0.02 * place) for place in range(12)]
    ids = [f"structures/{id}" for id in add_frames(results, frames, "a run")]
    written = draw(results, run, tmp_path)
    assert "12 frames of 1 run, temperature unknown, method pbe" in written.remark and ids[0] in written.remark
    assert set(written.made_of) == {f"trajectories/{run.id}", *ids}
    assert set(Image.open(written.files[0]).text["Source"].split()) == set(written.made_of)
    shown = [
        row for row in rows_of(written.files[1]) if (row["panel"], "first" in str(row["series"])) == ("Sb-Te", True)
    ]
    expected = radial_distribution(frames)
    assert [row["y"] for row in shown] == pytest.approx(expected.partial["Sb", "Te"])
    motifs = draw(results, run, tmp_path, "motifs")
    longest = {tuple(pair.split("-")): end for pair, end in BONDS.items()}
    means = mean_motifs(frames, longest)  # type: ignore[arg-type]
    (ratio,) = [row for row in rows_of(motifs.files[1]) if
                (row["y_quantity"], "first" in str(row["series"])) == ("bond-length ratio", True)]  # fmt: skip
    mean = means["bond_length_ratio"]
    assert ratio["y"] == pytest.approx(float(mean.value))
    assert ratio["high"] - ratio["low"] == pytest.approx(2 * float(mean.error))


def test_without_frames_one_line_says_what_makes_some(results: Results, run: Trajectory, tmp_path: Path) -> None:
    # of another composition
    add_frames(results, [frame(0.2)[:-1]], "a run")
    remark = draw(results, run, tmp_path).remark
    assert "no labelled reference frames of Ge1Sb2Te4" in remark and "gst submit aimd" in remark
    assert "\n" not in remark


def test_frames_of_two_methods_are_not_mixed_and_one_can_be_chosen(
    results: Results, run: Trajectory, tmp_path: Path
) -> None:
    add_frames(results, [frame(0.2)], "a")
    add_frames(results, [frame(0.4)], "b", method="scan")
    undecided = draw(results, run, tmp_path)
    assert "of 2 methods: pbe, scan (choose one with --fingerprint)" in undecided.remark
    assert len(undecided.made_of) == 1
    source = ReferenceSource(where=["config_type=aimd"], fingerprint="scan")
    chosen = draw(results, run, tmp_path, reference=source)
    assert "1 frame of 1 run, temperature unknown, method scan" in chosen.remark
    assert chosen.command.endswith("--where config_type=aimd --fingerprint scan")
    with pytest.raises(InputError, match="no labelled reference frames"):
        draw(results, run, tmp_path, reference=ReferenceSource(where=["config_type=crystal"]))


def test_runs_from_first_principles_have_nothing_beside_them(results: Results, run: Trajectory) -> None:
    add_frames(results, [frame(0.2)], "a")
    found, said = liquid_structures(results, [("aimd", run.model_copy(update={"potential_id": None}))])
    assert [each.first_principles for each in found] == [True] and said == ""
