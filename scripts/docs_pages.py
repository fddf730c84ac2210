"""Write the reference pages of the docs site: commands from their help; settings, documents and Python from the code.

A hook of MkDocs. Serve the site with `mkdocs serve`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from typer.main import get_command

from gst_jobflow.base.resources import Resources
from gst_jobflow.base.settings import Settings
from gst_jobflow.base.strict import StrictModel
from gst_jobflow.cli.main import app
from gst_jobflow.documents import DOCUMENTS

PACKAGE = Path(__file__).parents[1] / "gst_jobflow"
NOTEBOOK = PACKAGE.parent / "examples" / "flow.ipynb"
# pages link to what a page is made from, so that their links work as files, too
MADE_FROM = {
    "../examples/flow.ipynb": "notebook.md",
    "../gst_jobflow/base/settings.py": "reference/settings.md",
    "../gst_jobflow/documents/": "reference/documents.md",
    "../gst_jobflow/store/": "reference/python/store.md",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the reference pages to the section Reference of the navigation."""
    reference = next(section["Reference"] for section in config.nav or [] if "Reference" in section)
    reference += [
        {"Settings": "reference/settings.md"},
        {"Fields of documents": "reference/documents.md"},
        {"Commands": [{f"gst {name}": f"reference/cli/{name}.md"} for name in pages_of_commands()]},
        {"Python": [{name: f"reference/python/{name}.md"} for name in pages_of_rooms()]},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference pages to the files of the site."""
    pages = {"reference/documents.md": page_of_documents(), "notebook.md": page_of_notebook(NOTEBOOK)}
    pages["reference/settings.md"] = page_of_settings()
    pages |= {f"reference/cli/{name}.md": text for name, text in pages_of_commands().items()}
    pages |= {f"reference/python/{name}.md": text for name, text in pages_of_rooms().items()}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return a page whose links lead to the pages that are made from files."""
    for file, page in MADE_FROM.items():
        markdown = markdown.replace(f"]({file})", f"]({page})")
    return markdown


def page_of_notebook(file: Path) -> str:
    """Return the cells of an executed notebook with what they printed and drew."""
    lines: list[str] = []
    for cell in json.loads(file.read_text())["cells"]:
        source = "".join(cell["source"])
        lines += [source, ""] if cell["cell_type"] == "markdown" else ["```python", source, "```", ""]
        for output in cell.get("outputs", []):
            if "text" in output:
                lines += ["```text", "".join(output["text"]).rstrip(), "```", ""]
            elif image := output.get("data", {}).get("image/png"):
                lines += [f'<img alt="Figure of the cell" src="data:image/png;base64,{"".join(image.split())}">', ""]
    return "\n".join(lines)


def page_of_documents() -> str:
    """Return a table of fields for each collection of the database."""
    lines = ["# Fields of documents", "", "The names that queries take, by collection; `_id` is written `id`.", ""]
    for collection, model in DOCUMENTS.items():
        lines += [f"## {collection}", "", _plain((model.__doc__ or "").partition("\n\n")[0]), ""]
        lines += ["| field | type | meaning |", "|---|---|---|"]
        for name, field in model.model_fields.items():
            lines.append(f"| `{name}` | {_type(field.annotation)} | {_plain(field.description or '')} |")
        lines.append("")
    return "\n".join(lines)


def page_of_settings() -> str:
    """Return a table of keys for each section of `gst.yaml`."""
    about = (
        "Keys of `gst.yaml`; each is optional. `gst --set lammps.ranks=2 COMMAND` replaces one for a command,"
        " `GST_LAMMPS__RANKS=2` in the environment does so, too; the first wins."
    )
    lines = ["# Settings", "", about, "", *_keys(Settings, "")]
    for name, field in Settings.model_fields.items():
        if _is_section(field):
            lines += ["", f"## {name}", "", _plain(field.annotation.__doc__), "", *_keys(field.annotation, f"{name}.")]
    about = "Keys of `queue.every` and of each category, for example `queue.labels.ranks`."
    return "\n".join([*lines, "", "## Resources", "", about, "", *_keys(Resources, "")])


def _is_section(field: Any) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, StrictModel)


def _keys(model: type[BaseModel], prefix: str) -> Iterator[str]:
    yield from ("| key | default | meaning |", "|---|---|---|")
    for name, field in model.model_fields.items():
        if field.annotation is Resources:
            yield f"| `{prefix}{name}` | as the profile | {_plain(field.description or '')}: [resources](#resources) |"
        elif not _is_section(field):
            default = field.get_default(call_default_factory=True)
            text = "none" if default is None else "empty" if default == "" else f"`{default}`"
            yield f"| `{prefix}{name}` | {text} | {_plain(field.description or '')} |"


def _type(annotation: Any) -> str:
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return _plain(re.sub(r"\b(?:[a-z_]+\.)+(?=\w)", "", text))


def pages_of_commands() -> dict[str, str]:
    """Return a page for each command of `gst`, with its subcommands, in the order of `gst --help`."""
    root = get_command(app)
    context = root.make_context("gst", [], resilient_parsing=True)
    names = root.list_commands(context)
    return {name: "\n".join(_command(root.get_command(context, name), name, context)) for name in names}


def _command(command: Any, name: str, parent: Any, level: int = 1) -> Iterator[str]:
    context = command.context_class(command, info_name=name, parent=parent)
    yield from (f"{'#' * level} {context.command_path}", "")
    inner = getattr(command, "list_commands", lambda _: [])(context)
    if not inner:
        yield from ("```text", context.get_usage().removeprefix("Usage: "), "```", "")
    for paragraph in (command.help or "").split("\n\n"):
        text = " ".join(paragraph.split())
        example = text.removeprefix("Example: ")
        yield from ("```sh", example, "```", "") if example != text else (_plain(text), "")
    records = [record for parameter in command.get_params(context) if (record := parameter.get_help_record(context))]
    if not inner:
        yield from ("| option | meaning |", "|---|---|")
        yield from (f"| `{names.replace('|', chr(92) + '|')}` | {_plain(text)} |" for names, text in records)
        yield ""
    for each in inner:
        yield from _command(command.get_command(context, each), each, context, level + 1)


def _plain(text: str) -> str:
    """Return text in one line, its characters without a meaning to Markdown."""
    return re.sub(r"([\\*_<>|\[\]#])", r"\\\1", " ".join(text.split()))


def pages_of_rooms() -> dict[str, str]:
    """Return a page for each room of the package, which names its public modules for mkdocstrings."""
    rooms = sorted(file.parent.name for file in PACKAGE.glob("*/__init__.py"))
    return {room: _room(PACKAGE / room) for room in rooms if room != "cli"}


def _room(folder: Path) -> str:
    first_line, _, _ = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").partition("\n")
    files = sorted(folder.rglob("[!_]*.py"))
    modules = [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]
    return "\n".join([f"# gst_jobflow.{folder.name}", "", first_line, "", *(f"::: {name}\n" for name in modules)])
