"""Who wins: the search among merges, the gate that the front must pass, and the choice of what is released."""
