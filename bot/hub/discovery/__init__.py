"""Finds candidates on the Hub: lists, rules that refuse, and the candidate as a value."""
