"""End a script with one line where gst_jobflow is not installed; scripts import it before everything else."""

from __future__ import annotations

import importlib.util
import sys

if importlib.util.find_spec("gst_jobflow") is None:
    way_out = f"scripts/setup makes .venv; then run .venv/bin/python {sys.argv[0]}"
    sys.exit(f"gst_jobflow is not installed for {sys.executable}: {way_out}")
