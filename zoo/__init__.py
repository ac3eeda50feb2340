"""The demo zoo: tiny trained specialists worth merging, and decoys to refuse."""
