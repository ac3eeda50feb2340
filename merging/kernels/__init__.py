"""The loops that merge methods share, in float32 on the CPU: the same bits in any number of threads."""
