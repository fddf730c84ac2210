from __future__ import annotations

import os
import stat
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from gst_jobflow.base.settings import Project
from gst_jobflow.launch.configs import (
    CONFIG_FILES,
    JOB_SCRIPT,
    SECRET_FILES,
    environment,
    fill,
    render_config,
    write_configs,
    write_connection_configs,
)
from gst_jobflow.store.address import Connection, read_credentials
from gst_jobflow.store.connect import launchpad

PROFILES = ("laptop", "slurm", "archer2")
# characters that YAML and the shell treat specially
SECRET = "s3:#'\"{}$x"


def texts(profile, where=None, root=Path("/a project/it's")):
    return render_config(
        profile, root, where or Connection("gst", 5.0, None, 27217, "gst", SECRET), Path("/opt/my env/bin")
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_every_file_is_yaml_and_says_the_values(profile):
    content = {name: yaml.safe_load(text) for name, text in texts(profile).items()}
    assert set(content) == set(CONFIG_FILES)
    pad, store = content["my_launchpad.yaml"], content["jobflow.yaml"]["JOB_STORE"]["docs_store"]
    assert (pad["host"], pad["port"], pad["name"], pad["authsource"]) == ("127.0.0.1", 27217, "gst", "admin")
    assert pad["password"] == store["password"] == SECRET and store["collection_name"] == "outputs"
    assert content["FW_config.yaml"]["LAUNCHPAD_LOC"] == "/a project/it's/fw_configs/my_launchpad.yaml"


@pytest.mark.parametrize("profile", PROFILES)
def test_the_password_is_in_the_private_files_only(profile):
    where = Connection("gst", 5.0, uri="mongodb://u:hidden@h/")
    for name, text in texts(profile, where).items():
        assert ("hidden" in text) == (name in SECRET_FILES)


@pytest.mark.parametrize("profile", ["slurm", "archer2"])
def test_job_script_is_shell_that_survives_odd_paths(profile, tmp_path):
    queue = yaml.safe_load(texts(profile)["my_qadapter.yaml"])
    script = queue["pre_rocket"] + 'printf "%s\\n" "$GST_PROJECT" "$JOBFLOW_CONFIG_FILE" "${PATH%%:*}"\n'
    said = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={"SLURM_CPUS_PER_TASK": "1", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said == ["/a project/it's", "/a project/it's/fw_configs/jobflow.yaml", "/opt/my env/bin"]
    words = subprocess.run(
        ["bash", "-c", "printf '%s\\n' " + queue["rocket_launch"]], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words == ["/opt/my env/bin/rlaunch", "-c", "/a project/it's/fw_configs", "singleshot"]


@pytest.mark.parametrize("profile", ["slurm", "archer2"])
def test_fireworks_makes_a_script_of_the_queue_adapter(profile):
    # not by load_object: it imports FireWorks' own tests too, whose pytest markers are unknown here
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter

    content = yaml.safe_load(texts(profile)["my_qadapter.yaml"])
    content["_fw_template_file"] = str(files("gst_jobflow.fw_configs") / JOB_SCRIPT)
    adapter = CommonAdapter.from_dict(content)
    script = adapter.get_script_str("/somewhere")
    assert "#SBATCH --time=" in script and "export GST_PROJECT=" in script and SECRET not in script
    assert "None" not in script and "null" not in script and "$${" not in script


@pytest.mark.parametrize("profile", PROFILES)
def test_fireworks_knows_every_setting(profile):
    from fireworks import fw_config

    assert all(hasattr(fw_config, key) for key in yaml.safe_load(texts(profile)["FW_config.yaml"]))


@pytest.mark.parametrize("profile", PROFILES)
def test_worker_takes_jobs_with_and_without_a_kind(profile):
    from fireworks import FWorker

    query = FWorker.from_dict(yaml.safe_load(texts(profile)["my_fworker.yaml"])).query
    if profile != "laptop":
        kinds = query["$and"][0]["$or"]
        assert {"spec._category": {"$exists": False}} in kinds
        assert kinds[0]["spec._category"]["$in"] == ["labels", "fits", "md", "analysis"]


def test_template_with_an_unknown_name_raises():
    with pytest.raises(KeyError):
        fill("host: @{nothing}", {})
    assert fill("a @{b} ${c}", {"b": "@{d}"}) == "a @{d} ${c}"


def test_modes_backup_and_idempotence(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    folder = project.fw_configs_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for name in SECRET_FILES:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert write_configs(project) == []
    (folder / "my_qadapter.yaml").write_text("mine: 1\n")
    assert write_connection_configs(project) == [], "what people edit is left alone"
    assert write_configs(project) == [folder / "my_qadapter.yaml"]
    assert (folder / "my_qadapter.yaml.bak").read_text() == "mine: 1\n"


def test_environment_holds_no_secret(new_project, tmp_path):
    project = new_project(tmp_path / "p")
    password = read_credentials(project)["app"]["password"]
    assert all(Path(value).exists() and password not in value for value in environment(project).values())


def run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.mongo
@pytest.mark.parametrize("how", [("-l", "fw_configs/my_launchpad.yaml"), ("-c", "fw_configs"), ()])
def test_lpad_reads_the_filled_files(project: Project, how):
    done = run("lpad", *how, "get_wflows", cwd=project.root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.mongo
def test_rlaunch_runs_what_lpad_added(project: Project):
    added = run(
        "lpad", "-c", "fw_configs", "add_scripts", "echo made > made.txt", "-n", "one", "-w", "flow", cwd=project.root
    )
    assert added.returncode == 0, added.stderr
    done = run(
        "rlaunch",
        "-l",
        "fw_configs/my_launchpad.yaml",
        "-w",
        "fw_configs/my_fworker.yaml",
        "rapidfire",
        cwd=project.root,
    )
    assert done.returncode == 0, done.stderr
    assert launchpad(project).fireworks.find_one({"fw_id": 1})["state"] == "COMPLETED"
    assert list(project.root.glob("launcher_*/made.txt"))


@pytest.mark.mongo
def test_jobflow_reads_the_filled_file(project: Project):
    code = (
        "from jobflow import SETTINGS\n"
        "with SETTINGS.JOB_STORE as s: s.update({'uuid': 'a', 'index': 1, 'output': 7}); print(s.get_output('a'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.strip() == "7", done.stderr
