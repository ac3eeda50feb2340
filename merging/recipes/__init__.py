"""Recipes: weight merges and paths, as immutable values named by their digests."""
