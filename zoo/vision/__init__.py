"""The demo's models that see: boards of things, drawn and told in two languages."""
