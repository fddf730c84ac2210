"""Molecular dynamics with LAMMPS: stages, pulses, input decks, the engine, and reading what it writes."""
