"""`gst web` as a process: its address, its account, a database that goes away, and clear refusals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from gst_jobflow.launch.services import LocalMongod
from gst_jobflow.store.address import uri_file
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.users import add_user, list_users, uri_path
from tests.cli.test_main import gst

GST = str(Path(sys.executable).with_name("gst"))


@contextmanager
def served(project, *options: str) -> Iterator[str]:
    """The address of a running `gst web`."""
    process = subprocess.Popen(
        [GST, "--project", str(project.root), "web", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.communicate(timeout=20)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def page(address: str) -> tuple[int, str]:
    """Status and text of a page; waits for the process that serves to start."""
    try:
        with urllib.request.urlopen(address, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.read().decode()


def refusal(project, *options: str) -> str:
    done = gst("--project", str(project.root), "web", *options)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


@pytest.mark.mongo
@pytest.mark.fresh_database
def test_it_serves_on_loopback_by_a_reader_that_it_makes(project) -> None:
    with served(project) as address:
        status, text = page(address)
        assert status == 200 and "<h1>Now</h1>" in text
        port = int(address.rstrip("/").rpartition(":")[2])
        listening = [
            line.split()[3]
            for line in subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout.splitlines()
        ]
        assert [place for place in listening if place.endswith(f":{port}")] == [f"127.0.0.1:{port}"]
    assert [(user.name, user.role) for user in list_users(project)] == [("web", "reader")]
    with served(project) as address:
        assert page(address)[0] == 200, "the account is used again"


@pytest.mark.mongo
@pytest.mark.fresh_database
def test_a_project_of_a_reader_is_served_by_its_own_account(project, new_project, tmp_path: Path) -> None:
    uri = add_user(project, "ada", "reader").read_text()
    hers = new_project(tmp_path / "hers", f"mongo: {{database: {project.settings.mongo.database}}}\n")
    uri_file(hers).write_text(uri)
    with served(hers) as address:
        assert page(address)[0] == 200
    assert [user.name for user in list_users(project)] == ["ada"] and not uri_path(hers, "web").exists()


@pytest.mark.mongo
@pytest.mark.fresh_database
def test_bad_input_is_one_line(project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert re.search(rf"port {port}: Address already in use\n  → .*--port", refusal(project, "--port", port))
    assert "ssh tunnel" in refusal(project, "--listen", "0.0.0.0")
    for name in ("", " ", ".", ":80"):
        assert "names no host" in refusal(project, "--listen", "0.0.0.0", "--name", name), name
    assert "cannot listen on 192.0.2.1" in refusal(project, "--listen", "192.0.2.1", "--name", "x", "--port", "0")
    assert "gst db users add ada --role reader" in refusal(project, "--account", "ada")
    uri_path(project, "web").write_text("nonsense\n")
    assert "holds no MongoDB URI" in refusal(project)


@pytest.mark.mongo
def test_it_says_so_while_the_database_is_away_and_comes_back(new_project, tmp_path: Path) -> None:
    project = new_project(tmp_path / "own")
    server = LocalMongod(project)
    server.up()
    try:
        migrate(project)
        with served(project) as address:
            assert page(address)[0] == 200
            server.down()
            start = time.monotonic()
            deadline = start + 60
            found = page(address + "studies?page=2")
            assert time.monotonic() - start < 5, "the first reader does not wait long either"
            assert found[0] == 503 and "does not answer" in found[1] and "gst db" in found[1]
            start = time.monotonic()
            assert page(address + "cycles")[0] == 503 and time.monotonic() - start < 5, "it does not wait long"
            server.up()
            while page(address + "cycles")[0] != 200:
                assert time.monotonic() < deadline + 60
                time.sleep(0.5)
    finally:
        server.down()
    assert "gst db up" in refusal(project)


@pytest.mark.mongo
@pytest.mark.fresh_database
def test_the_page_gives_way_to_jobs(project) -> None:
    """The process that serves has a low priority."""
    with served(project) as address:
        assert page(address)[0] == 200
        niceness = [process.nice() for process in psutil.Process().children(recursive=True)]
        assert max(niceness) == min(19, os.nice(0) + 10)
