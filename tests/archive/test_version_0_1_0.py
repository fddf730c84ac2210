"""What version 0.1.0 wrote is read by this one: its bundle, its backup, and the fireworks that wait in it."""

from __future__ import annotations

import gzip
import json
import lzma
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gst_jobflow.archive.backup import restore, verify_backup
from gst_jobflow.archive.bundle import write_bundle
from gst_jobflow.archive.import_bundle import import_bundle, verify_bundle
from gst_jobflow.archive.reading import Bundle
from gst_jobflow.base.moved import MOVED
from gst_jobflow.documents import Attempt, Dataset, Label
from gst_jobflow.launch.status import status
from gst_jobflow.store import Results
from gst_jobflow.store.check import check

if TYPE_CHECKING:
    from gst_jobflow.base.settings import Project

pytestmark = pytest.mark.mongo
DATA = Path(__file__).parents[1] / "data" / "0.1.0"


@pytest.fixture
def restored(project: Project, tmp_path: Path):
    tar = tmp_path / "database.tar"
    tar.write_bytes(lzma.decompress((DATA / "database.tar.xz").read_bytes()))
    manifest = verify_backup(tar)
    assert (manifest.format, manifest.schema_version, manifest.files.count) == (1, 2, 1)
    assert restore(project, tar, force=True) == manifest
    results = Results.open(project)
    yield results
    results.database.client.close()


def documents(bundle: Path) -> dict[str, list[dict[str, Any]]]:
    """Documents of a bundle by file, without their schema version."""
    found = {}
    with tarfile.open(bundle) as tar:
        for member in tar:
            if member.name.endswith(".jsonl.gz"):
                lines = gzip.decompress(tar.extractfile(member).read()).splitlines()  # type: ignore[union-attr]
                found[Path(member.name).name] = [_without_later_fields(json.loads(line)) for line in lines]
    assert found
    return found


def _without_later_fields(document: dict[str, Any]) -> dict[str, Any]:
    """A document without its version, and without fields that later versions added and left empty."""
    later = {"cores", "exclusion"}
    return {
        key: value
        for key, value in document.items()
        if key != "schema_version" and not (key in later and value is None)
    }


def test_its_bundle_goes_in_and_comes_out_with_the_same_documents(project: Project, tmp_path: Path) -> None:
    results = Results.open(project)
    report = import_bundle(results, DATA / "bundle.tar.gz")
    new = {name: taken.new for name, taken in report.collections.items()}
    assert new == {"structures": 4, "labels": 3, "datasets": 1, "studies": 1, "attempts": 4}
    assert (report.files, report.problems, list(check(project, deep=True))) == ({"new": 1, "known": 0}, [], [])
    again = write_bundle(results, "all", None, tmp_path / "again.tar.gz")
    verify_bundle(Bundle(DATA / "bundle.tar.gz"))
    assert set(again.collections) == set(new)
    assert documents(tmp_path / "again.tar.gz") == documents(DATA / "bundle.tar.gz")
    assert import_bundle(results, DATA / "bundle.tar.gz").changed == 0


def test_its_backup_becomes_a_sound_database(project: Project, restored: Results) -> None:
    assert list(check(project, deep=True)) == []
    (dataset,) = restored.find(Dataset, {})
    assert restored.artifacts.is_sound(dataset.members.sha256)
    assert status(restored.database)["counts"] == {"READY": 12, "WAITING": 20, "COMPLETED": 4}


def test_every_waiting_firework_names_a_job_that_is_found(restored: Results) -> None:
    from monty.json import MontyDecoder

    modules: Counter[str] = Counter()
    for firework in restored.database["fireworks"].find():
        for task in firework["spec"]["_tasks"]:
            assert task["_fw_name"] == "{{gst_jobflow.launch.firetask.RecordedJobFiretask}}"
            function = task["job"]["function"]
            modules[function["@module"].removeprefix("gst_jobflow.")] += 1
            job = MontyDecoder().process_decoded(task["job"])
            assert callable(job.function), (firework["name"], function)
    assert len({*modules} & {*MOVED}) == 4, "of modules that moved since"


def test_a_waiting_firework_runs_with_plain_rlaunch(project: Project, restored: Results) -> None:
    subprocess.run(
        [Path(sys.executable).with_name("rlaunch"), "-c", project.fw_configs_dir, "singleshot", "-f", "1"],
        cwd=project.root, capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    (firework,) = restored.database["fireworks"].find({"fw_id": 1})
    (attempt,) = restored.find(Attempt, {"fw_id": 1})
    assert (firework["state"], attempt.state) == ("COMPLETED", "finished")
    output = restored.database["outputs"].find_one({"uuid": attempt.job_uuid})["output"]
    labelled = restored.find(Label, {"structure_id": {"$in": output["structure_ids"]}})
    assert [label.state for label in labelled] == ["converged"] * 2, "the first job of the flow ended in version 0.1.0"
