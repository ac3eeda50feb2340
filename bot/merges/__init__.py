"""`shoal merge`: one merge as mergekit's YAML describes it, from the file to a folder."""
