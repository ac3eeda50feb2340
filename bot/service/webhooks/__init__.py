"""The Hub's webhook: what its calls tell, which watchlists they wake, and what the Hub watches for us."""
