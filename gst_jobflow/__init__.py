"""Phase-change memory materials from first-principles labels to full-cycle device simulations."""

__version__ = "0.1.0"
