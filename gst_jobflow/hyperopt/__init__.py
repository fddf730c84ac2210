"""Search for the best settings of a fit: space, proposals, and the table of trials."""
