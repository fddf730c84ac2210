"""How far a running job is, in a few words."""

from __future__ import annotations

import json
from pathlib import Path

from gst_jobflow.fitting.files import LINEAR_PROGRESS_FILE
from gst_jobflow.flows.details import detail


def test_the_linear_solver_counts_structures_and_pacemaker_iterations(tmp_path: Path) -> None:
    folder = tmp_path / "fit-1"
    folder.mkdir()
    (folder / "metrics.txt").write_text(
        "iter_num loss rmse_epa rmse_f_comp nfuncs\n3 0.5 1.08849 0.0312 20\n",
    )
    assert detail("fit x", tmp_path) == "fitting, iteration 3, loss 0.5, 1,088 meV/atom, 31.2 meV/Å"
    (folder / "metrics.txt").unlink()
    (folder / LINEAR_PROGRESS_FILE).write_text(json.dumps({"structures": 3, "of": 6}))
    assert detail("fit x", tmp_path) == "fitting, structure 3 of 6"
