"""Jobs that analyse the frames of runs, and stored structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import Analysed, analyse_structures, analyse_trajectory, summary
from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Structure, Study, Trajectory
from gst_jobflow.documents.base import derive_id, now
from gst_jobflow.documents.study import Member
from gst_jobflow.store import Results
from gst_jobflow.store.context import continuation, job_deadline, job_results

MOST_STRUCTURES = 5000


@in_category("analysis")
@dataclass
class AnalyseMaker(Maker):
    """Analyse the frames of runs: crystallinity, grains, motifs, gamma, maps.

    Examples
    --------
    >>> from gst_jobflow.analysis.maker import AnalyseMaker
    >>> from gst_jobflow.analysis.plan import AnalysisPlan
    >>> job = AnalyseMaker(plan=AnalysisPlan(what=["k-bar", "grains"], frames=40)).make("id of a trajectory")

    Attributes
    ----------
    processes
        How many share the work; None: the cores of the job.
    """

    name: str = "analyse"
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    processes: int | None = None

    @job
    def make(self, trajectory_id: str | None) -> dict[str, Any]:
        """Analyse the frames of a run that were not analysed so; where time is up, a continuation goes on.

        Returns
        -------
        dict
            `trajectory_id`, `frames` (that have numbers or a problem) and `problems`.
        """
        results = job_results()
        if trajectory_id is None:
            return {"trajectory_id": None, "frames": 0, "problems": 0}  # all operations before were skipped
        run = results.get(Trajectory, trajectory_id)
        done = analyse_trajectory(
            results, run, self.plan, processes=self.processes or cores(), tell=print, time_is_up=_time_is_up()
        )
        if done.left:
            return continuation(self.make(trajectory_id))
        return {"trajectory_id": run.id, "frames": len(done.table()), "problems": done.problems}

    @job
    def make_structures(self, structure_ids: list[str], name: str) -> dict[str, Any]:
        """Analyse stored structures; numbers and arrays are those of a study.

        Returns
        -------
        dict
            `study_id`, `frames` and `problems`.
        """
        results = job_results()
        done, study = analyse_stored(
            results, structure_ids, name, self.plan, self.processes or cores(), print, _time_is_up()
        )
        if done.left:
            return continuation(self.make_structures(structure_ids, name))
        return {"study_id": study.id, "frames": len(done.table()), "problems": done.problems}

    def make_runs(self, trajectory_ids: Sequence[str]) -> Flow:
        """Return a flow of one job a run; they do not wait for each other."""
        jobs: list[Flow | Job] = []
        for number, id in enumerate(trajectory_ids, 1):
            jobs.append(self.make(id))
            jobs[-1].name = f"{self.name} {number}"
        return Flow(jobs, name=self.name)


def analyse_stored(
    results: Results,
    structure_ids: Sequence[str],
    name: str,
    plan: AnalysisPlan,
    processes: int,
    tell: Callable[[str], None] = lambda _: None,
    time_is_up: Callable[[], bool] = lambda: False,
) -> tuple[Analysed, Study]:
    """Analyse stored structures of one composition; the same ones by the same plan are one study.

    Raises
    ------
    InputError
        There are none, too many, or they have several compositions and k-bar is asked for.
    """
    if not 0 < len(structure_ids) <= MOST_STRUCTURES:
        raise InputError(f"{len(structure_ids)} structures", f"name between 1 and {MOST_STRUCTURES}")
    found = results.database["structures"].distinct("formula", {"_id": {"$in": list(structure_ids)}})
    if len(found) > 1 and "k-bar" in plan.what:
        raise InputError(
            f"k-bar compares with crystals of one composition, and there are {', '.join(sorted(found)[:5])}",
            "-w formula=…",
        )
    id = derive_id("analysis", plan.model_dump(mode="json"), list(structure_ids))
    members = [Member(collection=Structure.collection, id=each, role="analysed") for each in structure_ids]
    settings = plan.model_dump(mode="json")
    results.add(Study(id=id, name=name, kind="analysis", state="running", plan=settings, members=members))
    study = results.get(Study, id)
    done = analyse_structures(
        results, study, structure_ids, found[0], plan, processes=processes, tell=tell, time_is_up=time_is_up
    )
    if not done.left and study.table != done.table():
        means = {f"outcome.means.{key}": value for each in done.series.values() for key, value in summary(each).items()}
        values = {"table": done.table(), "state": "finished", "finished_at": now().isoformat(), **means}
        results.update("studies", id, values)
    return done, results.get(Study, id)


def _time_is_up() -> Callable[[], bool]:
    deadline = job_deadline(find_project().settings)
    return lambda: deadline is not None and deadline.left_s() < 0
