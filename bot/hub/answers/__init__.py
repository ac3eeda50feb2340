"""What the Hub's answers mean: failed calls, and the account of a token."""
