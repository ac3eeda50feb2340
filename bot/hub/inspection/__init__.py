"""Reads what can be known of a candidate without its weights, and compares two models by it."""
