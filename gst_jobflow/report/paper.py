"""Read the numbers of the reference paper that figures overlay; paper.yaml holds them with their source."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def paper_numbers() -> dict[str, Any]:
    """Return the content of paper.yaml: `source`, and a mapping for each part of the paper."""
    content: dict[str, Any] = yaml.safe_load((resources.files("gst_jobflow.report") / "paper.yaml").read_text("utf-8"))
    return content
