"""Checks of generated answers: degenerate output and language."""
