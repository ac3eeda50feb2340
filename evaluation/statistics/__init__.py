"""Statistics: intervals, paired tests and power."""
