"""The error that evaluation raises."""


class EvaluationError(Exception):
    """A task, metric or score that cannot be used; the message names what and the remedy."""
