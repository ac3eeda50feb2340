"""Who scores recipes: worker processes, and the judge that asks them and keeps what it learns."""
