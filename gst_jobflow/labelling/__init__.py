"""Labels: energies, forces and stresses from first principles or any ASE calculator, one protocol."""
