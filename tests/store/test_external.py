"""An external MongoDB as groups run it: TLS with a CA of its own, X.509 accounts, a replica set."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pymongo
import pytest
import yaml

from gst_jobflow.archive.backup import backup, restore
from gst_jobflow.base.errors import DatabaseError
from gst_jobflow.base.settings import Project
from gst_jobflow.cli.init import make_project
from gst_jobflow.documents import Structure
from gst_jobflow.importing.run import ImportOptions, import_files
from gst_jobflow.launch.services import LocalMongod, find_mongod
from gst_jobflow.store import Results
from gst_jobflow.store.address import connection
from gst_jobflow.store.check import check
from gst_jobflow.store.connect import connect, job_store, launchpad
from gst_jobflow.store.schema.migrate import migrate
from tests.conftest import _free_port

pytestmark = [pytest.mark.mongo, pytest.mark.fresh_database]


def start_mongod(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    """A mongod of the test's own; the test ends it."""
    folder.mkdir()
    port = _free_port()
    command = [find_mongod(), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    command += ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false", *options]
    return subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL), port


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(timeout=60)


def openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem` signed `server.pem` (for localhost) and `client.pem`; `other.pem` is a CA that signed nothing."""
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        openssl(
            folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, subject in (("server", "/O=servers/CN=localhost"), ("client", "/O=people/OU=group/CN=mira")):
        openssl(
            folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", subject,
            "-keyout", f"{name}.key", "-out", f"{name}.csr",
        )  # fmt: skip
        openssl(
            folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "2", "-extfile", "names", "-out", f"{name}.crt",
        )  # fmt: skip
        (folder / f"{name}.pem").write_text((folder / f"{name}.crt").read_text() + (folder / f"{name}.key").read_text())
    return folder


@pytest.fixture(scope="module")
def tls_port(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A mongod that speaks TLS only, with an account for the client's certificate and one with a password."""
    process, port = start_mongod(
        tmp_path_factory.mktemp("tls") / "data", "--auth", "--tlsMode", "requireTLS",
        "--tlsCertificateKeyFile", str(certificates / "server.pem"), "--tlsCAFile", str(certificates / "ca.pem"),
        "--tlsAllowConnectionsWithoutCertificates",
    )  # fmt: skip
    try:
        with pymongo.MongoClient("localhost", port, tls=True, tlsCAFile=str(certificates / "ca.pem")) as client:
            client.admin.command("createUser", "root", pwd="root-secret", roles=["root"])
        with pymongo.MongoClient(
            "localhost", port, tls=True, tlsCAFile=str(certificates / "ca.pem"), username="root", password="root-secret"
        ) as client:
            rights = [{"role": role, "db": "gst"} for role in ("readWrite", "dbAdmin")]
            client.admin.command("createUser", "mira", pwd="mira-secret", roles=rights)
            client["$external"].command("createUser", "CN=mira,OU=group,O=people", roles=rights)
        yield port
    finally:
        end(process)


@pytest.fixture
def external(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """`external(uri, **settings)`: a project on an external MongoDB, `settings` of `mongo:`."""

    def make(uri: str, **settings: object) -> Project:
        project, _ = make_project(tmp_path / f"project-{time.monotonic_ns()}", "laptop", "gst", uri)
        content = yaml.safe_load(project.file.read_text())
        content["mongo"] |= {"timeout_s": 2.0, **settings}
        project.file.write_text(yaml.safe_dump(content))
        return Project(project.root)

    return make


def assert_all_clients_work(project: Project) -> list[dict[str, str]]:
    """Use database, launchpad, job store, and FireWorks by its own file; return the accounts that the server sees."""
    from fireworks import LaunchPad

    from gst_jobflow.launch.configs import write_configs

    write_configs(project)
    migrate(project)
    database = connect(project)
    assert launchpad(project).get_fw_ids() == []
    with job_store(project) as store:
        assert store.count() == 0
    assert LaunchPad.from_file(str(project.fw_configs_dir / "my_launchpad.yaml")).get_fw_ids() == []
    settings = yaml.safe_load((project.fw_configs_dir / "jobflow.yaml").read_text())["JOB_STORE"]["docs_store"]
    from maggma.stores import MongoStore

    with MongoStore(**{key: value for key, value in settings.items() if key != "type"}) as store:
        assert store.count() == 0
    accounts = database.command("connectionStatus")["authInfo"]["authenticatedUsers"]
    database.client.close()
    return accounts


def test_tls_by_settings_and_by_uri(external, tls_port: int, certificates: Path) -> None:
    account = f"mongodb://mira:mira-secret@localhost:{tls_port}/gst?authSource=admin"
    by_settings = external(account, tls_ca_file=str(certificates / "ca.pem"))
    by_uri = external(f"{account}&tls=true&tlsCAFile={certificates / 'ca.pem'}&authMechanism=SCRAM-SHA-256")
    for project in (by_settings, by_uri):
        assert assert_all_clients_work(project) == [{"user": "mira", "db": "admin"}]


def test_x509_needs_no_password(external, tls_port: int, certificates: Path) -> None:
    uri = f"mongodb://localhost:{tls_port}/gst?authMechanism=MONGODB-X509&authSource=%24external"
    files = {"tls_ca_file": str(certificates / "ca.pem"), "tls_certificate_file": str(certificates / "client.pem")}
    assert assert_all_clients_work(external(uri, **files)) == [{"user": "CN=mira,OU=group,O=people", "db": "$external"}]


@pytest.mark.parametrize(
    ("options", "host", "says", "fix"),
    [
        ({"tls_ca_file": "other.pem"}, "localhost", "not signed by a CA", "mongo.tls_ca_file"),
        ({"tls": True}, "localhost", "not signed by a CA", "mongo.tls_ca_file"),
        ({"tls_ca_file": "ca.pem"}, "127.0.0.1", "for another host", "host name"),
        ({}, "localhost", "ends the connection at once", "mongo.tls"),
        ({"tls_ca_file": "missing.pem"}, "localhost", "missing.pem is not a file", "path"),
        ({"tls_ca_file": "names"}, "localhost", "CA file holds no certificate", "tls_ca_file"),
        (
            {"tls_ca_file": "ca.pem", "tls_certificate_file": "ca.pem"},
            "localhost",
            "has no key that fits",
            "tls_certificate_file",
        ),
    ],
)
def test_what_is_wrong_with_tls_is_one_line(external, tls_port, certificates, options, host, says, fix) -> None:
    files = {key: value if value is True else str(certificates / value) for key, value in options.items()}
    project = external(f"mongodb://mira:mira-secret@{host}:{tls_port}/gst?authSource=admin", **files)
    with pytest.raises(DatabaseError, match=says) as caught:
        connect(project)
    assert fix in caught.value.fix and "secret" not in str(caught.value) and "\n" not in str(caught.value)
    status = LocalMongod.__new__(LocalMongod)
    LocalMongod.__init__(status, project)
    assert "secret" not in str(status.status())


def test_a_server_without_tls(external, project: Project) -> None:
    uri = connection(project).full_uri.replace("/?", f"/{project.settings.mongo.database}?")
    with pytest.raises(DatabaseError, match="does not speak TLS") as caught:
        connect(external(uri, tls=True))
    assert "tls" in caught.value.fix


@pytest.fixture(scope="module")
def replica_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    process, port = start_mongod(tmp_path_factory.mktemp("replica") / "data", "--replSet", "rs0")
    try:
        with pymongo.MongoClient("127.0.0.1", port, directConnection=True) as client:
            members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            while not client.admin.command("hello")["isWritablePrimary"]:
                time.sleep(0.05)
        yield f"mongodb://127.0.0.1:{port}/?replicaSet=rs0&readPreference=primaryPreferred"
    finally:
        end(process)


def test_a_replica_set(external, replica_uri: str, tmp_path: Path) -> None:
    import ase
    import ase.io

    project = external(replica_uri)
    assert LocalMongod(project).up().running
    assert_all_clients_work(project)
    frames = [ase.Atoms("GeTe", [[0, 0, 0], [3, 3, 3 + 0.1 * n]], cell=[6, 6, 6], pbc=True) for n in range(4)]
    ase.io.write(tmp_path / "frames.extxyz", frames, format="extxyz")
    results = Results.open(project)
    report = import_files([tmp_path / "frames.extxyz"], results, ImportOptions(default_config_type="other"))
    assert report.structures["new"] == 4, report
    assert results.database.write_concern.document == {"w": "majority", "j": True}
    assert results.database.client.options.read_preference.name == "PrimaryPreferred"
    found = list(results.find(Structure, {}, sort=[("_id", 1)]))
    backup(project, tmp_path / "b.tar")
    restore(project, tmp_path / "b.tar", force=True)
    assert list(results.find(Structure, {}, sort=[("_id", 1)])) == found and list(check(project, deep=True)) == []
    results.database.client.close()


def test_a_uri_that_says_how_to_write_is_believed(external, replica_uri: str) -> None:
    project = external(f"{replica_uri}&w=1")
    database = connect(project, any_version=True)
    assert database.write_concern.document == {"w": 1}
    database.client.close()
