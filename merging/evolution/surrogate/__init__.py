"""A model of the scores over the genes, learned from a search's own scores, and the choice of offspring by it."""
