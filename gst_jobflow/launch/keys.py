"""Keys of a firework's spec, and the signal that cancels a job."""

from __future__ import annotations

import signal

PROJECT_KEY = "_gst_project"
"""Key of a firework's project folder; a spec holds no secrets."""
CATEGORY_KEY = "_category"
"""Key of the category by which FireWorks' workers choose fireworks."""
CANCEL_SIGNAL = signal.SIGUSR2
"""Signal that ends a worker's job, but not the worker."""
STUDY_KEY = "gst_study"
"""Key of a workflow's metadata: id of the study whose next step it is."""
