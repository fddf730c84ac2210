from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from gst_jobflow.analysis.disorder import OrderMap
from gst_jobflow.evaluation.parity import Parity
from gst_jobflow.report import palette, words
from gst_jobflow.report.collect import CycleData, LabelRows, StructureRows
from gst_jobflow.report.figures import cycle, study
from gst_jobflow.report.style import canvas, legend_below, ordered_types, panel, panel_grid, to_png

from . import synthetic


def rows(**columns) -> StructureRows:
    base = {"formula": ["Sb2Te3"] * 3, "config_type": ["rss", "crystal", "rss"], "n_atoms": [5, 10, 15]}
    base |= {"min_distance_A": [2.1, 2.9, 2.5], "density_g_cm3": [6.0, 6.5, 5.9]}
    return StructureRows(**(base | columns))


def parity(n: int, low: float = -1.0) -> Parity:
    rng = np.random.default_rng(0)
    ref, types = rng.normal(low, 1, n), np.full(n, "rss")
    return Parity(ref, ref + 0.01, types, ref, ref + 0.01, types)


@pytest.mark.parametrize("draw", [study.compositions, study.minimum_distances, study.densities])
def test_figures_of_structures_are_png_and_none_without_data(draw) -> None:
    with Image.open(io.BytesIO(to_png(draw(rows())))) as image:
        assert image.format == "PNG"
        # 3.9 inches at 150 dpi, wide enough for a sharp picture at 390 CSS pixels
        assert image.width == pytest.approx(3.9 * 150, abs=1)
    assert draw(StructureRows()) is None


def test_structures_without_contacts_leave_the_histogram_out() -> None:
    assert study.minimum_distances(rows(min_distance_A=[np.nan] * 3)) is None
    assert study.minimum_distances(rows(min_distance_A=[2.5] * 3)) is not None


def test_labels_that_all_failed_draw_nothing() -> None:
    failed = LabelRows(["failed"], ["GeTe"], ["rss"], [np.nan], [np.nan], [1.0])
    assert study.label_energies(failed, {}) is None


@pytest.mark.parametrize("splits", [("train",), ("test",), ("train", "test")])
def test_parity_with_any_of_the_splits(splits) -> None:
    data = {split: parity(50) for split in splits}
    assert study.energy_parity(data) is not None
    assert study.force_parity(data) is not None


def test_parity_of_a_million_components_stays_small() -> None:
    png = to_png(study.force_parity({"train": parity(1_000_000)}))
    # the page as a whole has to stay below 5 MB
    assert len(png) < 300_000
    assert study.force_parity({}) is None


def test_same_data_gives_the_same_bytes() -> None:
    assert to_png(study.compositions(rows())) == to_png(study.compositions(rows()))


def test_drawing_leaves_the_style_of_the_caller_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    study.densities(rows())
    assert dict(matplotlib.rcParams) == before


def run(**changes):
    made = synthetic._trajectory(0, "RESET", 20.0, ("a", "b"), np.random.default_rng(0), 100.0)
    return made.model_copy(update=changes)


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"z_A": [1.0, 2.0], "time_ps": [0.0], "temperature_K": [[300.0]]},
        {"z_A": [1.0, 2.0], "time_ps": [0.0, 1.0], "temperature_K": [[300.0, 300.0], [300.0]]},
    ],
)
def test_profiles_that_are_missing_or_ragged_draw_nothing(profile) -> None:
    assert cycle.temperature_lines("RESET", run(analysis={"temperature_profile": profile})) is None


def test_profile_of_one_moment_and_with_empty_bins() -> None:
    profile = {"z_A": [1.0, 2.0], "time_ps": [0.0], "temperature_K": [[None, 300.0]]}
    assert cycle.temperature_lines("RESET", run(analysis={"temperature_profile": profile})) is not None


def test_run_with_a_dollar_in_its_name() -> None:
    assert cycle.run_overview(run(name="$\\frac{")) is not None
    assert cycle.run_overview(run(thermo={})) is None


def test_config_types_have_one_order_everywhere() -> None:
    assert ordered_types(["rss", "zzz", "crystal"]) == ["crystal", "rss", "zzz"]


def test_every_config_type_has_a_colour_and_a_marker() -> None:
    from typing import get_args

    from gst_jobflow.documents import ConfigType

    assert set(palette.CONFIG_TYPES) == set(palette.MARKERS) == set(get_args(ConfigType))
    assert len(set(palette.CONFIG_TYPES.values())) == len(palette.CONFIG_TYPES)


def test_elements_differ_in_lightness() -> None:
    light = sorted(np.dot(palette.rgb(colour), (0.2126, 0.7152, 0.0722)) for colour in palette.ELEMENTS.values())
    # told apart in grey print; Ge and Sb also differ in hue for every form of colour blindness
    assert min(np.diff(light)) > 0.05


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (True, "yes"), (1234, "1,234"), (0.012346, "0.01235"), (123456.7, "123,457")],
)
def test_numbers_for_tables(value, text) -> None:
    assert words.number(value) == text


def test_words() -> None:
    assert words.formula("Ge2Sb2Te5") == "Ge₂Sb₂Te₅"
    assert words.duration(7200.0) == "2 h"
    assert (
        words.method_name({"code": "vasp", "version": "5.4.4", "parameters": {"incar": {"GGA": "PE"}}})
        == "PBE (VASP 5.4.4)"
    )


def dome_cycle() -> CycleData:
    """A HOLD and a RESET of a dome, with nothing in them but what its figures need."""
    profile = {"kind": "dome", "diameter_A": 50.0, "centre_A": [60.0, None, 0.0]}
    reset = SimpleNamespace(
        stages=[{"kind": "pulse", "profile": profile}, {"kind": "cool"}],
        analysis={"dome": {"asked_diameter_A": 50.0, "time_ps": [0.0, 5.0, 9.0], "diameter_A": [0.0, 52.0, 44.0]}},
    )
    hold = SimpleNamespace(stages=[{"kind": "hold"}], analysis={})
    return SimpleNamespace(steps=[("HOLD", hold), ("RESET", reset)])


def pixels(figure) -> np.ndarray:
    """Red, green and blue of a drawn figure, (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB")).astype(int)


def test_domes_are_mapped_with_the_heated_region_only_if_there_was_one() -> None:
    fraction = np.ones((20, 12))
    fraction[7:13, :5] = 0.1
    fraction[:, 10:] = np.nan
    order = OrderMap(np.linspace(0, 120, 21), np.linspace(0, 72, 13), fraction, np.full((20, 12), 30))
    maps = [(title, order) for title in ("start", "after HOLD", "after RESET")]
    seen = pixels(cycle.order_maps(maps, dome_cycle()))
    outline = np.all(np.abs(seen - [0xD6, 0x45, 0x3D]) < 30, axis=2)
    assert outline.sum() > 100, "the half-disc that was heated is drawn"
    alone = pixels(cycle.order_maps(maps[:2], dome_cycle()))
    assert not np.all(np.abs(alone - [0xD6, 0x45, 0x3D]) < 30, axis=2).any(), "nothing was heated yet"
    assert cycle.order_maps(maps, SimpleNamespace(steps=dome_cycle().steps[:1])) is None
    assert cycle.order_maps([], dome_cycle()) is None


def test_sizes_of_domes_over_time_and_none_without_one() -> None:
    assert to_png(cycle.dome_sizes(dome_cycle())).startswith(b"\x89PNG")
    assert cycle.dome_sizes(SimpleNamespace(steps=dome_cycle().steps[:1])) is None


@pytest.mark.parametrize("number", [1, 3, 4, 6])
def test_the_lowest_panel_of_each_column_has_numbers_on_its_axis(number):
    figure = canvas(6, 4)
    panels = panel_grid(figure, number, 3, sharex=True)
    assert len(panels) == number and sum(axes.get_visible() for axes in figure.axes) == number
    shown = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels]
    assert shown == [place + 3 >= number for place in range(number)]


@pytest.mark.parametrize(("name", "rows"), [("{}", 1), ("{}: potential of the third iteration, 200", 3)])
def test_a_legend_has_as_many_columns_as_fit_its_figure(name, rows):
    axes = panel()
    for number in range(3):
        axes.plot([0, 1], [0, number], label=name.format(number))
    figure = legend_below(axes)
    to_png(figure)
    box = figure.legends[0].get_window_extent()
    assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
    lines = [text.get_window_extent().y0 for text in figure.legends[0].get_texts()]
    assert len({round(line) for line in lines}) == rows
