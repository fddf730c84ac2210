"""The live page: what each address shows, that it only reads, and that nothing of a document becomes markup."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.documents import Attempt, Study, now
from gst_jobflow.report.web.figures import figures_of
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results
from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.users import add_user

from .. import synthetic
from .conftest import Get, links

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]

PAGES = ("/", "/iterations", "/potentials", "/datasets", "/cycles", "/studies", "/attempts", "/search")
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_an_empty_project_has_all_its_pages(get: Get) -> None:
    for page in PAGES:
        answer = get(page)
        assert answer.status_code == 200, (page, answer.text)
    assert "gst demo" in get("/").text and "No job runs." in get("/").text
    assert "gst submit iterate" in get("/iterations").text


def test_every_link_of_a_filled_project_leads_somewhere(get: Get, filled: Results) -> None:
    seen, left = set(), [*PAGES]
    while left:
        path = left.pop()
        if path in seen or path.startswith("/figure/"):
            continue
        seen.add(path)
        answer = get(path)
        assert answer.status_code == 200, (path, answer.text)
        if answer.mimetype == "text/html":
            found = [link.replace("&amp;", "&") for link in links(answer.text)]
            left += [path.partition("?")[0] + link if link.startswith("?") else link for link in found]
    kinds = {path.split("/")[2] for path in seen if path.startswith("/document/")}
    assert kinds >= {"datasets", "potentials", "cycles", "studies", "attempts", "trajectories", "structures"}
    assert any(path.startswith("/file/") for path in seen)


def test_figures_are_drawn_once_and_again_when_their_document_changed(get: Get, filled: Results) -> None:
    page, study = "/document/studies/synthetic-ablation", filled.get(Study, "synthetic-ablation")
    (address,) = {link for link in links(get(page).text) if "/ablation.png" in link}
    first = get(address)
    assert first.mimetype == "image/png" and first.data.startswith(b"\x89PNG")
    assert get(address, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    table = [{**row, "test_force_meV_per_A": 9 * row["test_force_meV_per_A"]} for row in study.table]
    filled.update("studies", study.id, {"table": table})
    assert get(address).headers["ETag"] != first.headers["ETag"]


def test_a_figure_without_its_data_says_what_adds_it(get: Get, filled: Results) -> None:
    answer = get(f"/figure/cycles/{synthetic.CYCLE_ID}/growth-region.png")
    assert answer.status_code == 200 and answer.mimetype == "image/svg+xml"
    assert "gst analyse" in answer.text
    # a figure that cannot be drawn today may be tomorrow
    assert get("/figure/cycles/nothing/cycle.png").status_code == 404


def test_figures_whose_files_are_missing_do_not_take_the_page_along(get: Get, filled: Results) -> None:
    for file in filled.artifacts.root.rglob("*"):
        if file.is_file():
            file.unlink()
    page = get(f"/document/potentials/{synthetic.POTENTIAL_ID}")
    assert page.status_code == 200 and "missing" in page.text
    picture = get(f"/figure/potentials/{synthetic.POTENTIAL_ID}/energies.png")
    assert picture.mimetype == "image/svg+xml" and "missing" in picture.text
    assert not [link for link in links(page.text) if link.startswith("/file/")], "nothing to fetch"


def test_only_reading_is_possible(get: Get, source: Source, project) -> None:
    from gst_jobflow.report.web.app import create_app

    client = create_app(source, lambda name, directory: "").test_client()
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        for page in (*PAGES, "/document/studies/x", "/nothing"):
            assert client.open(page, method=method, base_url="http://localhost").status_code == 405, (method, page)
    assert client.head("/", base_url="http://localhost").status_code == 200


def test_its_account_may_not_write(source: Source) -> None:
    with pytest.raises(DatabaseError, match="may not do that"), source.reading() as results:
        results.database["studies"].insert_one({"_id": "x"})


def test_an_account_that_may_write_is_refused(project) -> None:
    add_user(project, "writer", "worker")
    with pytest.raises(DatabaseError, match="'writer' may do more than read"), Source(project, "writer").reading():
        pass


def test_an_unknown_name_of_the_host_is_refused(source: Source) -> None:
    from gst_jobflow import __version__
    from gst_jobflow.report.web.app import LOOPBACK_NAMES, create_app

    client = create_app(source, lambda name, directory: "", (*LOOPBACK_NAMES, "Login.Example.")).test_client()
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "localhost..",
        ".",
        "",
    ):
        for method in ("GET", "POST"):
            answer = client.open("/", method=method, headers={"Host": host})
            assert answer.status_code == 400, host
            assert answer.mimetype == "text/plain" and len(answer.text.splitlines()) == 1
            assert source.project.root.name not in answer.text and __version__ not in answer.text
    for host in ("localhost", "localhost:9", "127.0.0.1:8765", "LOCALHOST:8791", "localhost.", "Localhost.:8791",
                 "login.example", "LOGIN.example.:80"):  # fmt: skip
        assert client.get("/", headers={"Host": host}).status_code == 200, host


def test_answers_keep_browsers_from_loading_or_showing_anything_else(get: Get, filled: Results) -> None:
    for page in (*PAGES, "/nothing", "/style.css", "/refresh.js", f"/document/studies/{synthetic.STUDY_ID}"):
        headers = get(page).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and "frame-ancestors 'none'" in policy
    for page in PAGES:
        text = get(page).text
        assert not re.search(r"<script>|<style|\son\w+=|\sstyle=|https?://", text), page


def test_names_of_documents_never_become_markup(get: Get, filled: Results) -> None:
    filled.add(
        Study(_id=f"s{EVIL}", name=EVIL, kind="analysis", plan={EVIL: EVIL}, table=[{EVIL: EVIL}], state="failed")
    )
    filled.update("cycles", synthetic.CYCLE_ID, {"name": EVIL})
    start = now()
    attempt = {"job_uuid": EVIL, "job_name": EVIL, "number": 1, "host": EVIL, "pid": 1, "process_started": 0.0}
    filled.add(
        Attempt(
            _id="evil-attempt", state="failed", directory=EVIL, started_at=start, fw_id=7,
            ended_at=start + timedelta(seconds=1), reason=EVIL, failure_class=EVIL, **attempt,
        )
    )  # fmt: skip
    filled.database["fireworks"].insert_one({"fw_id": 7, "name": EVIL, "state": "FIZZLED"})
    evil_id = "s%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E%3Cimg%20src%3Dx%20onerror%3Dalert%282%29%3E"
    pages = [*PAGES, f"/search?q={EVIL}", "/attempts?firework=7", "/document/attempts/evil-attempt"]
    pages += [f"/document/cycles/{synthetic.CYCLE_ID}", f"/document/{EVIL}/x", f"/document/studies/{evil_id}"]
    shown = 0
    for page in pages:
        text = get(page).text
        assert "<script>alert" not in text and "<img src=x" not in text, page
        shown += "&lt;script&gt;alert(1)" in text
    assert shown >= 6, "the names are on these pages"


@pytest.mark.parametrize(
    "path",
    [
        "/file/studies/{study}/../../gst.yaml",
        "/file/potentials/{potential}/%2e%2e%2f%2e%2e%2fgst.yaml",
        "/file/potentials/{potential}/{other}",
        "/file/studies/{study}/{known}",
        "/file/users/x/{known}",
        "/document/system.users/x",
        "/document/gst_meta/schema",
        "/figure/potentials/{potential}/../../../etc/passwd.png",
        "/figure/potentials/{potential}/nothing.png",
        "/figure/potentials/nothing/energies.png",
        "/base.html",
        "/%2e%2e/gst.yaml",
    ],
)
def test_no_request_reaches_a_file_that_its_document_does_not_name(get: Get, filled: Results, path: str) -> None:
    known = filled.database["potentials"].find_one(synthetic.POTENTIAL_ID)["artifacts"]["yaml"]["sha256"]
    secret = filled.artifacts.root / "secret"
    secret.write_text("secret")
    other = ArtifactStore(filled.artifacts.root).put(secret).sha256
    found = path.format(study=synthetic.STUDY_ID, potential=synthetic.POTENTIAL_ID, other=other, known=known)
    answer = get(found)
    assert answer.status_code == 404 and "secret" not in answer.text, answer.text


def test_a_file_that_a_document_names_is_sent_to_be_stored(get: Get, filled: Results) -> None:
    ref = filled.database["potentials"].find_one(synthetic.POTENTIAL_ID)["artifacts"]["yaml"]
    answer = get(f"/file/potentials/{synthetic.POTENTIAL_ID}/{ref['sha256']}")
    assert answer.status_code == 200 and len(answer.data) == ref["size_bytes"]
    assert answer.headers["Content-Disposition"].startswith("attachment") and ref["name"] in str(answer.headers)
    assert answer.mimetype == "application/octet-stream"


def test_failed_jobs_stand_first_with_what_to_do(get: Get, project) -> None:
    results = Results.open(project)
    start = now()
    for fw_id, reason in ((1, "no licence"), (2, "out of memory")):
        results.database["fireworks"].insert_one({"fw_id": fw_id, "name": f"label {fw_id}", "state": "FIZZLED"})
        results.add(
            Attempt(
                _id=f"a{fw_id}", job_uuid=f"u{fw_id}", job_name=f"label {fw_id}", fw_id=fw_id, number=1,
                state="failed", host="node-1", pid=1, process_started=0.0, directory="x", started_at=start,
                ended_at=start, failure_class="missing_program", reason=reason, fix="module load vasp",
            )
        )  # fmt: skip
    results.database["fireworks"].insert_one({"fw_id": 3, "name": "fit", "state": "WAITING"})
    results.database["fireworks"].insert_one({"fw_id": 4, "name": "cells", "state": "READY"})
    text = get("/").text
    results.database.client.close()
    assert text.index("out of memory") < text.index("no licence") < text.index("Running")
    assert "module load vasp" in text and "missing_program" in text and "gst launch" in text
    assert 'href="/attempts?firework=2"' in text
    assert "no licence" in get("/attempts?firework=1").text and "out of memory" not in get("/attempts?firework=1").text


def test_of_many_failures_the_newest_are_listed(get: Get, project) -> None:
    results = Results.open(project)
    results.database["fireworks"].insert_many(
        {"fw_id": number, "name": f"job {number}", "state": "FIZZLED"} for number in range(1, 61)
    )
    results.database.client.close()
    text = get("/").text
    assert re.findall(r">job (\d+)<", text) == [str(number) for number in range(60, 10, -1)]
    assert "10 older ones: gst status" in text and ">60<" in text


def test_a_running_job_tells_how_far_it_is(get: Get, project) -> None:
    results = Results.open(project)
    results.database["fireworks"].insert_one({"fw_id": 5, "name": "fit", "state": "RUNNING"})
    results.add(
        Attempt(
            _id="a5", job_uuid="u5", job_name="fit", fw_id=5, number=1, state="running", host="node-1", pid=1,
            process_started=0.0, directory="/runs/launcher_5", started_at=now() - timedelta(minutes=3),
        )
    )  # fmt: skip
    results.database.client.close()
    assert "in launcher_5" in get("/").text and "3 min" in get("/").text


def test_the_search_box_finds_ids_beginnings_names_and_fireworks(get: Get, filled: Results) -> None:
    def place(text: str) -> str:
        answer = get(f"/search?q={text}")
        return answer.headers.get("Location", "")

    assert place(synthetic.POTENTIAL_ID) == f"/document/potentials/{synthetic.POTENTIAL_ID}"
    assert place("synthetic-pot") == f"/document/potentials/{synthetic.POTENTIAL_ID}"
    assert place("in MINIATURE") == f"/document/studies/{synthetic.STUDY_ID}"
    several = get("/search?q=synthetic").text
    assert all(f"/document/{kind}/" in several for kind in ("datasets", "potentials", "studies", "cycles"))
    assert "/attempts?firework=2" in get("/search?q=2").text
    assert "at least 6 characters" in get("/search?q=zzz").text
    for odd in ("%00", "a" * 5000, "%F0%9F%92%A9", "$where", "{%24ne:1}", "9" * 30, "%ff%fe", "^.*"):
        assert get(f"/search?q={odd}").status_code == 200, odd


def test_lists_go_on_page_by_page(get: Get, project) -> None:
    results = Results.open(project)
    start = now()
    results.add_many(
        Study(_id=f"study-{number:03d}", name=f"study {number:03d}", kind="scaling" if number % 2 else "robustness",
              plan={}, created_at=start + timedelta(seconds=number))
        for number in range(120)
    )  # fmt: skip
    results.database.client.close()
    names = [re.findall(r">study (\d+)<", get(f"/studies?page={number}").text) for number in (1, 2, 3)]
    assert [int(name) for page in names for name in page] == list(range(119, -1, -1)) and len(names[0]) == 50
    assert re.findall(r">study (\d+)<", get("/studies?page=999999").text) == names[2], "the last page"
    odd = re.findall(r">study (\d+)<", get("/studies?kind=scaling&page=2").text)
    assert [int(name) for name in odd] == list(range(19, 0, -2))
    for page in ("0", "-1", "x", "1e9", "9" * 40):
        assert re.findall(r">study (\d+)<", get(f"/studies?page={page}").text) == names[0]


def test_a_study_that_lacks_what_its_kind_promises_is_shown(get: Get, project) -> None:
    results = Results.open(project)
    kinds = ("iteration", "robustness", "scaling", "validation", "hyperopt", "evaluation", "ablation", "ensemble")
    for kind in kinds:
        results.add(Study(_id=f"half-{kind}", name=f"half {kind}", kind=kind, plan={}, state="failed"))
    for kind in kinds:
        answer = get(f"/document/studies/half-{kind}")
        assert answer.status_code == 200 and "failed" in answer.text, kind
        for figure in figures_of(results, results.get(Study, f"half-{kind}")):
            assert get(f"/figure/studies/half-{kind}/{figure.name}.png").status_code == 200, figure.name
    assert get("/iterations").status_code == 200
    results.database.client.close()


def test_lineage_of_a_potential_shows_parents_and_children(get: Get, filled: Results, rng) -> None:
    first = filled.database["potentials"].find_one(synthetic.POTENTIAL_ID)
    for number, parent in ((1, synthetic.POTENTIAL_ID), (2, "upfit-1"), (3, "upfit-2")):
        copy = {**first, "_id": f"upfit-{number}", "name": f"upfit number {number}", "parent_id": parent}
        filled.database["potentials"].insert_one(copy)
    text = get("/document/potentials/upfit-2").text
    tree = text[text.index('class="tree"') : text.index("Where it came from")]
    places = [tree.index(first["name"]), *(tree.index(f"upfit number {number}") for number in (1, 2, 3))]
    assert places == sorted(places) and "<b>upfit number 2</b>" in tree
    assert get("/figure/accuracy-and-speed.png").status_code == 200
    assert "/document/potentials/upfit-1" in get("/potentials").text


def test_a_fault_of_one_page_is_a_page(get: Get, filled: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gst_jobflow.report.web.app.overview", lambda *_: 1 / 0)
    answer = get("/")
    assert answer.status_code == 500 and "ZeroDivisionError" in answer.text and "Traceback" not in answer.text
    assert get("/studies").status_code == 200


def test_templates_are_in_the_package() -> None:
    from gst_jobflow.report import web

    assert {file.name for file in Path(web.__file__).parent.glob("*.html")} >= {
        "base.html",
        "now.html",
        "document.html",
    }
