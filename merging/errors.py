"""The error that merging raises."""


class MergingError(Exception):
    """A recipe, checkpoint or search space that cannot be used; the message names what and the remedy."""
