"""Asks the Hub for one model, and says what it means when the answer cannot be read."""

from __future__ import annotations

from dataclasses import replace

from bot.hub.answers.failures import HubRefused
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate, most_bytes, to_candidate
from merging.errors import MergingError
from merging.pipelines.index import INDEX
from merging.sources.json_object import parse_json_object
from templates.escaping import plain

UNREADABLE = (KeyError, TypeError, AttributeError, ValueError)
"""Errors of reading an answer in which something is absent or of another type than the client expects."""


def query_model(hub: Hub, repo: str, revision: str | None = None, pinned: int | None = None) -> Candidate:
    """One model with sizes, hashes and the security scan, at the commit that `revision` means now.

    Raises:
        HubNotFound, HubForbidden, HubRefused, HubUnavailable: the Hub does not show it, or not so that it can be read.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        info = hub.call(hub.api.model_info, repo, revision=revision, files_metadata=True, securityStatus=True)
        return to_candidate(info, pinned)
    except HFValidationError:
        raise  # the name is not one of a repo
    except UNREADABLE as error:
        raise HubRefused(f"{repo}: {explain_unreadable(error)}") from error


def query_source(hub: Hub, repo: str, revision: str | None = None, pinned: int | None = None) -> Candidate:
    """As `query_model`, of a model that may be merged: of a pipeline with what its model_index.json says."""
    return read_index(hub, query_model(hub, repo, revision, pinned))


def read_index(hub: Hub, candidate: Candidate) -> Candidate:
    """A pipeline with the content of its model_index.json; all else as it is. Raises as `query_model`."""
    file = candidate.file(INDEX)
    if file is None or candidate.index is not None or (file.size or 0) > (most_bytes(file.path) or 0):
        return candidate  # a rule refuses a file that is too large
    try:
        content = hub.read(candidate.repo, candidate.sha, INDEX)
        return replace(candidate, index=parse_json_object(f"its {INDEX}", content))
    except MergingError as error:
        raise HubRefused(f"{candidate.repo}: {plain(str(error))}") from error


def explain_unreadable(error: Exception) -> str:
    """What is wrong with an answer, in one line."""
    return plain(f"the Hub describes it in a form that cannot be read ({type(error).__name__}: {error})")[:200]
