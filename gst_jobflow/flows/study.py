"""End a study: add its results and write its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobflow import job

from gst_jobflow.base.settings import find_project
from gst_jobflow.documents import Study, now
from gst_jobflow.report.pages.links import stand_alone
from gst_jobflow.report.pages.study import build_page, page_of
from gst_jobflow.store import Results
from gst_jobflow.store.context import job_results


@job(name="page")
def finish_study(study_id: str, members: dict[str, list[str]]) -> dict[str, Any]:
    """Add results, (collection, id) by role, to a study and write its page; return `study_id`, `page`."""
    results = job_results()
    found = [{"collection": kind, "id": id, "role": role} for role, (kind, id) in members.items()]
    page = close_study(results, study_id, {"members": found, "state": "finished"})
    return {"study_id": study_id, "page": str(page)}


def store_finished(results: Results, study: Study) -> dict[str, Any]:
    """Store a study whose results are all there, and write its page; return `study_id`, `table`, `page`."""
    results.add(study)
    page = close_study(results, study.id, {"state": "finished"})
    return {"study_id": study.id, "table": study.table, "page": str(page)}


def close_study(results: Results, study_id: str, values: dict[str, Any]) -> Path:
    """Write the final values and the page of a study; return the path of the page."""
    results.update("studies", study_id, {**values, "finished_at": now().isoformat()})
    page = build_page(results, "study", study_id, page_of(find_project().root, results.get(Study, study_id)))
    stored = results.artifacts.put_bytes(stand_alone(page.read_text("utf-8")).encode(), page.name)
    results.update("studies", study_id, {"report": stored.model_dump(mode="json")})
    return page
