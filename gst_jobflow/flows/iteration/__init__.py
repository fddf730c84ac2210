"""Grow a dataset and a potential in iterations: candidates, choice, labels, dataset, fit, robustness, gate."""
