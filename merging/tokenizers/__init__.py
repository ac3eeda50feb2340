"""Tokenizers: comparing them, uniting their vocabularies, and reordering rows to match."""
