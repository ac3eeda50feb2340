"""A cycle from a tag on the Hub to published models, its dry run and its history."""
