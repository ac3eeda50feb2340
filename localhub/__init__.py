"""A Hub on this machine: a small server that speaks the Hub's HTTP protocol on a folder."""
