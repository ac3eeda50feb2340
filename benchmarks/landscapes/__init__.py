"""Landscapes: spaces of merges of tiny models whose scores are exact and fast, so that searches can be compared."""
