"""Weights that torch.save wrote: read as data, without running their pickles, and converted to safetensors."""
