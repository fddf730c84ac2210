"""Accounts: a reader runs every query and writes nothing, a worker runs jobs and drops nothing, on a real mongod."""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pymongo
import pytest
from jobflow import Flow
from pymongo.errors import OperationFailure
from typer.testing import CliRunner

from gst_jobflow.base.errors import DatabaseError, GstError, InputError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.init import make_project
from gst_jobflow.cli.main import app
from gst_jobflow.documents import DOCUMENTS, Attempt
from gst_jobflow.launch.workers import Workers, wait
from gst_jobflow.launch.workflow import submit
from gst_jobflow.store import Results
from gst_jobflow.store.address import uri_file
from gst_jobflow.store.connect import connect, job_store, launchpad
from gst_jobflow.store.driver_errors import denied
from gst_jobflow.store.schema.migrate import migrate
from gst_jobflow.store.users import add_user, list_users, remove_user, set_password
from tests.documents.test_documents import label, structure
from tests.launch.test_launching import add, fail, grow
from tests.report import synthetic

if TYPE_CHECKING:
    from click.testing import Result
    from pymongo.database import Database

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def account(project: Project, tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """`account(role)`: a new account, and the project that somebody makes with its URI."""
    made: list[str] = []

    def make(role: str) -> Project:
        name = f"{role}-{uuid.uuid4().hex[:6]}"
        file = add_user(project, name, role)
        made.append(name)
        theirs = make_project(
            tmp_path / name, "laptop", project.settings.mongo.database, file.read_text().strip(), project.artifacts_dir
        )
        return theirs[0]

    yield make
    for name in made:
        remove_user(project, name)


@pytest.fixture
def gst(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """Run `gst --project DIR …` in this process, and leave no trace in the environment."""
    monkeypatch.setenv("GST_PROJECT", "")
    yield lambda project, *words: CliRunner().invoke(app, ["--project", str(project.root), *words])
    os.environ.pop("GST_PROJECT", None)


def writes(database: Database) -> dict[str, Callable[[], object]]:
    """Everything that changes something."""
    return {
        "insert": lambda: database["labels"].insert_one({"_id": "x"}),
        "update": lambda: database["labels"].update_one({}, {"$set": {"reason": "x"}}),
        "replace": lambda: database["labels"].replace_one({}, {"reason": "x"}),
        "upsert": lambda: database["gst_meta"].update_one({"_id": "x"}, {"$set": {"a": 1}}, upsert=True),
        "findAndModify": lambda: database["fireworks"].find_one_and_update({}, {"$set": {"state": "x"}}),
        "delete": lambda: database["labels"].delete_many({}),
        "out": lambda: list(database["labels"].aggregate([{"$out": "stolen"}])),
        "merge": lambda: list(database["labels"].aggregate([{"$merge": "stolen"}])),
        "createIndex": lambda: database["labels"].create_index("host"),
        "dropIndex": lambda: database["labels"].drop_index("created_at_-1"),
        "create": lambda: database.create_collection("new"),
        "collMod": lambda: database.command("collMod", "labels", validator={}),
        "drop": lambda: database.drop_collection("labels"),
        "rename": lambda: database["labels"].rename("gone"),
        "dropDatabase": lambda: database.client.drop_database(database.name),
        "createUser": lambda: database.command("createUser", "thief", pwd="x", roles=[]),
        "grant": lambda: database.command("grantRolesToUser", "gst", roles=["dbOwner"]),
        "elsewhere": lambda: database.client["elsewhere"]["things"].insert_one({}),
    }


def refused(functions: dict[str, Callable[[], object]]) -> set[str]:
    """Names of those that the server refuses for want of a right."""
    found = set()
    for name, function in functions.items():
        try:
            function()
        except OperationFailure as err:
            assert err.code == 13, (name, err)
            found.add(name)
    return found


def test_a_reader_runs_every_query_and_no_write(project: Project, account, gst) -> None:
    results = Results.open(project)
    synthetic.add_study(results)
    submit(add(1, 2), project)
    theirs = account("reader")
    shown = {}
    for name in DOCUMENTS:
        for words in (["--format", "jsonl"], ["--count"], ["--group-by", "created_at"], ["--fields", "created_at"]):
            done = gst(theirs, "query", name, *words)
            assert done.exit_code == 0, (name, words, done.stderr)
            shown[name, words[0]] = done.stdout
        assert len(shown[name, "--format"].splitlines()) == results.database[name].count_documents({})
    id = json.loads(shown["labels", "--format"].splitlines()[0])["id"]
    for words in (
        ["query", "structures", "--format", "extxyz"],
        ["query", "labels", "--format", "csv", "-w", "state=converged", "--sort", "-max_force_eV_A", "--limit", "2"],
        ["query", "labels", "--group-by", "config_type", "--stats"],
        ["show", id],
        ["status"],
        ["db", "status"],
        ["db", "check"],
        ["db", "up"],
        ["db", "migrate"],
    ):
        done = gst(theirs, *words)
        assert done.exit_code == 0 and done.stdout, (words, done.stdout, done.stderr)
    before = {name: results.database[name].count_documents({}) for name in results.database.list_collection_names()}
    database = connect(theirs)
    functions = writes(database)
    assert refused(functions) == set(functions)
    assert before == {name: database[name].count_documents({}) for name in database.list_collection_names()}
    database.client.close()


def test_what_a_reader_may_not_is_one_line(project: Project, account, gst) -> None:
    results = Results.open(project)
    results.add(structure())
    theirs = account("reader")
    as_reader = Results.open(theirs)
    for write in (
        lambda: as_reader.add(structure(_id="b" * 32, group="b" * 32)),
        lambda: as_reader.add_many([structure(_id="b" * 32, group="b" * 32)]),
        lambda: as_reader.put_labels([label()]),
        lambda: as_reader.update("attempts", "x", {"state": "lost"}),
    ):
        with pytest.raises(DatabaseError, match="may not do that") as caught:
            write()
        assert "role" in caught.value.fix
    results.database["labels"].drop_index("created_at_-1")
    for words in (
        ["db", "migrate"],
        ["db", "up"],
        ["db", "users", "list"],
        ["db", "users", "add", "x", "--role", "owner"],
    ):
        done = gst(theirs, *words)
        assert done.exit_code == 1
        # what the driver says itself is turned by `gst` into the same line
        said = done.exception if isinstance(done.exception, GstError) else denied(done.exception)
        assert said and "may not" in said.message and said.fix, (words, done.exception)
    migrate(project)


def test_a_worker_runs_jobs_and_removes_nothing(project: Project, account, gst, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    results = Results.open(project)
    synthetic.add_study(results)
    theirs = account("worker")
    assert migrate(theirs) == []
    first, grown = add(1, 2), grow(4)
    last = add(first.output, 10)
    submit(Flow([first, last, fail("run")]), theirs)
    submit(grown, theirs)
    with Workers(theirs, 1) as workers:
        wait(workers, 0.2, lambda: None)
    store = job_store(theirs)
    store.connect()
    assert store.get_output(last.uuid) == 13
    ours = {"job_name": {"$in": ["add", "fail", "grow"]}}
    assert sorted((attempt.job_name, attempt.state) for attempt in results.find(Attempt, ours)) == [
        ("add", "finished"), ("add", "finished"), ("add", "finished"), ("fail", "failed"), ("grow", "finished"),
    ]  # fmt: skip
    done = gst(theirs, "recover", "--failed")
    assert done.exit_code == 0, done.stderr
    counts = {name: results.database[name].count_documents({}) for name in DOCUMENTS}
    database = connect(theirs)
    functions = writes(database)
    for allowed in ("insert", "update", "replace", "upsert", "findAndModify", "create"):
        functions.pop(allowed)
    # `$merge` inserts, which a worker may
    functions.pop("merge")
    functions |= {
        f"delete {name}": lambda name=name: database[name].delete_one({})
        for name in [*DOCUMENTS, "outputs", "gst_meta", "launches"]
    }
    assert refused(functions) == set(functions)
    assert counts == {name: database[name].count_documents({}) for name in DOCUMENTS}
    database.client.close()


def test_an_owner_may_what_the_projects_own_account_may(project: Project, account) -> None:
    theirs = account("owner")
    results = Results.open(theirs)
    results.add(structure())
    results.database.drop_collection("labels")
    assert "labels: created" in migrate(theirs)
    assert len(launchpad(theirs).get_fw_ids()) == 0
    with pytest.raises(DatabaseError, match="may not manage users"):
        add_user(theirs, "friend", "reader")
    results.database.client.close()


def test_accounts_come_and_go(project: Project, tmp_path: Path) -> None:
    assert list_users(project) == []
    file = add_user(project, "mira", "reader")
    other = add_user(project, "rob", "worker", tmp_path / "rob.uri")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(other.stat().st_mode) == 0o600
    assert [(user.name, user.role, bool(user.file)) for user in list_users(project)] == [
        ("mira", "reader", True),
        ("rob", "worker", False),
    ]
    old = file.read_text().strip()
    assert pymongo.MongoClient(old)[project.settings.mongo.database]["labels"].find_one() is None
    assert set_password(project, "mira") == file and stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(OperationFailure, match="Authentication failed"):
        pymongo.MongoClient(old)[project.settings.mongo.database]["labels"].find_one()
    pymongo.MongoClient(file.read_text().strip())[project.settings.mongo.database]["labels"].find_one()
    for call, words in (
        (lambda: add_user(project, "mira", "reader"), "exists already"),
        (lambda: add_user(project, "mira", "reader", tmp_path / "m.uri"), "account of this name"),
        (lambda: add_user(project, "ev/il", "reader"), "not a name"),
        (lambda: add_user(project, "x", "raeder"), "no role"),
        (lambda: set_password(project, "mirra"), "no account"),
        (lambda: remove_user(project, "mirra"), "no account"),
    ):
        with pytest.raises((InputError, DatabaseError), match=words):
            call()
    assert not (tmp_path / "m.uri").exists()
    for name in ("mira", "rob"):
        remove_user(project, name)
    assert list_users(project) == [] and not file.exists()


def test_no_password_on_the_terminal_unless_asked(project: Project, gst, tmp_path: Path) -> None:
    done = gst(project, "db", "users", "add", "mira", "--role", "reader")
    uri = (project.private_dir / "users" / "mira.uri").read_text().strip()
    password = uri.partition("://mira:")[2].partition("@")[0]
    assert done.exit_code == 0 and len(password) > 30 and password not in done.stdout + done.stderr
    listed = gst(project, "db", "users", "list", "--json")
    assert password not in listed.stdout and json.loads(listed.stdout)[0]["role"] == "reader"
    made = gst(project, "init", str(tmp_path / "mira"), "--mongo-uri-file", str(project.private_dir / "users/mira.uri"))
    assert made.exit_code == 0 and password not in made.stdout + made.stderr
    theirs = Project(tmp_path / "mira")
    assert theirs.settings.mongo.database == project.settings.mongo.database
    for file in theirs.root.rglob("*"):
        if file.is_file() and password in file.read_text(errors="replace"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(uri_file(theirs).stat().st_mode) == 0o600
    status = gst(theirs, "db", "status")
    assert status.exit_code == 0 and password not in status.stdout + status.stderr and "mira@" in status.stdout
    shown = gst(project, "db", "users", "passwd", "mira", "--show")
    assert "://mira:" in shown.stdout
    assert gst(project, "db", "users", "remove", "mira").exit_code == 0
