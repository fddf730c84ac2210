"""Memory devices: cells, heat pulses, operations, programmes and cycles, and what is computed of each operation."""
