"""Export data from the database as files that other programs read."""
