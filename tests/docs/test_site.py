"""The docs site builds without a warning, holds every page and command, and asks no other server for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gst_jobflow.base.categories import CATEGORIES
from gst_jobflow.base.resources import Resources
from gst_jobflow.base.settings import CORES_VARIABLE, PROJECT_VARIABLE, WORKERS_VARIABLE, known_variables
from gst_jobflow.cli.main import SECTIONS as GST
from gst_jobflow.cli.submit import SECTIONS as SUBMIT
from gst_jobflow.documents import DOCUMENTS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pytest.importorskip("mkdocs", reason="the extra dev installs it")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a page that the navigation lacks, a dead link or anchor, or a wrong docstring is a failure."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    faults = [line for line in done.stderr.splitlines() if not line.startswith("INFO")]
    assert done.returncode == 0 and faults == [], "mend docs/ or the nav in mkdocs.yml:\n" + "\n".join(faults)
    return folder


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"""<(?:script|img|iframe|link)[^>]*?(?:src|href)=["']?((?:https?:)?//[^"' >]+)""")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    assert {page.name: found for page in pages if (found := loads.findall(page.read_text()))} == {}
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//", styles) == []


def test_every_command_option_and_field_is_in_the_reference(site: Path) -> None:
    commands = site / "reference" / "cli"
    names = [name for section in GST.values() for name in section]
    assert sorted(page.stem for page in commands.glob("*.html")) == sorted(names)
    submit = (commands / "submit.html").read_text()
    assert all(f"gst submit {name}" in submit for section in SUBMIT.values() for name in section)
    assert "--default-config-type &lt;str&gt;" in (commands / "structures.html").read_text()
    fields = (site / "reference" / "documents.html").read_text()
    assert all(f"<code>{field}</code>" in fields for model in DOCUMENTS.values() for field in model.model_fields)


def test_every_setting_is_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "settings.html").read_text()
    named = {f"GST_{key.replace('.', '__')}".upper() for key in re.findall(r"<code>([\w.]+)</code>", page)}
    of_no_file = {PROJECT_VARIABLE, CORES_VARIABLE, WORKERS_VARIABLE}
    resources = re.compile(rf"GST_QUEUE__(?:EVERY|{'|'.join(CATEGORIES).upper()})__")
    sections = {"GST_" + name.upper() for name in re.findall(r'<h2 id="(\w+)"', page)}
    assert {each for each in known_variables() - of_no_file - sections if not resources.match(each)} <= named
    assert {f"GST_{name}".upper() for name in Resources.model_fields} <= named


def test_every_room_is_in_the_reference(site: Path) -> None:
    rooms = {file.parent.name for file in (ROOT / "gst_jobflow").glob("*/__init__.py")} - {"cli"}
    pages = {page.stem: page.read_text() for page in (site / "reference" / "python").glob("*.html")}
    assert set(pages) == rooms
    assert "gst_jobflow.store.query.find" in pages["store"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_pages_read_as_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_links_to_pages() -> None:
    assert "](docs/index.md)" in (ROOT / "README.md").read_text()
