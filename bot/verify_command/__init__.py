"""`shoal verify`: whether a release is what it says it is, by building and scoring it again."""
