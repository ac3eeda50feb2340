"""Each claim on speed or quality as a command that measures both sides: `python -m benchmarks`."""
