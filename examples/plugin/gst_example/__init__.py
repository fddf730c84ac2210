"""An example of a package that extends gst_jobflow by entry points."""
