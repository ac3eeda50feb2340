"""The pool: which sources can be merged with each other, and under which licence."""
