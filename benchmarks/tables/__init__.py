"""The tables of README and docs: `pages` writes them, each other file makes those of one family."""
