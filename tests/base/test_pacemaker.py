"""pacemaker's programs: which device they fit on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gst_jobflow.base import pacemaker
from gst_jobflow.base.pacemaker import CPU, PacemakerRunner, pacemaker_runner
from gst_jobflow.base.settings import Settings


@pytest.fixture
def gpu_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the machine look as if it had a GPU."""
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(pacemaker, "_DEVICES", tmp_path)


def runner_with(folder: Path, python: str, **fields: int) -> PacemakerRunner:
    """Return a runner beside a Python that is this script."""
    (folder / "python").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "python").chmod(0o755)
    program = folder / "pacemaker"
    return PacemakerRunner(pacemaker=program, pace_yaml2yace=program, pace_activeset=program, **fields)


def test_tensorflow_itself_says_that_it_sees_no_gpu(gpu_file: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert pacemaker_runner(Settings()).device() == CPU


def test_a_fit_is_on_the_gpu_that_it_or_the_settings_name(gpu_file: None, tmp_path: Path) -> None:
    two = runner_with(tmp_path, "echo NVIDIA A100; echo NVIDIA H200")
    assert [two.device(gpu) for gpu in ("auto", 1, None, 2)] == ["NVIDIA A100", "NVIDIA H200", CPU, CPU]
    chosen = runner_with(tmp_path, 'echo "GPU $CUDA_VISIBLE_DEVICES"', gpu=3)
    assert chosen.device() == "GPU 3" and chosen.environment()["CUDA_VISIBLE_DEVICES"] == "3"
    assert chosen.environment(None)["CUDA_VISIBLE_DEVICES"] == "-1"


def test_the_setting_reaches_the_runner_and_a_machine_without_gpu_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pacemaker_runner(Settings(pacemaker={"gpu": 1})).gpu == 1
    monkeypatch.setattr(pacemaker, "_DEVICES", tmp_path)
    assert runner_with(tmp_path, "touch $0.started; echo NVIDIA H200").device() == CPU
    assert not (tmp_path / "python.started").exists()
