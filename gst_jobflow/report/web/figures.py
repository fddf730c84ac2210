"""The figures of a document's live page: those of `gst figure` and of the report pages, drawn when a browser asks."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from textwrap import wrap

from pymongo.database import Database
from pymongo.errors import PyMongoError

from gst_jobflow.base.errors import DatabaseError, GstError
from gst_jobflow.documents import DOCUMENTS, ArtifactRef, Document, Potential, Study, Trajectory
from gst_jobflow.evaluation.parity import parity_file, read_parity
from gst_jobflow.report.catalogue.kinds import FigureKind, FigureRequest
from gst_jobflow.report.catalogue.registry import FIGURES
from gst_jobflow.report.figures import robustness as robustness_figures
from gst_jobflow.report.figures.cycle import run_overview
from gst_jobflow.report.figures.evaluation import accuracy_and_speed
from gst_jobflow.report.figures.iteration import PANELS
from gst_jobflow.report.figures.study import energy_parity, force_parity
from gst_jobflow.report.pages.evaluation import overall_rows
from gst_jobflow.report.pages.iteration import finished_iterations
from gst_jobflow.report.pages.robustness import robustness_runs
from gst_jobflow.report.plot_types import Figure
from gst_jobflow.report.style import to_png
from gst_jobflow.report.web.memory import Memory
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results
from gst_jobflow.store.files.references import as_bytes

logger = logging.getLogger(__name__)

ALL_POTENTIALS = "accuracy-and-speed"
"""The figure that shows all potentials, the newest `POTENTIALS_SHOWN` of them."""
POTENTIALS_SHOWN = 30
_KEPT_S = 3600.0
_TOLD_S = 30.0
"""How long the reason why a figure is not drawn is kept, s: its files may come back."""
_KEPT = 200
_MOST_WAIT = 10
_WIDE = ("cycle", "snapshots", "grains", "growth-region", "temperature-profiles", "gamma", "ablation",
         "hyperparameters", "validation", "validation-rdf", "validation-angles")  # fmt: skip


@dataclass(frozen=True)
class LiveFigure:
    """A figure that is drawn on demand; `draw` returns None where there is nothing to draw."""

    name: str
    caption: str
    draw: Callable[[], Figure | None]
    wide: bool = False


@dataclass(frozen=True)
class WebPicture:
    """An image for a browser."""

    content: bytes
    mimetype: str


def figures_of(results: Results, document: Document) -> list[LiveFigure]:
    """Return the figures of a document, not yet drawn."""
    own: Iterator[LiveFigure] = iter(())
    if isinstance(document, Study):
        own = _of_study(results, document)
    elif isinstance(document, Potential):
        own = _of_potential(results, document)
    elif isinstance(document, Trajectory):
        own = iter([LiveFigure("run", f"{document.name} ({document.protocol}).", partial(run_overview, document))])
    return [*own, *_of_catalogue(results, document)]


def _of_catalogue(results: Results, document: Document) -> Iterator[LiveFigure]:
    """Yield the figures of `gst figure` that this document has the data for."""
    stored = results.database[document.collection]
    for kind in FIGURES:
        if isinstance(document, kind.model) and stored.count_documents({"_id": document.id, **kind.where}, limit=1):
            request = FigureRequest(results, [document])
            caption = f"{kind.shows}. gst figure {kind.name} {document.id[:12]}"
            yield LiveFigure(kind.name, caption, partial(_drawn, kind, request), kind.name in _WIDE)


def _drawn(kind: FigureKind, request: FigureRequest) -> Figure:
    return kind.draw(request).figure


def _of_study(results: Results, study: Study) -> Iterator[LiveFigure]:
    if study.kind == "iteration" and (done := finished_iterations(study)):
        for number, (draw, caption) in enumerate(PANELS):
            yield LiveFigure(f"iterations-{number}", caption, partial(draw, done))
    if study.kind == "robustness" and study.table:
        caption = "Share of runs that succeed, with 95 % Wilson intervals."
        yield LiveFigure("robustness", caption, partial(robustness_figures.success_fractions, study.table))
        yield LiveFigure("survival", "Runs without a fault so far.", partial(_survival, results, study))
    if study.kind == "evaluation":
        rows = overall_rows(study)
        yield LiveFigure("accuracy", "Better is to the lower left.", partial(accuracy_and_speed, rows))


def _survival(results: Results, study: Study) -> Figure | None:
    names = {row["potential_id"]: row["potential"] for row in study.table}
    return robustness_figures.survival(robustness_runs(results, study), names, study.plan["duration_ps"])


def _of_potential(results: Results, potential: Potential) -> Iterator[LiveFigure]:
    ref = parity_file(potential)
    if ref is not None:
        for name, draw, caption in (
            ("energies", energy_parity, "Energy per atom less the atoms' reference energies"),
            ("forces", force_parity, "Force components"),
        ):
            caption = f"{caption}; open symbols: train, filled: test."
            yield LiveFigure(name, caption, partial(_parity, results, ref, draw))


def _parity(results: Results, ref: ArtifactRef, draw: Callable[..., Figure | None]) -> Figure | None:
    return draw(read_parity(results.artifacts.path(ref)))


def all_potentials(results: Results) -> LiveFigure:
    """Return force error against speed of the newest potentials that have both."""
    stored = results.database["potentials"]
    fields = {"name": 1, "rmse.test.force_meV_per_A": 1, "speed.us_per_atom_step": 1}
    newest = stored.find({}, fields).sort("created_at", -1).limit(POTENTIALS_SHOWN)
    rows = [
        {
            "potential": each["name"],
            "us_per_atom_step": each["speed"]["us_per_atom_step"],
            "force_rmse_meV_per_A": each["rmse"]["test"]["force_meV_per_A"],
        }
        for each in newest
        if each.get("speed") and "test" in each.get("rmse", {})
    ]
    return LiveFigure(ALL_POTENTIALS, "", partial(accuracy_and_speed, rows))


def version_of(database: Database, collection: str, id: str) -> str:
    """Return a text that changes with a document and with the analyses of a cycle's runs; empty if it does not exist.

    The bytes of the document are hashed as they are stored.
    """
    found = as_bytes(database[collection]).find_one({"_id": id})
    if found is None:
        return ""
    digest = hashlib.sha256(found.raw)
    if collection == "cycles":
        sizes = {"$project": {"size": {"$bsonSize": "$analysis"}}}
        for run in database["trajectories"].aggregate([{"$match": {"cycle_id": id}}, {"$sort": {"_id": 1}}, sizes]):
            digest.update(f"{run['_id']} {run['size']}".encode())
    return digest.hexdigest()[:16]


class Pictures:
    """Drawn figures, kept until their documents change. One is drawn at a time: matplotlib's style is global."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._drawn = Memory(_KEPT)
        self._drawing = threading.Lock()
        self._waiting = threading.BoundedSemaphore(_MOST_WAIT)

    def of_document(self, collection: str, id: str, name: str) -> WebPicture | None:
        """Return a figure of a document; None if there is no such document or figure."""
        with self._source.reading() as results:
            version = version_of(results.database, collection, id)
        if not version:
            return None

        def named(results: Results) -> LiveFigure | None:
            figures = figures_of(results, results.get(DOCUMENTS[collection], id))
            return next((each for each in figures if each.name == name), None)

        return self._picture((collection, id, name, version), named)

    def of_potentials(self) -> WebPicture | None:
        """Return the figure of all potentials."""
        with self._source.reading() as results:
            newest = results.database["potentials"].find_one({}, {"_id": 1}, sort=[("created_at", -1)])
        return self._picture((ALL_POTENTIALS, newest["_id"] if newest else ""), all_potentials)

    def _picture(self, key: tuple[str, ...], find: Callable[[Results], LiveFigure | None]) -> WebPicture | None:
        # threads that wait for a figure must leave some for pages
        if not self._waiting.acquire(blocking=False):
            return message(["Many figures are being drawn. Load the page again for this one."])
        try:
            return self._drawn.get(key, lambda: self._draw(find), _keep_s)
        finally:
            self._waiting.release()

    def _draw(self, find: Callable[[Results], LiveFigure | None]) -> WebPicture | None:
        """Draw a figure, or tell why not: it must not take its page along; None if there is no such figure."""
        with self._drawing, self._source.reading() as results:
            figure = find(results)
            if figure is None:
                return None
            try:
                drawn = figure.draw()
            except (DatabaseError, PyMongoError):
                raise
            except Exception as err:
                return message(_reason(figure, err), wide=figure.wide)
            if drawn is None:
                return message(["There is nothing to draw yet."], wide=figure.wide)
            return WebPicture(to_png(drawn), "image/png")


def _keep_s(picture: WebPicture | None) -> float:
    return _KEPT_S if picture is not None and picture.mimetype == "image/png" else _TOLD_S


def _reason(figure: LiveFigure, err: Exception) -> list[str]:
    """Return why a figure is not drawn, and what to do."""
    if isinstance(err, GstError):
        return [f"{err.message[:1].upper()}{err.message[1:]}.", *([err.fix] if err.fix else [])]
    if isinstance(err, ImportError):
        return [f"{err.name} is not installed.", "pip install 'gst_jobflow[analysis]'"]
    logger.warning("figure %s cannot be drawn: %s: %s", figure.name, type(err).__name__, err)
    return [f"This figure cannot be drawn ({type(err).__name__}).", "gst report says more"]


def message(texts: Sequence[str], *, wide: bool = False) -> WebPicture:
    """Return a text as a picture in the place of a figure; the first part is the reason, the rest says what to do."""
    width = 940 if wide else 470
    lines = [(line, number) for number, text in enumerate(texts) for line in wrap(text, width // 10)][:8]
    height = 34 + 22 * len(lines)
    words = "".join(
        f'<text x="20" y="{34 + 22 * row}"{_COMMAND * bool(number)}>{escape(line)}</text>'
        for row, (line, number) in enumerate(lines)
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="15" fill="#5b6470"><rect x="1" y="1" width="{width - 2}" '
        f'height="{height - 2}" rx="8" fill="#f5f7f9" stroke="#c5ccd4" stroke-dasharray="4 3"/>{words}</svg>'
    )
    return WebPicture(svg.encode(), "image/svg+xml")


_COMMAND = ' font-family="monospace" font-size="14" fill="#1d2530"'
