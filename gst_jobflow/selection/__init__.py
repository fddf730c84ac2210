"""Where a potential extrapolates, which of those structures are worth a label, and which frames are independent."""
