"""Recipes as mergekit writes them."""
