"""`gst doctor`: check programs and services, and name the command that installs what is missing."""

from __future__ import annotations

import sys
from dataclasses import asdict

import typer

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import PROFILES, Project, check_profile
from gst_jobflow.cli.common import JsonOption, open_project, print_json, print_table, say
from gst_jobflow.cli.option_group import option
from gst_jobflow.devices.programme import check_programmes
from gst_jobflow.launch.doctor import ALL, Check, CheckContext, CheckEntry, CheckResult, can_run, checks


def programmes(context: CheckContext) -> CheckResult:
    """Check the programmes of the material."""
    check_programmes(found := context.material())
    return CheckResult(", ".join(found.programmes) or "none of its own")


MORE = (CheckEntry("programmes", programmes, ALL, ALL),)


def command(
    profile: str | None = option("Profile to check; default: the project's, else laptop."),
    as_json: JsonOption = False,
) -> None:
    """Check every program and service by using it; exits 1 if one that the profile requires is missing."""
    project = _project()
    chosen = check_profile(profile or (project.settings.profile if project else PROFILES[0]))
    found = checks(project, chosen, _print if sys.stderr.isatty() else None, MORE)
    ok = can_run(found)
    if as_json:
        print_json({"profile": chosen, "ok": ok, "checks": [asdict(check) for check in found]})
    else:
        _show(found, chosen, ok)
    if not ok:
        raise typer.Exit(1)


def _project() -> Project | None:
    """Return the project, or None outside of one; a broken project is an error."""
    try:
        return open_project()
    except InputError as err:
        if err.message.startswith("no project here"):
            return None
        raise


def _print(check: Check) -> None:
    say(f"  {_mark(check)} {check.name}")


def _mark(check: Check) -> str:
    return "✓" if check.ok else "✗" if check.required else "–"


def _show(found: list[Check], profile: str, ok: bool) -> None:
    rows = [(_mark(check), check.name, check.found, check.version, check.fix) for check in found]
    print_table(rows, ("", "part", "found", "version", "what to do"))
    missing = [check.name for check in found if check.required and not check.ok]
    if ok:
        say(f"profile {profile}: ready (– is optional)")
    else:
        say(f"profile {profile}: cannot run without {', '.join(missing)}")
