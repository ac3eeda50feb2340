"""The front of a search: which recipes are on it, and how much of its lead is luck."""
