"""Jobs that analyse the frames of runs, and stored structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job, Maker, job

from gst_jobflow.analysis.plan import AnalysisPlan
from gst_jobflow.analysis.run import analyse_stored, analyse_trajectory
from gst_jobflow.base.categories import in_category
from gst_jobflow.base.cores import cores
from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Trajectory
from gst_jobflow.store.context import continuation, job_deadline, job_results


@in_category("analysis")
@dataclass
class AnalyseMaker(Maker):
    """Analyse the frames of runs: crystallinity, grains, motifs, gamma, maps.

    As many processes share the work as the job has cores, unless `processes` says how many.

    Examples
    --------
    >>> from gst_jobflow.analysis.maker import AnalyseMaker
    >>> from gst_jobflow.analysis.plan import AnalysisPlan
    >>> job = AnalyseMaker(plan=AnalysisPlan(what=["k-bar", "grains"], frames=40)).make("id of a trajectory")
    """

    name: str = "analyse"
    plan: AnalysisPlan = field(default_factory=AnalysisPlan)
    processes: int | None = None

    @job
    def make(self, trajectory_id: str | None) -> dict[str, Any]:
        """Analyse the frames of a run that were not analysed so; where time is up, a continuation goes on.

        Returns `trajectory_id`, `frames` (that have numbers or a problem) and `problems`.
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

        Returns `study_id`, `frames` and `problems`.
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


def _time_is_up() -> Callable[[], bool]:
    deadline = job_deadline(find_project().settings)
    return lambda: deadline is not None and deadline.left_s() < 0
