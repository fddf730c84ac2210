"""Every command of `gst` that a page shows exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gst_jobflow.cli.main import app
from scripts._pages import DOCS

PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
# what the page leaves out, and what the shell reads
_NO_WORDS = {"…", "|", ">", "&&", "||"}


def shown_commands(text: str) -> Iterator[list[str]]:
    """Words of each command line of `gst` in the shell blocks of a page, without `gst`."""
    for block in re.findall(r"^```(?:bash|sh|console)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\s&&\s", line.strip().removeprefix("$ ")):
                if re.match(r"([A-Z_]+=\S+ )*gst ", part):
                    words = shlex.split(part, comments=True)
                    yield words[words.index("gst") + 1 :]


def faults(words: list[str]) -> Iterator[str]:
    """What is wrong with a command line: an unknown subcommand or option."""
    command: Any = get_command(app)
    known = _options(command)
    left = iter(words)
    for word in left:
        if word in _NO_WORDS:
            return
        if known.get(word):
            next(left, None)
        elif word.startswith("-") and not re.fullmatch(r"-\d.*", word):
            if word.split("=")[0] not in known:
                yield f"{' '.join(words)}: {command.name} has no {word}"
        elif hasattr(command, "list_commands") and word in command.list_commands(None):
            command = command.get_command(_Context, word)
            known |= _options(command)


class _Context:
    command_path = "gst"


def _options(command: Any) -> dict[str, bool]:
    """Options of a command, and whether a value follows them."""
    named = {name: not getattr(param, "is_flag", False) for param in command.params for name in param.opts}
    return {"-h": False, "--help": False, **named}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shown_commands_and_options_exist(page: Path) -> None:
    assert [fault for words in shown_commands(page.read_text()) for fault in faults(words)] == []


def test_a_wrong_option_is_found() -> None:
    assert list(faults(["submit", "fit", "x", "--nonsense"])) != []
    assert list(faults(["-p", "x", "query", "labels", "-w", "a>-3", "--sort", "-wall_s"])) == []
