"""Models as transformers builds them from a config."""
