"""Paths through the layers of several models: layout, scale folding, cost and live models."""
