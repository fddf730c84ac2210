"""Measure errors of potentials on labels, and their speed."""
