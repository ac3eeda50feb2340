"""When a watchlist is due: cron strings, and clocks that are put forward and back."""
