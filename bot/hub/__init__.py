"""The Hub: its client, the candidates found there, the pool they form, and their download."""
