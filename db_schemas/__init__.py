"""JSON Schema validator and indexes of each collection, generated from gst_jobflow.documents."""
