"""Sources that are not whole pipelines in folders: single-file checkpoints, and denoisers alone."""
