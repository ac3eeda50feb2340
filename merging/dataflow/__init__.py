"""Merging in data-flow space: a path through the layers of several models, written as an ordinary checkpoint."""
