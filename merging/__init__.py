"""Weights: sources as lazy checkpoints, recipes, methods, search spaces and evolution."""
