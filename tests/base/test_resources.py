"""What jobs ask of a queue, from the settings to the job script."""

from __future__ import annotations

import pytest
import yaml
from jobflow import Flow, job
from pydantic import ValidationError

from gst_jobflow.base.categories import CATEGORIES, category_of
from gst_jobflow.base.errors import InputError
from gst_jobflow.base.resources import Resources, parse_asked, request_by_category, request_resources
from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import category_files, resources, write_category_configs, write_configs
from gst_jobflow.launch.workflow import to_workflow


@job
def other() -> int:
    return 1


def on_cluster(new_project, folder, settings: str = "", profile: str = "slurm") -> Project:
    return new_project(folder, f"profile: {profile}\n{settings}")


def script_of(project: Project, category: str, **asked) -> list[str]:
    """The lines of the job script that FireWorks makes for a job of a category."""
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

    adapter = CommonAdapter.from_dict(yaml.safe_load(category_files(project, category)[1].read_text()))
    adapter.update(asked)
    return adapter.get_script_str("/somewhere").splitlines()


def test_specific_resources_override_general_ones() -> None:
    general = Resources(nodes=2, ranks=8, account="a", walltime="01:00:00")
    special = Resources(ranks_per_node=4, account="b").over(general)
    assert special == Resources(nodes=2, ranks_per_node=4, account="b", walltime="01:00:00")


@pytest.mark.parametrize(
    "bad",
    [
        {"walltime": "soon"},
        {"walltime": 86400},
        {"partition": "gpu\n#SBATCH --uid=0"},
        {"account": "a b"},
        {"qos": "$(id)"},
        {"nodes": 0},
        {"partitoin": "gpu"},
    ],
)
def test_values_unsafe_in_a_job_script_are_refused(bad) -> None:
    with pytest.raises(ValidationError):
        Resources(**bad)


def test_an_unquoted_walltime_says_what_to_do(new_project, tmp_path) -> None:
    with pytest.raises(InputError, match="in quotes"):
        on_cluster(new_project, tmp_path / "p", "queue: {md: {walltime: 24:00:00}}\n")


def test_settings_of_a_category_override_those_of_all_and_the_profile(new_project, tmp_path) -> None:
    settings = "queue: {every: {account: e05, nodes: 1}, md: {nodes: 8, ranks_per_node: 64}}\n"
    project = on_cluster(new_project, tmp_path / "p", settings)
    assert resources(project, "md").model_dump(exclude_none=True) == {
        "nodes": 8, "ranks_per_node": 64, "threads": 1, "walltime": "12:00:00", "account": "e05",
    }  # fmt: skip
    lines = script_of(project, "md")
    assert {"#SBATCH --nodes=8", "#SBATCH --ntasks-per-node=64", "#SBATCH --account=e05"} <= set(lines)
    assert not any(line.startswith("#SBATCH --ntasks=") for line in lines)


def test_a_job_requests_its_own_resources(new_project, tmp_path) -> None:
    project = on_cluster(new_project, tmp_path / "p")
    mine = other()
    request_resources(mine, Resources(gpus_per_node=1, partition="gpu", memory_GB=32))
    (firework,) = to_workflow(mine, project).fws
    lines = script_of(project, "fits", **firework.spec["_queueadapter"])
    assert {"#SBATCH --gpus-per-node=1", "#SBATCH --partition=gpu", "#SBATCH --mem=32G"} <= set(lines)


def test_resources_by_category_reach_its_jobs(new_project, tmp_path) -> None:
    from gst_jobflow.fitting.maker import FitMaker

    project = on_cluster(new_project, tmp_path / "p")
    fit, mine = FitMaker().make("d"), other()
    flow = Flow([Flow([fit]), mine])
    request_by_category(flow, parse_asked(["fits.walltime=24:00:00", "nodes=2", "fits.nodes=3"]))
    specs = [firework.spec["_queueadapter"] for firework in to_workflow(flow, project).fws]
    assert specs == [{"nodes": 3, "walltime": "24:00:00"}, {"nodes": 2}]


@pytest.mark.parametrize(
    ("asked", "said"),
    [("nodes", "md.nodes=4"), ("fit.nodes=2", "'fits'"), ("noodes=2", "'nodes'"), ("md.walltime=soon", "walltime")],
)
def test_impossible_requests_name_the_remedy(asked: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_asked([asked])


@pytest.mark.parametrize("profile", ["slurm", "archer2"])
def test_every_category_has_a_worker_and_a_queue_adapter(new_project, tmp_path, profile) -> None:
    from fireworks import FWorker

    project = on_cluster(new_project, tmp_path / "a project's", profile=profile)
    for category in CATEGORIES:
        worker, _ = category_files(project, category)
        assert FWorker.from_file(str(worker)).query["spec._category"] == category
        text = "\n".join(script_of(project, category))
        assert "$${" not in text and "None" not in text and "--no-requeue" in text
        assert f"fworker_{category}.yaml" in text and text.rstrip().endswith("singleshot")
    assert write_category_configs(project) == [], "a second time nothing changes"


def test_settings_for_all_jobs_reach_each_category(new_project, tmp_path) -> None:
    project = on_cluster(new_project, tmp_path / "p")
    file = project.fw_configs_dir / "my_qadapter.yaml"
    file.write_text(file.read_text().replace("pre_rocket: |\n", "pre_rocket: |\n  module load vasp\n"))
    write_category_configs(project)
    assert "module load vasp" in script_of(project, "labels")


def test_a_broken_queue_adapter_is_one_line(new_project, tmp_path) -> None:
    project = on_cluster(new_project, tmp_path / "p")
    (project.fw_configs_dir / "my_qadapter.yaml").write_text("rocket_launch: rlaunch rapidfire\n")
    with pytest.raises(InputError, match="singleshot"):
        write_category_configs(project)
    assert write_configs(project), "and --force mends it"


def test_jobs_of_this_package_know_their_category() -> None:
    from gst_jobflow.devices.cycle import run_operation
    from gst_jobflow.dynamics.maker import MeltQuenchMaker
    from gst_jobflow.fitting.maker import FitMaker
    from gst_jobflow.flows.structures import CrystalMaker

    jobs = [MeltQuenchMaker().make("p"), FitMaker().make("d"), run_operation("c", 0, None, 1, [])]
    assert [category_of(made) for made in jobs] == ["md", "fits", "md"]
    assert category_of(CrystalMaker().make()) == "analysis", "what is short and small"
    assert category_of(other()) is None, "we know nothing of others' jobs"


def test_the_category_is_in_the_spec_and_the_users_own_wins(new_project, tmp_path) -> None:
    from gst_jobflow.fitting.maker import FitMaker

    project = on_cluster(new_project, tmp_path / "p")
    ours, users, others = FitMaker().make("d"), FitMaker().make("d"), other()
    users.config.manager_config["_category"] = "md"
    specs = [firework.spec for firework in to_workflow(Flow([ours, users, others]), project).fws]
    assert [spec.get("_category") for spec in specs] == ["fits", "md", None]
