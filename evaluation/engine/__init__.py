"""The engine that answers lm-eval's requests with a model in memory: lm-eval's answers, with shared work done once."""
