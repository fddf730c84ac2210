"""Plans of the demo that are known to run."""

from __future__ import annotations
