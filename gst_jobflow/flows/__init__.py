"""What a user submits: jobflow Makers joined to flows."""
