"""The watchlist: reading it, checking it, and saying what is wrong with it."""
