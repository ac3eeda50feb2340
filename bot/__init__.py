"""The bot: the only package that knows the Hub, the clock, the database and the disk layout."""
