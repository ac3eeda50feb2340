"""Measures how fast one worker of this machine is with a pool's models, before any of their weights are there."""
