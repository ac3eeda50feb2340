"""The ledger: the database of all that was measured and done."""
