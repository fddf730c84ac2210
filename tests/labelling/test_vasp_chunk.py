"""A chunk of VASP labels: each failure is a failed label of its own, and the rest go on."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from gst_jobflow.base.deadline import Deadline
from gst_jobflow.base.errors import MissingProgramError, RunError
from gst_jobflow.documents import Label
from gst_jobflow.labelling.maker import LabelMaker
from gst_jobflow.labelling.vasp import VaspBackend, VaspSettings
from gst_jobflow.store import Results
from tests.flows.conftest import results, run  # noqa: F401
from tests.labelling.test_maker import add_structures, states

pytestmark = [pytest.mark.mongo, pytest.mark.filterwarnings("ignore")]
STAND_IN = Path(__file__).with_name("stand_in_vasp.py")


def maker(**fields: Any) -> LabelMaker:
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))}"
    settings = VaspSettings(command=command, polling_s=0.1, allow_stand_in=True, nelm=20, max_errors=2, **fields)
    return LabelMaker(VaspBackend(settings=settings, floor_A=0.0), name="label")


@pytest.mark.parametrize(
    ("does", "failure_class", "state"),
    [
        ("never converges", "not_converged", "failed"),
        ("killed", "crash", "failed"),
        ("cut output", "missing_output", "failed"),
        ("a force too few", "missing_output", "failed"),
        ("other mesh", "wrong_method", "quarantined"),
    ],
)
def test_a_failure_is_one_failed_label_and_the_rest_go_on(
    run: Any, results: Results, potcars: Path, monkeypatch: Any, does: str, failure_class: str, state: str  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("STAND_IN_DOES", does)
    monkeypatch.setenv("STAND_IN_DOES_FOR", "3")
    run(maker().make(add_structures(results, [4, 3, 2])))
    (label,) = results.find(Label, {"state": {"$ne": "converged"}})
    assert (label.n_atoms, label.state, label.failure_class) == (3, state, failure_class)
    assert label.reason and "\n" not in label.reason and label.energy_eV is None
    assert states(results) == {"converged": 2, state: 1}


def test_a_disk_that_vasp_says_is_full_ends_the_job_and_is_no_failed_label(
    run: Any, results: Results, potcars: Path, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    monkeypatch.setenv("STAND_IN_DOES", "disk full")
    monkeypatch.setenv("STAND_IN_DOES_FOR", "3")
    with pytest.raises(RunError, match="No space left on device") as caught:
        run(maker().make(add_structures(results, [4, 3, 2])))
    assert caught.value.failure_class == "disk_full"
    assert states(results) == {"converged": 1}, "the largest came first"


def test_a_label_that_the_walltime_cuts_off_is_computed_again(
    run: Any, results: Results, potcars: Path, tmp_path: Path, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    """The walltime is over as soon as VASP hangs, however fast the machine is."""
    mark = tmp_path / "hung"

    class UntilItHangs(Deadline):
        def left_s(self) -> float:
            return -1.0 if mark.exists() else 1e6

    monkeypatch.setenv("STAND_IN_DOES", "hang once")
    monkeypatch.setenv("STAND_IN_DOES_FOR", "3")
    monkeypatch.setenv("STAND_IN_MARK", str(mark))
    monkeypatch.setattr(
        "gst_jobflow.labelling.maker.job_deadline", lambda _: None if mark.exists() else UntilItHangs(0.0, 10.0)
    )
    run(maker().make(add_structures(results, [4, 3, 2])))
    assert mark.exists()
    assert states(results) == {"converged": 3}


def test_without_potcars_the_job_ends_with_one_line_and_no_label(
    run: Any, results: Results, tmp_path: Path, monkeypatch: Any  # noqa: F811
) -> None:  # fmt: skip
    from pymatgen.io.vasp import inputs

    monkeypatch.setitem(inputs.SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(MissingProgramError, match=r"no folder .* of POTCARs"):
        run(maker().make(add_structures(results, [4, 3])))
    assert states(results) == {}
