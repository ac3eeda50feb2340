"""Every text that a person reads: the model card and the local Hub's pages."""
