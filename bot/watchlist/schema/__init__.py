"""The JSON Schema of watchlists, and the reference of their keys that is made from it."""
