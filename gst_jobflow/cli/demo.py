"""`gst demo`: the whole paper in miniature, with real programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.cli.common import chosen_project, open_project, print_table, say
from gst_jobflow.cli.init import make_project
from gst_jobflow.documents import Study
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.flows.demo import DemoMaker, DemoPlan
from gst_jobflow.flows.details import detail
from gst_jobflow.flows.presets import demo_backend, demo_plan
from gst_jobflow.flows.study import page_of
from gst_jobflow.launch.progress import Progress, durations
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.services import LocalMongod
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workers import Workers, default_workers, wait
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.schema.migrate import migrate

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project


def command(
    directory: Annotated[
        Path | None,
        typer.Argument(help="Project folder of the demo, made where there is none; default: this project, else demo/."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="What labels: tblite (default; semi-empirical, minutes) or cp2k (PBE, about an hour)."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="standard (default; about ten minutes on two cores) or tiny (a few minutes).")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-n", min=1, help="Local worker processes.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Begin another one, though one is there.")] = False,
    submit_only: Annotated[
        bool, typer.Option("--submit-only", help="Run nothing here: gst launch --queue or qlaunch does, on nodes.")
    ] = False,
) -> None:
    """Run the whole paper in small: structures, labels, fit, melt-quench, a device cycle and its page.

    Random structures → labels → dataset → ACE fit → melt-quench → RESET, SET, RESET of a cross-point cell → page. The
    programs are real, run on this machine, and put results into the project's MongoDB. After a kill or interrupt the
    same command continues. Labels by tblite show the plumbing, not the physics of GST.
    """
    for what, value, known in (("--labels", labels, ("tblite", "cp2k")), ("--size", size, ("standard", "tiny"))):
        if value is not None and value not in known:
            raise InputError(f"{what} {value}", nearest(value, known))
    if submit_only and workers is not None:
        raise InputError("--workers and --submit-only exclude each other", "leave one out")
    project = _prepare(directory)
    if submit_only:
        _submit(project, labels, size, new)
    else:
        _run(project, labels, size, workers, new)


def _prepare(directory: Path | None) -> Project:
    """Project folder and running database; made where they are not."""
    if directory is None:
        directory = chosen_project() or Path("demo")
    if not (directory / "gst.yaml").is_file():
        make_project(directory, "laptop", "gst")
        say(f"project folder: {directory.resolve()}")
    project = open_project(directory)
    for note in LocalMongod(project).up().notes:
        say(f"database: {note}")
    migrate(project)
    return project


def _found_or_begun(project: Project, results: Results, labels: str | None, size: str | None, new: bool) -> Study:
    """The demo that is there, or another, submitted."""
    study = None if new else _latest(results)
    if study is not None:
        _same_wishes(study, labels, size)
    if study is None or not _workflow_ids(results, study):
        study = _begin(project, results, study, labels or "tblite", size or "standard")
    return study


def _submit(project: Project, labels: str | None, size: str | None, new: bool) -> None:
    """Leave the rest to whoever runs fireworks."""
    study = _found_or_begun(project, Results.open(project), labels, size, new)
    typer.echo(f"the page, in the end: {page_of(project.root, study)}")
    queue = " --queue" if project.settings.profile != "laptop" else ""
    typer.echo(f"next: cd {project.root}; gst launch{queue}; gst status")


def _run(project: Project, labels: str | None, size: str | None, workers: int | None, new: bool) -> None:
    results = Results.open(project)
    study = _found_or_begun(project, results, labels, size, new)
    fw_ids = _workflow_ids(results, study)
    # by the fireworks, not the study: it says finished a little before its page is written
    if set(status(results.database, fw_ids)["counts"]) != {"COMPLETED"}:
        _check_programs(project)
        _go_on(project, results, fw_ids, workers)
        # jobs that ran may have added others
        fw_ids = _workflow_ids(results, study)
    report = status(results.database, fw_ids)
    if report["failures"]:
        rows = [[bad["name"], bad["class"], bad["reason"], bad["fix"]] for bad in report["failures"]]
        print_table(rows, ["failed", "class", "reason", "way out"])
        raise typer.Exit(1)
    _tell_end(project, results, fw_ids, page_of(project.root, study))


def _same_wishes(study: Study, labels: str | None, size: str | None) -> None:
    """Refuse to go on with a demo that is another than the one asked for."""
    for option, wanted in (("labels", labels), ("size", size)):
        if wanted is not None and study.plan.get(option) != wanted:
            raise InputError(
                f"the demo here has {option} {study.plan.get(option)}, not {wanted}",
                "leave the option out to go on with it, or begin another with --new",
            )


def _latest(results: Results) -> Study | None:
    return next(results.find(Study, {"kind": "demo"}, sort=[("created_at", -1)]), None)


def _workflow_ids(results: Results, study: Study) -> list[int]:
    """FireWorks ids of the study; also of a workflow that was submitted just before a kill."""
    found = results.database["workflows"].find_one({"metadata.study_id": study.id}, {"nodes": 1})
    return sorted(found["nodes"]) if found else []


def _begin(project: Project, results: Results, study: Study | None, labels: str, size: str) -> Study:
    if study is None:
        maker = DemoMaker(demo_plan(size, labels))
        results.add(maker.study())
    else:  # killed between the two lines around this: the plan is in the database, the workflow is not
        maker = DemoMaker(DemoPlan.model_validate(study.plan), study_id=study.id)
    backend = demo_backend(maker.plan.labels, project)
    ids = submit(maker.make(backend), project, {"study_id": maker.study_id})
    results.update("studies", maker.study_id, {"workflow_ids": sorted(ids.values()), "state": "running"})
    say(f"submitted {len(ids)} jobs as study {maker.study_id}")
    return _latest(results) or maker.study()


def _check_programs(project: Project) -> None:
    """Find LAMMPS and pacemaker before minutes are spent on labels."""
    lammps_engine(project.settings)
    pacemaker_runner(project.settings)


def _go_on(project: Project, results: Results, fw_ids: list[int], workers: int | None) -> None:
    for item in recover(project, failed=True):
        say(str(item))
    progress = Progress(results.database, fw_ids, detail)
    with Workers(project, workers or default_workers(project)) as running:
        wait(running, project.settings.launch.poll_s, progress.tick, say)


def _tell_end(project: Project, results: Results, fw_ids: list[int], page: Path) -> None:
    rows: list[list[Any]] = [
        [name, f"{seconds:.0f}", number] for name, seconds, number in durations(results.database, fw_ids)
    ]
    print_table(rows, ["step", "seconds", "attempts"])
    typer.echo(f"\nthe page: {page}")
    typer.echo(f"next: cd {project.root}; gst query cycles; gst query potentials; gst db down stops the database")
