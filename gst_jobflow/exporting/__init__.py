"""Out of the database: files that other programs read, and bundles that another database takes in whole."""
