"""`shoal merge`: one merge, from mergekit's YAML to a folder."""
