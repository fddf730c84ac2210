"""The figures and tables of a device paper by name: documents they are drawn from, drawing, files."""
