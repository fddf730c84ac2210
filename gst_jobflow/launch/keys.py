"""Keys of a firework's spec, and the signal that cancels a job."""

from __future__ import annotations

import signal

PROJECT_KEY = "_gst_project"
"""Key of the project folder that a firework belongs to; a spec holds no secrets."""
CATEGORY_KEY = "_category"
"""Key under which FireWorks finds the category of work that a worker may choose by."""
CANCEL_SIGNAL = signal.SIGUSR2
"""Signal that ends the job of a worker, but not the worker."""
