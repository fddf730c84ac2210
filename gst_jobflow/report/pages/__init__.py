"""Build HTML pages from collected data, figures and tables."""
