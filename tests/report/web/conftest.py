"""A live page of a project with invented documents, and a browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.report.web.app import create_app
from gst_jobflow.report.web.source import Source
from gst_jobflow.store import Results
from gst_jobflow.store.users import add_user

from .. import synthetic

Get = Callable[..., Any]


@pytest.fixture
def source(project: Project) -> Iterator[Source]:
    """The results of a project by an account that may only read; tests that use it are marked fresh_database."""
    add_user(project, "web", "reader")
    opened = Source(project, "web")
    yield opened
    opened.close()


@pytest.fixture
def filled(project: Project) -> Iterator[Results]:
    """Results with a study, a cycle, an ablation and attempts."""
    results = Results.open(project)
    synthetic.add_study(results)
    synthetic.add_ablation(results)
    yield results
    results.database.client.close()


@pytest.fixture
def get(source: Source) -> Get:
    """`get(path)` answers as the page of the project."""
    client = create_app(source, lambda name, directory: f"in {directory.name}").test_client()
    return lambda path, **options: client.get(path, base_url="http://localhost", **options)


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of random numbers with a seed."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def chromium() -> Callable[..., str]:
    """`chromium(address, picture, width, height)` shows a page in headless Chromium and returns what it wrote."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed")

    def run(address: str, folder: Path, *options: str, width: int = 1280, height: int = 900) -> str:
        words = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}",
            f"--window-size={width},{height}", *options, address,
        ]  # fmt: skip
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout

    return run


def links(html: str) -> list[str]:
    """All addresses that a page links to or loads."""
    return re.findall(r'(?:href|src|action)="([^"]*)"', html)
