"""Where a potential extrapolates, and which of those structures are worth a label."""
