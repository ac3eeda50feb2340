"""Racing: scores estimated from part of the items, and the choice of the candidates that continue."""
