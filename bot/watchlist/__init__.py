"""The watchlist: its sections, how a file is read and checked, and the errors it gives."""
