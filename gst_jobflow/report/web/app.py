"""The web application: addresses to pages, headers that keep browsers safe, errors as pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import resources
from typing import Any

from flask import Flask, Response, abort, redirect, render_template, request, send_file
from jinja2 import FunctionLoader, StrictUndefined
from werkzeug.exceptions import BadRequest, HTTPException

from gst_jobflow import __version__
from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.documents import DOCUMENTS, now
from gst_jobflow.report import palette, words
from gst_jobflow.report.web.document import document_page, open_file
from gst_jobflow.report.web.figures import ALL_POTENTIALS, Pictures, WebPicture, figures_of, version_of
from gst_jobflow.report.web.listing import LISTINGS, heading, list_page
from gst_jobflow.report.web.memory import Memory
from gst_jobflow.report.web.overview import Detail, overview
from gst_jobflow.report.web.search import find_hits
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results

LOOPBACK_NAMES = ("localhost", "127.0.0.1")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_PAGES_KEPT = 100
_PAGE_KEPT_S = 4.0
"""Within this time, further readers get the page that was built for the first."""
_ITERATIONS_PER_PAGE = 5
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#00589c"/>'
    '<path d="M3 11 6 5l3 5 4-6" fill="none" stroke="#fff" stroke-width="1.8"/></svg>'
)
_PAGES = (
    ("/", "Now"), ("/iterations", "Iterations"), ("/potentials", "Potentials"), ("/datasets", "Datasets"),
    ("/cycles", "Cycles"), ("/studies", "Studies"), ("/attempts", "Attempts"),
)  # fmt: skip


def create_app(source: Source, detail: Detail, names: Sequence[str] = LOOPBACK_NAMES) -> Flask:
    """Return the application.

    `names` are those of this host that a browser may ask for; another name is refused, since a foreign page may make it
    point here.
    """
    app = Flask(__name__, static_folder=None, template_folder=None)
    app.config["TRUSTED_HOSTS"] = [plain_host(name) for name in names]
    app.wsgi_app = _with_plain_host(app.wsgi_app)  # type: ignore[method-assign]
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_loader = FunctionLoader(_template)
    app.jinja_env.globals |= {
        "project": source.project.root.name, "pages": _PAGES, "version": __version__, "words": words, "now": now,
    }  # fmt: skip
    _Site(source, detail).register(app)
    app.before_request(_only_reading)
    app.after_request(_with_headers)
    app.register_error_handler(DatabaseError, _away)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(Exception, _fault)
    return app


def plain_host(host: str) -> str:
    """Return `NAME` or `NAME:PORT` of a host for comparison: in lower case, without the dot that ends a full name."""
    name, colon, port = host.strip().lower().partition(":")
    return name.removesuffix(".") + colon + port


def _with_plain_host(answer: Callable[..., Any]) -> Callable[..., Any]:
    def answer_plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if "HTTP_HOST" in environ:
            environ["HTTP_HOST"] = plain_host(environ["HTTP_HOST"])
        return answer(environ, start_response)

    return answer_plain


def _template(name: str) -> str | None:
    """Return a template of the live page, else of the report pages."""
    for package in ("gst_jobflow.report.web", "gst_jobflow.report.pages"):
        file = resources.files(package) / name
        if file.is_file():
            return file.read_text("utf-8")
    return None


def style_sheet() -> str:
    """Return the style of the report pages, that of the live page, and the colours of operations and config types."""
    common = re.sub(r"</?style>", "", _template("style.html") or "")
    # style attributes are not allowed, so colours have classes
    colours = [f".flow.{kind} {{ background: {colour}; }}" for kind, colour in palette.OPERATIONS.items()]
    colours += [f".type-{name} {{ background: {colour}; }}" for name, colour in palette.CONFIG_TYPES.items()]
    return "\n".join([common, _template("web.css") or "", *colours])


class _Site:
    """The pages of a project, each kept for a moment."""

    def __init__(self, source: Source, detail: Detail) -> None:
        self.source, self.detail = source, detail
        self.pictures = Pictures(source)
        self._built = Memory(_PAGES_KEPT)

    def register(self, app: Flask) -> None:
        """Connect addresses with pages."""
        style, script = style_sheet(), _template("refresh.js") or ""
        views: tuple[tuple[str, Callable[..., Any]], ...] = (
            ("/", self._page(self.now)),
            ("/iterations", self._page(self.iterations)),
            *((f"/{name}", self._page(self.listed, name)) for name in LISTINGS),
            ("/document/<collection>/<id>", self._page(self.document)),
            ("/search", self._page(self.search)),
            ("/figure/<collection>/<id>/<name>.png", self.figure),
            (f"/figure/{ALL_POTENTIALS}.png", lambda: _image(self.pictures.of_potentials())),
            ("/file/<collection>/<id>/<digest>", self.file),
            ("/icon.svg", lambda: Response(_ICON, mimetype="image/svg+xml")),
            ("/style.css", lambda: Response(style, mimetype="text/css")),
            ("/refresh.js", lambda: Response(script, mimetype="text/javascript")),
        )
        for rule, view in views:
            app.add_url_rule(rule, rule, view, methods=["GET"], provide_automatic_options=False)

    def _page(self, build: Callable[..., Any], *given: str) -> Callable[..., Any]:
        """Return the view of a page, which is built once a moment for all readers."""

        def made(values: dict[str, str]) -> Any:
            with self.source.reading() as results:
                return build(results, *given, **values)

        @wraps(build)
        def view(**values: str) -> Any:
            key = (build.__name__, *given, *sorted(values.items()), *sorted(request.args.items()))
            content = self._built.get(key, lambda: made(values), lambda _: _PAGE_KEPT_S)
            if not isinstance(content, str):
                return content
            return Response(content, mimetype="text/html")

        return view

    def now(self, results: Results) -> str:
        """Show what runs, waits and failed."""
        return render_template("now.html", title="Now", **overview(results.database, self.detail))

    def iterations(self, results: Results) -> str:
        """Show the newest training protocols with their tables and figures."""
        stored, where = results.database["studies"], {"kind": "iteration"}
        total, number = stored.count_documents(where), _number()
        pages = max(1, -(-total // _ITERATIONS_PER_PAGE))
        number = min(number, pages)
        ids = [each["_id"] for each in stored.find(where, {"_id": 1}).sort("created_at", -1)
               .skip((number - 1) * _ITERATIONS_PER_PAGE).limit(_ITERATIONS_PER_PAGE)]  # fmt: skip
        shown = []
        for study in results.get_many(DOCUMENTS["studies"], ids):
            page = document_page(results, "studies", study.id, version_of(results.database, "studies", study.id))
            shown.append({**page, "figures": [each for each in page["figures"] if each.name.startswith("iterations-")]})
        return render_template(
            "iterations.html", title="Iterations", studies=shown, number=number, pages_in_all=pages, total=total
        )

    def listed(self, results: Results, collection: str) -> str:
        """Show a page of a list."""
        choice = request.args.get(LISTINGS[collection].choices[0], "") if LISTINGS[collection].choices[0] else ""
        firework = request.args.get("firework", "")
        by_firework = collection == "attempts" and firework.isdecimal() and len(firework) < 19
        where = {"fw_id": int(firework)} if by_firework else None
        found = list_page(results.database, collection, _number(), choice, where)
        return render_template(
            "list.html",
            title=collection.capitalize(),
            collection=collection,
            page=found,
            heading=heading(collection, found.total),
            field=LISTINGS[collection].choices[0],
            firework=firework if by_firework else "",
            figure=f"/figure/{ALL_POTENTIALS}.png" if collection == "potentials" and found.total > 1 else "",
            newest=self._newest_figures(results, collection) if found.number == 1 and not found.choice else None,
        )

    def _newest_figures(self, results: Results, collection: str) -> dict[str, Any] | None:
        """Return the figures of the newest dataset or cycle."""
        if collection not in ("datasets", "cycles"):
            return None
        newest = results.database[collection].find_one({}, {"_id": 1}, sort=[("created_at", -1)])
        if newest is None:
            return None
        id = newest["_id"]
        document: Any = results.get(DOCUMENTS[collection], id)
        version = version_of(results.database, collection, id)
        figures = figures_of(results, document)[:2]
        return {"collection": collection, "id": id, "name": document.name, "figures": figures, "version": version}

    def document(self, results: Results, collection: str, id: str) -> str:
        """Show one document."""
        version = version_of(results.database, collection, id) if collection in DOCUMENTS else ""
        if not version:
            abort(404, f"There is no document '{id}' in {collection}.")
        content = document_page(results, collection, id, version)
        return render_template("document.html", title=content["name"], **content)

    def search(self, results: Results) -> Any:
        """Show what fits a text, or go to the one document that does."""
        text = request.args.get("q", "")
        found = find_hits(results.database, text)
        if found.alone:
            return redirect(f"/document/{found.alone.collection}/{found.alone.id}")
        return render_template("search.html", title="Search", text=text, found=found)

    def figure(self, collection: str, id: str, name: str) -> Response:
        """Send a figure of a document."""
        return _image(self.pictures.of_document(collection, id, name) if collection in DOCUMENTS else None)

    def file(self, collection: str, id: str, digest: str) -> Response:
        """Send a file that a document names; browsers store it and do not show it."""
        if collection not in DOCUMENTS:
            abort(404, f"There is no collection '{collection}'.")
        with self.source.reading() as results:
            found = open_file(results, collection, id, digest)
        if found is None:
            abort(404, "The document names no such file, or the file is missing.")
        stream, name = found
        return send_file(stream, "application/octet-stream", as_attachment=True, download_name=name)


def _number() -> int:
    """Return the number of the page that is asked for."""
    text = request.args.get("page", "1")
    return max(1, int(text)) if text.isdecimal() and len(text) < 9 else 1


def _image(picture: WebPicture | None) -> Response:
    if picture is None:
        abort(404, "There is no such figure.")
    response = Response(picture.content, mimetype=picture.mimetype)
    response.add_etag()
    response.make_conditional(request)
    return response


def _only_reading() -> None:
    if isinstance(request.routing_exception, BadRequest):
        # of a foreign host, before any other answer
        raise request.routing_exception
    if request.method not in ("GET", "HEAD"):
        abort(405)


def _with_headers(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    return response


def _away(err: DatabaseError) -> tuple[str, int, dict[str, str]]:
    content = _message("The database does not answer", f"{err.message}.", err.fix, "This page comes back by itself.")
    return content, 503, {"Retry-After": "10"}


def _refused(err: HTTPException) -> Response | tuple[str, int]:
    if err.code == 400:
        # a foreign page that makes its name point here may read this, so it tells nothing of the project or the host
        return Response("This name of the host, or this request, is not known here.\n", 400, mimetype="text/plain")
    return _message(str(err.name), str(err.description)), err.code or 500


def _fault(err: Exception) -> tuple[str, int]:
    logging.getLogger(__name__).error("%s cannot be shown", request.path, exc_info=err)
    text = f"This page cannot be shown ({type(err).__name__}); where gst web runs, its output says why."
    return _message("A fault of this page", text), 500


def _message(title: str, text: str, fix: str = "", soft: str = "") -> str:
    return render_template("message.html", title=title, text=text, fix=fix, soft=soft)
