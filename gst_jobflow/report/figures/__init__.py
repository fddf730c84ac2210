"""Draw figures: one function a figure, each returns the bytes of a PNG, or None if there is nothing to draw."""
