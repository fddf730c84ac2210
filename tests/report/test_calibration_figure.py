"""The ROC of k-bar as a figure."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from gst_jobflow.analysis.soap import calibrate
from gst_jobflow.report.figures.calibration import k_bar_roc
from gst_jobflow.report.style import to_png


def test_a_calibration_is_drawn_with_the_values_that_it_is_of() -> None:
    random = np.random.default_rng(0)
    values = {
        name: {"crystal": random.normal(high, 0.04, 500), "liquid": random.normal(0.5, 0.1, 500)}
        for name, high in (("blind", 0.6), ("species", 0.9))
    }
    found = {name: calibrate([of["crystal"]], [of["liquid"]]) for name, of in values.items()}
    png = to_png(k_bar_roc(found, values))
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG" and image.width > 1000
    # a setting less changes what is drawn
    assert to_png(k_bar_roc({"species": found["species"]}, values)) != png
    assert k_bar_roc({}, {}) is None
