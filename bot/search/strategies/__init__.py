"""Search strategies: among weight merges, among paths through layers, or in two stages."""
