"""A page in the browser that shows what the bot does and has done, and takes what people decide."""
