"""Repos that are no models, data sets and Spaces: what the local Hub keeps of them, and their routes."""
