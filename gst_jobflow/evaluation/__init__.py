"""How good a potential is on labels that it was not made of, and how fast."""
