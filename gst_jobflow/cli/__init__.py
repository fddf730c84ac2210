"""The command `gst`: one module a command; anything heavy is imported inside the command that needs it."""
