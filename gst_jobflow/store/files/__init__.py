"""Files by their SHA-256: stored once, referenced by documents, removed only when nothing needs them."""
