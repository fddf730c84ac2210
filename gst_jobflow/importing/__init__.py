"""Structures and labels out of other people's files: readers by format, checks, and the stream into the database."""
