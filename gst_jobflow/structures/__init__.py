"""Compositions, random and crystalline structures, device cells, LAMMPS data files, and what is stored of a structure."""
