"""What is done with past cycles: their review, building their merges again, and making room."""
