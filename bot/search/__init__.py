"""The search among merges, the gate that the front must pass, and the choice of releases."""
