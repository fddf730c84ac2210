"""Templates of what FireWorks and jobflow read, one folder a profile; `gst init` fills them (see launch/configs.py)."""
