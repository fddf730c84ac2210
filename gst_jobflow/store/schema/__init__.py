"""The version of the database, its collections, validators and indexes, and migrations to this version."""
