"""Releases: written checkpoints, cards, plots, reports, and their publication on the Hub."""
