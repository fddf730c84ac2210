"""The doctor uses the queue: what SLURM would refuse, and a job that looks around on its node."""

from __future__ import annotations

import pytest

from gst_jobflow.base.errors import RunError
from gst_jobflow.base.settings import Project
from gst_jobflow.launch import slurm
from gst_jobflow.launch.doctor import CLUSTERS, TABLE, CheckContext, run_check
from gst_jobflow.launch.doctor_queue import refused_categories, run_test_job

pytestmark = [pytest.mark.slurm, pytest.mark.mongo, pytest.mark.fresh_database]


def with_settings(project: Project, text: str) -> Project:
    project.file.write_text(project.file.read_text() + text)
    return Project(project.root)


def test_a_test_job_finds_the_project_and_its_database(cluster: Project) -> None:
    said = run_test_job(cluster, 120.0)
    assert "project and database are there, 1 core" in said
    assert not list(cluster.runs_dir.glob("doctor-*")), "nothing is left behind"


def test_node_without_database_is_reported(cluster: Project, free_port: int) -> None:
    file = cluster.fw_configs_dir / "my_qadapter.yaml"
    there = f"pre_rocket: |\n  export GST_MONGO__PORT={free_port}\n"
    file.write_text(file.read_text().replace("pre_rocket: |\n", there))
    state = cluster.private_dir / "mongod" / "state.json"
    state.unlink()
    with pytest.raises(RunError, match="database"):
        run_test_job(cluster, 120.0)


def test_a_script_that_fails_shows_its_last_line(cluster: Project) -> None:
    file = cluster.fw_configs_dir / "my_qadapter.yaml"
    file.write_text(
        file.read_text().replace("pre_rocket: |\n", "pre_rocket: |\n  echo no module named vasp >&2; exit 1\n")
    )
    with pytest.raises(RunError, match="no module named vasp"):
        run_test_job(cluster, 120.0)


def test_full_queue_is_no_error_and_the_job_is_cancelled(cluster: Project) -> None:
    from gst_jobflow.base.resources import Resources

    # more than there ever is at a time: it waits
    blocked = Project(cluster.root)
    blocked.settings.queue.analysis = Resources(nodes=1, ranks=1)
    slurm.ask_slurm(["scontrol", "update", "PartitionName=debug", "State=DOWN"])
    try:
        said = run_test_job(blocked, 2.0)
    finally:
        slurm.ask_slurm(["scontrol", "update", "PartitionName=debug", "State=UP"])
    assert "still waiting" in said and "nodes were not checked" in said
    assert not [job for job in slurm.my_jobs().values() if job.alive]


def test_a_category_that_slurm_refuses_is_named(cluster: Project) -> None:
    project = with_settings(cluster, "  analysis: {partition: nowhere}\n")
    refused = refused_categories(project)
    assert set(refused) == {"analysis"} and "invalid partition" in refused["analysis"]
    (entry,) = [entry for entry in TABLE if entry.name == "queue settings"]
    check = run_check(entry, CheckContext(project, project.settings, "slurm"))
    assert check.required and not check.ok and "queue.analysis" in check.fix
    assert entry.shown == CLUSTERS
