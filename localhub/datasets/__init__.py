"""Data set repos: what the local Hub keeps of them, and the routes that serve them to the genuine client."""
