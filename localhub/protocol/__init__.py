"""The HTTP protocol that the genuine client speaks."""
