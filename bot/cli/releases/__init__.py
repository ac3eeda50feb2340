"""The commands that work on releases and other members of a front."""
