"""The version of the database: collections, validators and indexes, and how a database reaches this version."""
