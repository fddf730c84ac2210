"""The live page in headless Chromium: wide and on a phone, with and without its script."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from gst_jobflow.documents import Attempt, now
from gst_jobflow.report.web import app as web
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results

from .. import synthetic

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]

PAGES = ("/", "/iterations", "/potentials", "/datasets", "/cycles", "/studies", "/attempts", "/search?q=synthetic",
         f"/document/cycles/{synthetic.CYCLE_ID}", f"/document/potentials/{synthetic.POTENTIAL_ID}",
         "/document/studies/synthetic-ablation", "/nothing")  # fmt: skip
LONG = "x" * 150
# in the place of the page's own script, since the policy allows no other
MEASURE = """
window.addEventListener("load", () => {
  const width = WIDTH;
  // a window of Chromium is at least 500 pixels wide here
  document.documentElement.style.width = `${width}px`;
  const wide = [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.right > width + 1 && !each.closest(".scroll, nav, .shots");
  }).map((each) => `${each.tagName}.${each.className} ${each.textContent.slice(0, 40)}`);
  const broken = [...document.images].filter((each) => each.complete && !each.naturalWidth).map((each) => each.src);
  const plain = getComputedStyle(document.querySelector("nav a")).textDecorationLine === "none";
  document.documentElement.dataset.measured = JSON.stringify({ width, wide, broken, plain,
    scroll: document.documentElement.scrollWidth, window: window.innerWidth });
});
"""


@pytest.fixture
def serve(source: Source) -> Iterator[Callable[[Flask], str]]:
    """`serve(app)` serves an application and returns its address."""
    servers = []

    def start(app: Flask) -> str:
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["wide", "phone"])
def test_nothing_overflows_and_every_figure_shows(
    filled: Results, source: Source, serve, chromium, tmp_path: Path, width: int, height: int
) -> None:
    filled.update("cycles", synthetic.CYCLE_ID, {"name": f"cell {LONG}"})
    start = now()
    filled.add(
        Attempt(
            _id="long", job_uuid="u", job_name=LONG, fw_id=7, number=1, state="failed", host=LONG, pid=1,
            process_started=0.0, directory=f"/{LONG}", started_at=start, ended_at=start + timedelta(seconds=1),
            failure_class="data", reason=LONG, fix=LONG,
        )
    )  # fmt: skip
    filled.database["fireworks"].insert_one({"fw_id": 7, "name": LONG, "state": "FIZZLED"})
    app = web.create_app(source, lambda name, directory: "")
    app.view_functions["/refresh.js"] = lambda: Response(
        MEASURE.replace("WIDTH", str(width)), mimetype="text/javascript"
    )
    address = serve(app)
    for page in PAGES:
        shown = chromium(
            address + page, tmp_path / "chromium", "--virtual-time-budget=20000", "--dump-dom",
            width=width, height=height,
        )  # fmt: skip
        measured = json.loads(unescape(re.search(r'data-measured="([^"]*)"', shown)[1]))
        assert measured["wide"] == [] and measured["scroll"] <= measured["window"], (page, measured)
        assert measured["broken"] == [] and measured["plain"], (page, measured)


def test_a_page_updates_itself(
    project, source: Source, serve, chromium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_PAGE_KEPT_S", 0.0)
    results = Results.open(project)
    results.database["fireworks"].insert_one({"fw_id": 5, "name": "fit", "state": "RUNNING"})
    results.add(
        Attempt(
            _id="a5", job_uuid="u5", job_name="fit", fw_id=5, number=1, state="running", host="node-1", pid=1,
            process_started=0.0, directory="/runs/5", started_at=now(),
        )
    )  # fmt: skip
    results.database.client.close()
    looks = 0

    def detail(name: str, directory: Path) -> str:
        nonlocal looks
        looks += 1
        return f"iteration {looks}"

    address = serve(web.create_app(source, detail))
    # time passes as fast as the page allows
    shown = chromium(address, tmp_path / "chromium", "--virtual-time-budget=35000", "--dump-dom")
    assert looks >= 3 and f"iteration {looks}" in shown and "iteration 1<" not in shown
