"""`gst submit analyse`: analyse frames in jobs."""

from __future__ import annotations

from pathlib import Path

from gst_jobflow.analysis.maker import AnalyseMaker
from gst_jobflow.analysis.plan import formula_of
from gst_jobflow.analysis.run import MOST_STRUCTURES
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.analyse import AnalyseOptions, Where, runs_of
from gst_jobflow.cli.common import open_project
from gst_jobflow.cli.option_group import argument, with_options
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.selection.frames import stored_structures
from gst_jobflow.store import Results


@with_options(AnalyseOptions, "options")
def command(
    source: str | None = argument("A trajectory or a cycle by id or name, or CYCLE:N for its N-th operation."),
    where: Where = None,
    options: AnalyseOptions = AnalyseOptions(),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Analyse frames of runs, cycles or structures: crystallinity, grains, motifs, gamma, maps.

    Each run is a job; frames that are done are skipped. Example: gst submit analyse mushroom --what k-bar,grains
    """
    plan, project = options.plan(), open_project()
    if source is not None and Path(source).is_file():
        raise InputError(f"{source} is a file, which a job may not see", "gst analyse reads files; or import it first")
    results, maker = Results.open(project), AnalyseMaker(plan=plan, processes=options.processes)
    if runs := runs_of(results, source, where or []):
        for run in runs:
            plan.crystals(results, formula_of(results, run))
        flow = maker.make_runs([run.id for run in runs])
        submit_flow(flow, project, f"analysis of {counted(len(runs), 'run')}", only_estimate=estimate, yes=yes)
        return
    ids = [str(each.structure_id) for each in stored_structures(results, where or [])]
    if len(ids) > MOST_STRUCTURES:
        raise InputError(f"{len(ids)} structures, more than {MOST_STRUCTURES}", "name fewer with --where")
    job = maker.make_structures(ids, f"analysis of {' '.join(where or [])}")
    submit_flow(job, project, f"analysis of {counted(len(ids), 'structure')}", only_estimate=estimate, yes=yes)
