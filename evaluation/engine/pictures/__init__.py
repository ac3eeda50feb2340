"""Pictures in the engine: what a model's decoder is given in their places is computed once, kept and looked up."""
