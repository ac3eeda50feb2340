"""Merged models as folders."""
