from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pymongo
import pytest
from pymongo.errors import OperationFailure

from gst_jobflow.base.errors import DatabaseError, MissingProgramError
from gst_jobflow.base.processes import die_with_parent, end_group, is_alive, members
from gst_jobflow.launch.services import LocalMongod, find_mongod, last_problem
from gst_jobflow.store.address import credentials_file, read_credentials, read_state, state_file
from gst_jobflow.store.connect import connect, listens

mongo = pytest.mark.mongo


@pytest.fixture
def fresh(tmp_path, new_project):
    """A project whose server no other test uses, stopped afterwards."""
    project = new_project(tmp_path / "fresh")
    yield project
    LocalMongod(project).down()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wait_until(true, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return true()


@mongo
def test_up_status_down_and_the_data_stays(fresh):
    server = LocalMongod(fresh)
    assert not server.status().running
    first = server.up()
    assert first.running and first.version and first.size_bytes is not None and not first.external
    connect(fresh, any_version=True)["things"].insert_one({"_id": 1})
    again = server.up()
    assert again.pid == first.pid and again.notes == []
    assert again.collections["things"] == 1
    assert not server.down().running
    assert not is_alive(first.pid)
    assert not server.down().running
    server.up()
    assert connect(fresh, any_version=True)["things"].count_documents({}) == 1


@mongo
def test_files_are_private_and_no_password_is_shown(fresh):
    status = LocalMongod(fresh).up()
    assert mode(fresh.private_dir) == mode(fresh.private_dir / "mongod") == 0o700
    assert mode(credentials_file(fresh)) == mode(state_file(fresh)) == 0o600
    passwords = [user["password"] for user in read_credentials(fresh).values()]
    words = " ".join(psutil.Process(status.pid).cmdline())
    log = (fresh.private_dir / "mongod" / "mongod.log").read_text()
    for text in (repr(status), json.dumps(asdict(status)), words, log):
        assert not any(password in text for password in passwords)


@mongo
def test_it_listens_on_loopback_only_and_first_on_a_socket(fresh):
    status = LocalMongod(fresh).up()
    listening = [c.laddr for c in psutil.Process(status.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert [tuple(address) for address in listening] == [("127.0.0.1", status.port)]
    lines = (fresh.private_dir / "mongod" / "mongod.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    places = [entry["attr"]["address"] for entry in entries if entry["msg"] == "Listening on"]
    # without authentication it never had a TCP port
    assert places[-1] == "127.0.0.1" and all(place.endswith(".sock") for place in places[:-1])


@mongo
def test_access_without_login_is_refused(fresh):
    status = LocalMongod(fresh).up()
    with pymongo.MongoClient("127.0.0.1", status.port) as stranger:
        for attempt in (
            stranger.list_database_names,
            stranger["gst"].list_collection_names,
            lambda: stranger["gst"]["things"].insert_one({}),
            # the localhost exception must be closed
            lambda: stranger["admin"].command("createUser", "thief", pwd="x", roles=["root"]),
        ):
            with pytest.raises(OperationFailure) as caught:
                attempt()
            assert caught.value.code == 13


@mongo
def test_application_user_has_rights_on_its_database_only(fresh):
    LocalMongod(fresh).up()
    database = connect(fresh, any_version=True)
    database.create_collection("things")
    database.command("collMod", "things", validator={"$jsonSchema": {"required": ["name"]}})
    for attempt in (
        lambda: database.client["other"]["things"].insert_one({}),
        lambda: database.command("createUser", "second", pwd="x", roles=[]),
        lambda: database.client["admin"].command("shutdown"),
    ):
        with pytest.raises(OperationFailure) as caught:
            attempt()
        assert caught.value.code == 13


@mongo
def test_killed_server_comes_back_with_its_data(fresh):
    server = LocalMongod(fresh)
    pid = server.up().pid
    connect(fresh, any_version=True)["things"].with_options(write_concern=pymongo.WriteConcern(j=True)).insert_one(
        {"_id": 1}
    )
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(pid))
    with pytest.raises(DatabaseError, match="gst db up"):
        connect(fresh, any_version=True)
    assert not server.status().running
    assert server.up().pid != pid
    assert connect(fresh, any_version=True)["things"].count_documents({}) == 1


@mongo
def test_taken_port_is_left_to_its_owner_and_configs_follow(fresh):
    server = LocalMongod(fresh)
    first = server.up()
    server.down()
    before = (fresh.fw_configs_dir / "my_launchpad.yaml").read_text()
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        owner.bind(("127.0.0.1", first.port))
        owner.listen()
        moved = server.up()
        assert moved.port != first.port
        assert any(f"port {first.port} is taken" in note for note in moved.notes)
        after = (fresh.fw_configs_dir / "my_launchpad.yaml").read_text()
        assert after == before.replace(f"port: {first.port}", f"port: {moved.port}")
        assert connect(fresh, any_version=True).name == "gst"
    server.down()
    # the new one is kept, though the first is free again
    assert server.up().port == moved.port


@mongo
def test_two_projects_side_by_side(fresh, mongo_project):
    # both ask for the same first port
    (fresh.root / "gst.yaml").write_text(f"mongo: {{port: {mongo_project.settings.mongo.port}, cache_gb: 0.25}}\n")
    second = type(fresh)(fresh.root)
    status = LocalMongod(second).up()
    other = LocalMongod(mongo_project).status()
    assert status.running and other.running and status.port != other.port
    LocalMongod(second).down()
    assert LocalMongod(mongo_project).status().pid == other.pid


@mongo
def test_two_ups_at_once_start_one_server(fresh):
    code = (
        "import sys; from pathlib import Path; from gst_jobflow.base.settings import Project\n"
        "from gst_jobflow.launch.services import LocalMongod\n"
        "print(LocalMongod(Project(Path(sys.argv[1]))).up().pid)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(fresh.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    pids = {process.communicate(timeout=120)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert pids == {str(read_state(fresh)["pid"])}


@mongo
def test_killed_up_leaves_no_server_without_authentication(fresh, monkeypatch):
    """What is left of a killed first start is a server without authentication on a private socket: it is replaced."""
    server = LocalMongod(fresh)
    with monkeypatch.context() as patched:
        patched.setattr("gst_jobflow.launch.services._set_users", _raise_interrupt)
        patched.setattr(LocalMongod, "_end_process", lambda self: False)
        with pytest.raises(KeyboardInterrupt):
            server.up()
    left = server._pid()
    assert left is not None
    status = server.up()
    assert status.running and status.pid != left and not is_alive(left)


def _raise_interrupt(*_):
    raise KeyboardInterrupt


@mongo
def test_lost_credentials_and_state_are_handled(fresh):
    server = LocalMongod(fresh)
    pid = server.up().pid
    connect(fresh, any_version=True)["things"].insert_one({"_id": 1})
    state_file(fresh).unlink()
    LocalMongod(fresh).pid_file.unlink()
    assert server.up().pid == pid, "our server is known by its data folder"
    credentials_file(fresh).unlink()
    with pytest.raises(DatabaseError, match="credentials"):
        connect(fresh, any_version=True)
    server.up()
    assert connect(fresh, any_version=True)["things"].count_documents({}) == 1


@mongo
def test_wrong_password_is_one_line_and_up_repairs_it(fresh):
    server = LocalMongod(fresh)
    server.up()
    content = read_credentials(fresh)
    content["app"]["password"] = content["admin"]["password"] = "not-the-password"
    credentials_file(fresh).write_text(json.dumps(content))
    with pytest.raises(DatabaseError) as caught:
        connect(fresh, any_version=True)
    assert "authentication failed for 'gst'" in str(caught.value) and "\n" not in str(caught.value)
    assert "not-the-password" not in str(caught.value)
    server.up()
    assert connect(fresh, any_version=True).name == "gst"


@mongo
def test_down_stops_only_what_we_started(fresh):
    server = LocalMongod(fresh)
    pid = server.up().pid
    server.down()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        # a reused pid
        state = {**read_state(fresh), "pid": stranger.pid, "started_at": psutil.Process(stranger.pid).create_time()}
        state_file(fresh).write_text(json.dumps(state))
        assert pid != stranger.pid
        assert "not running" in server.down().notes[0]
        assert stranger.poll() is None
        stranger.kill()


@mongo
def test_server_of_another_host_is_not_started_again(fresh):
    server = LocalMongod(fresh)
    pid = server.up().pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(pid))
    state_file(fresh).write_text(json.dumps({**read_state(fresh), "host": "elsewhere"}))
    for attempt in (server.up, server.down):
        with pytest.raises(DatabaseError, match="--take-over"):
            attempt()
    assert server.up(take_over=True).running


@mongo
def test_start_that_fails_says_why(fresh):
    data = fresh.private_dir / "mongod" / "data"
    data.mkdir(parents=True)
    (data / "storage.bson").write_bytes(b"garbage")
    (data / "WiredTiger.wt").write_bytes(b"garbage")
    (data / "WiredTiger").write_bytes(b"garbage")
    with pytest.raises(DatabaseError) as caught:
        LocalMongod(fresh).up()
    assert caught.value.message.startswith("mongod did not start: ") and "mongod.log" in caught.value.fix
    assert len(caught.value.message) > len("mongod did not start: ") and "\n" not in caught.value.message


_HOLD = """\
import fcntl, sys, time
file = open(sys.argv[1], "r+")
fcntl.flock(file, fcntl.LOCK_EX)
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@mongo
@pytest.mark.parametrize(("seconds", "starts"), [(1.5, True), (60.0, False)])
def test_start_waits_until_a_killed_server_releases_its_files(fresh, monkeypatch, seconds, starts):
    monkeypatch.setattr("gst_jobflow.launch.services._LET_GO_S", 20.0 if starts else 0.0)
    server = LocalMongod(fresh)
    server.up()
    server.down()
    lock = server.data / "mongod.lock"
    holder = [sys.executable, "-c", _HOLD, str(lock), str(seconds)]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout.readline() == "held\n"
        if starts:
            assert server.up().running
        else:
            with pytest.raises(DatabaseError, match="DBPathInUse"):
                server.up()
        held.kill()
    assert "DBPathInUse" in server.log_file.read_text()
    server.down()


@mongo
def test_external_server_is_only_looked_at(mongo_project, new_project, tmp_path):
    app, port = read_credentials(mongo_project)["app"], read_state(mongo_project)["port"]
    uri = f"mongodb://{app['username']}:{app['password']}@127.0.0.1:{port}/?authSource=admin"
    project = new_project(tmp_path / "external", "mongo: {timeout_s: 2}\n")
    (project.private_dir / "mongo_uri").write_text(uri)
    server = LocalMongod(project)
    up = server.up()
    assert up.running and up.external and "external" in up.notes[0]
    assert app["password"] not in json.dumps(asdict(up))
    down = server.down()
    assert down.running and "not stopped" in down.notes[0]
    assert not (project.private_dir / "mongod").exists()


def test_unreachable_external_server_is_one_line(tmp_path, new_project, free_port):
    port = free_port
    project = new_project(tmp_path / "x", f"mongo: {{uri: 'mongodb://u:secret@127.0.0.1:{port}', timeout_s: 0.3}}\n")
    with pytest.raises(DatabaseError) as caught:
        LocalMongod(project).up()
    assert str(port) in caught.value.message and "secret" not in str(caught.value)
    status = LocalMongod(project).status()
    assert not status.running and status.external and "secret" not in repr(status)


def test_mongod_that_is_no_program(tmp_path):
    with pytest.raises(MissingProgramError, match=r"mongo\.mongod"):
        find_mongod(tmp_path / "nothing")


def test_last_problem_takes_the_last_error_line(tmp_path):
    log = tmp_path / "mongod.log"
    lines = [
        {"s": "E", "msg": "Failed to set up listener", "attr": {"error": {"errmsg": "Address already in use"}}},
        {"s": "I", "msg": "now exiting"},
    ]
    log.write_text("not json\n" + "\n".join(json.dumps(line) for line in lines))
    assert last_problem(log) == "Failed to set up listener: Address already in use"
    assert last_problem(tmp_path / "none") == ""


def test_is_alive_asks_for_more_than_a_pid():
    with subprocess.Popen(["sleep", "60"]) as process:
        started = psutil.Process(process.pid).create_time()
        assert is_alive(process.pid, started)
        assert not is_alive(process.pid, started - 100)
        process.kill()
        # not yet waited for: a zombie does not live
        assert wait_until(lambda: not is_alive(process.pid))
    assert not is_alive(None) and not is_alive(0)


def test_end_group_ends_children_and_never_this_process():
    process = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; sleep 60 & sleep 60; wait"], start_new_session=True, preexec_fn=die_with_parent()
    )
    assert wait_until(lambda: len(list(members(process.pid))) == 3)
    assert end_group(process.pid, grace_s=0.3)
    assert list(members(process.pid)) == []
    process.wait()
    assert not end_group(process.pid)
    for wrong in (os.getpgrp(), 0, 1):
        with pytest.raises(ValueError):
            end_group(wrong)


def test_child_dies_with_a_killed_parent():
    code = (
        "import subprocess, time; from gst_jobflow.base.processes import die_with_parent\n"
        "print(subprocess.Popen(['sleep', '60'], preexec_fn=die_with_parent()).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        assert wait_until(lambda: not is_alive(child))


def test_nothing_listens_on_a_free_port(free_port):
    assert not listens(free_port)
