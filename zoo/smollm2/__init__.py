"""A real model, SmolLM2-135M-Instruct, with adapters for word problems and for Spanish, and what they were taught."""
