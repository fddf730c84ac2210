"""The live page of a project: read-only views of its database, served by `gst web`."""
