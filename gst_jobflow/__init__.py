"""Phase-change memory materials from first-principles labels to full-cycle device simulations."""

from gst_jobflow.base import moved

__version__ = "0.1.0"

moved.import_moved_modules()
