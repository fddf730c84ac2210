"""The results database: connect, migrate, write, query; files; spool and ingest."""

from gst_jobflow.store.files.artifacts import ArtifactStore
from gst_jobflow.store.ingest import ingest
from gst_jobflow.store.query import find
from gst_jobflow.store.results import Results, public
