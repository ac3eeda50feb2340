"""The models that draw: their world of small pictures, their training, and the Hub's repos of the demo with them."""
