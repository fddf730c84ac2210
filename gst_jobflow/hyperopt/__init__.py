"""Which settings fit best: the space of a search, what to try next, and the study that holds what came of it."""
