"""Foundations that import nothing else of the package: errors, settings, strict models, resources, processes."""
