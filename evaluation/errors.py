"""The error that evaluation raises."""


class EvaluationError(Exception):
    """A task, metric or score that cannot be used; the message names what and the remedy."""


class TaskDataError(EvaluationError):
    """The data of one or more tasks, a line each, cannot be had here; the tasks themselves may be right."""
