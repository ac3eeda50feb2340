"""A release's model card: from a cycle's results to facts, claims and text."""
