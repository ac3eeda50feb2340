"""Merges of pipelines by recipe files: planned from headers and configs, and written tensor by tensor."""
