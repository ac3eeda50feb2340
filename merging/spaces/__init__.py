"""Search spaces: genomes, and the recipes that they mean."""
