"""Each claim on speed as a command that measures both sides in one run and prints the ratio."""
