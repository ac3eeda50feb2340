"""Scoring recipes: the evaluator protocol, a cache in front of it, and worker processes behind it."""
