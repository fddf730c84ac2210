"""Compositions, random and crystalline structures, contacts, LAMMPS data, and derived numbers of structures."""
