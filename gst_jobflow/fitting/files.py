"""Names of the files in the directory of a fit."""

from __future__ import annotations

INPUT_FILE = "input.yaml"
REQUEST_FILE = "fit_request.json"
START_FILE = "start_potential.yaml"
CONTINUED_FILE = "continued.json"
TRAIN_FILE = "train.pckl.gzip"
TEST_FILE = "test.pckl.gzip"
POTENTIAL_FILE = "output_potential.yaml"
OUTPUT_FILE = "pacemaker.out"
LINEAR_PROGRESS_FILE = "linear_progress.json"
LINEAR_DONE_FILE = "linear_fit.json"
GRACE_REQUEST_FILE = "grace_request.json"
