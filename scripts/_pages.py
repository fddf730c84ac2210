"""The code blocks of a page of docs/, run in order in a project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
_FENCE = re.compile(
    r"^(?P<note><!-- not run: [^\n]+ -->\n\n?)?```(?P<kind>\w+)(?: title=\"(?P<file>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class BlockError(Exception):
    """A block of a page failed, or a page has none to run."""


class Block(NamedTuple):
    """A fenced block: `file` is its title, and `run` false where the page says why it is not run."""

    kind: str
    file: str
    text: str
    run: bool


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page of docs/ in order; a comment `<!-- not run: why -->` before a block excepts it."""
    found = _FENCE.finditer((DOCS / page).read_text())
    return [Block(item["kind"], item["file"] or "", item["text"], item["note"] is None) for item in found]


def run_page(page: str, project: Path, *, show: bool = False) -> str:
    """Run the shell and Python blocks of a page in a project folder; blocks with a title become files first.

    Returns what the shell printed; `show` prints commands and output as they come instead.

    Raises
    ------
    BlockError
        A command failed, or there is none.
    """
    said = []
    for block in (item for item in blocks(page) if item.run):
        if block.file:
            (project / block.file).write_text(block.text)
        elif block.kind in ("bash", "sh", "python"):
            said.append(_run(block, project, show))
    if not said:
        raise BlockError(f"{page} has no block to run")
    return "".join(said)


def _run(block: Block, folder: Path, show: bool) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "GST_PROJECT": str(folder), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-"] if block.kind == "python" else ["bash", "-e", "-o", "pipefail", "-s"]
    if show:
        print("\n" + block.text, flush=True)
    done = subprocess.run(
        program, input=block.text, capture_output=not show, text=True, cwd=folder, env=environment, check=False
    )
    output = (done.stdout or "", done.stderr or "")
    if done.returncode:
        raise BlockError("\n".join((block.text, *(text[-3000:] for text in output))))
    return output[0]
