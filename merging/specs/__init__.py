"""What a merge method declares: its parameters, and how a search varies them. Nothing here needs a tensor library."""
