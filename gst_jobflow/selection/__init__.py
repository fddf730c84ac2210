"""Find structures on which a potential extrapolates, choose those worth a label, and sample independent frames."""
