"""`gst demo`: run the whole paper in miniature, with real programs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gst_jobflow.base.errors import InputError, nearest
from gst_jobflow.base.pacemaker import pacemaker_runner
from gst_jobflow.base.settings import Project
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import chosen_project, open_project, print_table, say
from gst_jobflow.cli.init import make_project
from gst_jobflow.documents import Study
from gst_jobflow.dynamics.find_lammps import lammps_engine
from gst_jobflow.flows.demo import DemoMaker, DemoPlan
from gst_jobflow.flows.details import detail
from gst_jobflow.flows.presets import demo_backend, demo_plan
from gst_jobflow.launch.progress import Progress, durations
from gst_jobflow.launch.recover import recover
from gst_jobflow.launch.services import LocalMongod
from gst_jobflow.launch.status import status
from gst_jobflow.launch.workers import Workers, default_workers, wait
from gst_jobflow.launch.workflow import submit
from gst_jobflow.report.collect import collect_study
from gst_jobflow.report.pages.study import page_of, render_page, write_page
from gst_jobflow.store import Results
from gst_jobflow.store.schema.migrate import migrate


def command(
    directory: Annotated[
        Path | None,
        typer.Argument(help="Project folder, created if missing; default: this project, else demo/."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--backend", "--labels", help="tblite (default; semi-empirical, minutes) or cp2k (PBE, an hour)."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="standard (default; about five minutes on two cores) or tiny (quicker).")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", "-n", min=1, help="Local worker processes.")] = None,
    new: Annotated[bool, typer.Option("--new", help="Start a new demo beside the existing one.")] = False,
    submit_only: Annotated[
        bool,
        typer.Option("--submit-only", help="Only submit the jobs; run them with gst launch --queue."),
    ] = False,
) -> None:
    """Run the whole paper in miniature: structures, labels, fit, melt-quench, a device cycle and its page.

    Random structures → labels → dataset → ACE fit → melt-quench → RESET, SET, RESET of a cross-point cell → page. Real
    programs run on this machine and store their results in the project's MongoDB. After a kill or interrupt the same
    command continues. Labels by tblite demonstrate the workflow, not the physics of GST.
    """
    for what, value, known in (("--backend", labels, ("tblite", "cp2k")), ("--size", size, ("standard", "tiny"))):
        if value is not None and value not in known:
            raise InputError(f"{what} {value}", nearest(value, known))
    if submit_only and workers is not None:
        raise InputError("--workers and --submit-only exclude each other", "give one of them")
    project = _prepare(directory)
    if submit_only:
        _submit(project, labels, size, new)
    else:
        _run(project, labels, size, workers, new)


def _prepare(directory: Path | None) -> Project:
    """Open the project with its database running; create either if missing."""
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
    """Return the existing demo, or submit a new one."""
    study = None if new else _latest(results)
    if study is not None:
        _same_wishes(study, labels, size)
    if study is None or not _workflow_ids(results, study):
        study = _begin(project, results, study, labels or "tblite", size or "standard")
    return study


def _submit(project: Project, labels: str | None, size: str | None, new: bool) -> None:
    """Submit only."""
    study = _found_or_begun(project, Results.open(project), labels, size, new)
    typer.echo(f"page of the finished demo: {page_of(project.root, study)}")
    queue = " --queue" if project.settings.profile != "laptop" else ""
    typer.echo(f"next: cd {project.root}; gst launch{queue}; gst status")


def _run(project: Project, labels: str | None, size: str | None, workers: int | None, new: bool) -> None:
    results = Results.open(project)
    study = _found_or_begun(project, results, labels, size, new)
    fw_ids = _workflow_ids(results, study)
    # by the fireworks, not the study: it says finished a little before its page is written
    if set(status(results.database, fw_ids)["counts"]) != {"COMPLETED"}:
        # before minutes are spent on labels
        lammps_engine(project.settings)
        pacemaker_runner(project.settings)
        _go_on(project, results, study, fw_ids, workers)
        # jobs that ran may have added others
        fw_ids = _workflow_ids(results, study)
    report = status(results.database, fw_ids)
    if report["failures"]:
        rows = [[bad["name"], bad["class"], bad["reason"], bad["fix"]] for bad in report["failures"]]
        print_table(rows, ["failed", "class", "reason", "what to do"])
        raise typer.Exit(1)
    _tell_end(project, results, fw_ids, page_of(project.root, study))


def _same_wishes(study: Study, labels: str | None, size: str | None) -> None:
    """Refuse to continue a demo that was started with other options."""
    for option, key, wanted in (("--backend", "labels", labels), ("--size", "size", size)):
        if wanted is not None and study.plan.get(key) != wanted:
            raise InputError(
                f"the existing demo has {option} {study.plan.get(key)}, not {wanted}",
                "omit the option to continue it, or start a new one with --new",
            )


def _latest(results: Results) -> Study | None:
    return next(results.find(Study, {"kind": "demo"}, sort=[("created_at", -1)]), None)


def _workflow_ids(results: Results, study: Study) -> list[int]:
    """Return the FireWorks ids of the study, even if a kill came right after the submission."""
    found = results.database["workflows"].find_one({"metadata.study_id": study.id}, {"nodes": 1})
    return sorted(found["nodes"]) if found else []


def _begin(project: Project, results: Results, study: Study | None, labels: str, size: str) -> Study:
    if study is None:
        maker = DemoMaker(demo_plan(size, labels))
        results.add(maker.study())
    else:  # killed before the submission: the database holds the plan only
        maker = DemoMaker(DemoPlan.model_validate(study.plan), study_id=study.id)
    backend = demo_backend(maker.plan.labels, project)
    ids = submit(maker.make(backend), project, {"study_id": maker.study_id})
    results.update("studies", maker.study_id, {"workflow_ids": sorted(ids.values()), "state": "running"})
    say(f"submitted {counted(len(ids), 'job')} as study {maker.study_id}")
    return _latest(results) or maker.study()


def _go_on(project: Project, results: Results, study: Study, fw_ids: list[int], workers: int | None) -> None:
    for item in recover(project, failed=True):
        say(str(item))
    progress = Progress(results.database, fw_ids, detail)
    page = GrowingPage(results, study.id, page_of(project.root, study))

    def tick() -> None:
        progress.tick()
        page.tick()

    with Workers(project, workers or default_workers(project)) as running:
        wait(running, project.settings.launch.poll_s, tick, say)


class GrowingPage:
    """The page of a study while its jobs run; the last job writes it once more, at the same place."""

    SHARE = 0.03
    """Of the time that goes into the page; meanwhile LAMMPS, whose ranks wait for each other, stands still."""

    def __init__(self, results: Results, study_id: str, target: Path) -> None:
        self.results, self.study_id, self.target = results, study_id, target
        self._shown = -1
        self._next = 0.0
        self._failed = False

    def tick(self) -> None:
        """Write the page if there are labels, jobs have ended since the last one, and that is a while ago.

        A page that cannot be made of the data so far does not end the jobs; that is said once.
        """
        if time.monotonic() < self._next:
            return
        began = time.monotonic()
        try:
            self._write()
        except Exception as err:
            if not self._failed:
                say(f"page: not yet, the data so far does not make one ({type(err).__name__}: {err}); jobs go on")
            self._failed = True
        self._next = time.monotonic() + (time.monotonic() - began) / self.SHARE

    def _write(self) -> None:
        data = collect_study(self.results, self.study_id)
        if not len(data.labels) or not data.to_come or len(data.to_come) == self._shown:
            return
        html = render_page(self.results, data)
        # the last job may have written its own meanwhile
        if self.results.get(Study, self.study_id).state != "finished":
            write_page(html, self.target)
            if self._shown < 0:
                say(f"a page that fills up while the demo runs: {self.target}")
        self._shown = len(data.to_come)


def _tell_end(project: Project, results: Results, fw_ids: list[int], page: Path) -> None:
    rows: list[list[Any]] = [
        [name, f"{seconds:.0f}", number] for name, seconds, number in durations(results.database, fw_ids)
    ]
    print_table(rows, ["step", "seconds", "attempts"])
    typer.echo(f"\npage: {page}")
    typer.echo(f"next: cd {project.root}; gst query cycles; gst query potentials; gst db down stops the database")
