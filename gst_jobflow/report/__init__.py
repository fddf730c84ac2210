"""One self-contained HTML page of a study, a cycle or a potential: figures, tables, snapshots, provenance."""
