"""The inputs of merges: checkpoints, and adapters on top of them."""
