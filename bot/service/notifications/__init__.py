"""Tells people outside this machine how cycles end."""
