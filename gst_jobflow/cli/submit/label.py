"""`gst submit label`: label structures."""

from __future__ import annotations

from jobflow import Flow

from gst_jobflow.base.errors import InputError
from gst_jobflow.base.words import counted
from gst_jobflow.cli.common import open_project, parse_assignments
from gst_jobflow.cli.option_group import flag, option
from gst_jobflow.cli.submit.submission import Estimate, Yes, submit_flow
from gst_jobflow.labelling.backend import FEWEST_IN_A_JOB
from gst_jobflow.labelling.choose import backend_of
from gst_jobflow.labelling.cost import cost_model
from gst_jobflow.labelling.maker import LabelMaker, chunks
from gst_jobflow.store.connect import connect
from gst_jobflow.store.query import make_query


def command(
    backend: str = option(
        "vasp, cp2k, tblite, mace, grace, chgnet or another installed calculator by name, or ase with "
        "--option calculator=package.module:Name.",
        default=...,
    ),
    where: list[str] | None = option("Which structures, as in gst query: 'config_type=crystal'.", "--where", "-w"),
    chunk: int | None = option(
        "Structures per job, on average; default: 20 (tblite and models: 200), or more for at most 400 jobs.", min=1
    ),
    retry_failed: bool = flag("Compute failed labels again.", "--retry-failed"),
    functional: str | None = option("Functional of vasp: PBE, PBEsol, RPBE or r2SCAN; each is a method of its own."),
    options: list[str] | None = option(
        "A field of the backend's settings, e.g. electronic_temperature_K=2000 (repeatable).", "--option"
    ),
    estimate: Estimate = False,
    yes: Yes = False,
) -> None:
    """Label structures: compute energies, forces and stress by one method. Skips labelled structures.

    Example: gst submit label --backend cp2k -w "tags=iter-0 n_atoms<=24"
    """
    project = open_project()
    settings = parse_assignments(options or [], "--option") | ({"functional": functional} if functional else {})
    chosen = backend_of(backend, project, settings)
    query = make_query("structures", where or [])
    database = connect(project)
    found = list(database["structures"].find(query.where, {"n_atoms": 1}).sort("_id", 1))
    if not found:
        raise InputError("no structure matches", "gst query structures lists them; gst structures makes some")
    maker = LabelMaker(chosen, retry_failed=retry_failed)
    costs = cost_model(database, chosen).costs([each["n_atoms"] for each in found])
    fewest = getattr(chosen, "fewest_in_a_job", FEWEST_IN_A_JOB)
    jobs = [maker.make(part) for part in chunks([each["_id"] for each in found], chunk, costs, fewest)]
    for number, job in enumerate(jobs, 1):
        job.name = f"label {backend} {number}"
    what = f"{counted(len(found), 'structure')} in {counted(len(jobs), 'job')}"
    if not retry_failed:
        failed = {"fingerprint": chosen.method().fingerprint(), "state": {"$ne": "converged"}}
        asked = {each["_id"] for each in found}
        skipped = sum(each["structure_id"] in asked for each in database["labels"].find(failed, {"structure_id": 1}))
        what += f"; {skipped} failed before and are skipped (--retry-failed computes them again)" if skipped else ""
    elements = database["structures"].distinct("elements", query.where)
    flow = Flow([*jobs], name=f"label {backend}")
    submit_flow(flow, project, what, only_estimate=estimate, yes=yes, elements=elements)
