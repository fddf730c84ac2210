from __future__ import annotations

from collections.abc import Iterator

import pytest

from gst_jobflow.base.settings import Project
from gst_jobflow.store import Results


@pytest.fixture
def results(project: Project) -> Iterator[Results]:
    """An empty results database."""
    opened = Results.open(project)
    yield opened
    opened.database.client.close()
