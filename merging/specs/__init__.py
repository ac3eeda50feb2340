"""The declaration of a merge method: its parameters, and how a search varies them, without a tensor library."""
