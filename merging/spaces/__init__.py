"""Search spaces: what a genome means."""
