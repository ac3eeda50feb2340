"""A page in the browser that shows what the bot does and has done; it changes nothing."""
