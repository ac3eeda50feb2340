"""Racing: scores estimated from part of the items, and who continues."""
