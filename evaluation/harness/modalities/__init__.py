"""What models are asked with: text alone, or text with pictures."""
