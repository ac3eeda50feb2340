"""Vocabularies that differ."""
