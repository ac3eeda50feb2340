"""Scores: skills, splits, evaluation sets and statistics."""
