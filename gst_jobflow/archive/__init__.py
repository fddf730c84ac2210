"""Parts of the database as one file or folder: backups and bundles, verified before they are read."""
