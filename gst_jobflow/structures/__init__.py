"""Compositions, random and crystalline structures, device cells, LAMMPS data, and what is stored of a structure."""
