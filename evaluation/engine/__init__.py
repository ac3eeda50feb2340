"""shoal's own way to answer lm-eval's requests with a model in memory: the same answers, computed once where shared."""
