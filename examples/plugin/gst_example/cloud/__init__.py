"""Templates of a profile: the five files that FireWorks and jobflow read, and what jobs ask of the queue by default."""
