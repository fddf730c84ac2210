"""Load command modules when they are used, so that `gst --help` stays quick and modules import what they need."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_group

from gst_jobflow.base.errors import InputError, nearest

MODULES = {"import": "import_", "select": "gamma", **dict.fromkeys(("pause", "resume", "approve", "cancel"), "control")}
"""Modules of commands that are not named after them."""
FORMER = {
    "--number": "-n",
    "--workers": "-n",
    "--fits": "-n",
    "--lines": "-n",
    "--watch": "-w",
    "--fingerprint": "-f",
    "--backend": "--labels",
    "--every-steps": "--every",
    "--processes": "--workers",
}
"""Former spellings by option: they still work, but help hides them, since they mean something else elsewhere."""


class LazyGroup(TyperGroup):
    """A group whose commands are modules, imported on first use.

    A subclass names its `package` and `sections`: title of a section of `--help` to command to its description. Command
    `melt-quench` is in module `melt_quench` (or as `MODULES` says), as a typer `app`, or as a function `command` or
    `melt_quench`.
    """

    package: ClassVar[str]
    sections: ClassVar[Mapping[str, Mapping[str, str]]]
    moved: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Former commands, and what does their work now."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands in the order of `--help`."""
        return [name for commands in self.sections.values() for name in commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the module of a command; None if there is no such command."""
        if cmd_name in self.moved:
            raise InputError(f"{ctx.command_path} {cmd_name} is gone", f"use {self.moved[cmd_name]}")
        if cmd_name not in self.list_commands(ctx):
            return None
        if cmd_name not in self.commands:
            self.commands[cmd_name] = load(self.package, cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of a command line; name the nearest one if it is unknown."""
        known = [*self.list_commands(ctx), *self.moved]
        if args and not args[0].startswith("-") and args[0] not in known:
            ctx.fail(f"No such command '{args[0]}': {nearest(args[0], self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the options before a command; of one that belongs elsewhere, say where it goes."""
        with _places_told(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; of an option that belongs elsewhere, say where it goes."""
        with _places_told(ctx):
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the sections of `--help` without importing a command."""
        widest = max(map(len, self.list_commands(ctx)))
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, text in commands.items()])


@contextmanager
def _places_told(ctx: Any) -> Iterator[None]:
    try:
        yield
    except Exception as err:
        # typer brings a click of its own, so the class has no one place
        if ctx.parent is None and type(err).__name__ == "NoSuchOption":
            _tell_place(err)
        raise


def _tell_place(err: Any) -> None:
    """Add to the error of an unknown option where it goes, if a group above the command or a command below has it."""
    for ctx in _above(err.ctx):
        if option := _option(ctx.command, err.option_name):
            rest = err.ctx.command_path.removeprefix(ctx.command_path)
            return _say_place(err, "before", f"{ctx.command_path} {option}{rest}")
    command, path = err.ctx.command, err.ctx.command_path
    for word in sys.argv[1:]:
        if word in getattr(command, "list_commands", lambda _: [])(err.ctx):
            command, path = command.get_command(err.ctx, word), f"{path} {word}"
            if option := _option(command, err.option_name):
                return _say_place(err, "after", f"{path} {option}")
    return None


def _say_place(err: Any, where: str, example: str) -> None:
    err.message += f". It goes {where} the command: {example}"
    err.possibilities = None


def _above(ctx: Any) -> Iterator[Any]:
    while ctx.parent is not None:
        ctx = ctx.parent
        yield ctx


def _option(command: Any, name: str) -> str:
    """Return an option of a command as it is written, with … for its value; empty if there is none."""
    found = next((option for option in command.params if name in option.opts), None)
    return "" if found is None else name if found.is_flag else f"{name} …"


def load(package: str, name: str) -> Any:
    """Return the click command of a module."""
    stem = name.replace("-", "_")
    module = importlib.import_module(f"{package}.{MODULES.get(name, stem)}")
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
    else:
        alone.command(name)(getattr(module, "command" if hasattr(module, "command") else stem))
    command = get_group(alone).commands[name]
    _hide_former(command)
    return command


def _hide_former(command: Any) -> None:
    """Leave former spellings of options out of `--help`."""
    for each in getattr(command, "commands", {}).values():
        _hide_former(each)
    for option in command.params:
        former = {FORMER[name] for name in option.opts if name in FORMER}
        if former & set(option.opts):
            option.get_help_record = partial(_help_without, former, option, option.get_help_record)


def _help_without(former: set[str], option: Any, record: Callable[[Any], Any], ctx: Any) -> Any:
    all_names = option.opts
    option.opts = [name for name in all_names if name not in former]
    try:
        return record(ctx)
    finally:
        option.opts = all_names
