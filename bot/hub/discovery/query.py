"""Asks the Hub for one model, and says what it means when the answer cannot be read."""

from __future__ import annotations

from bot.hub.answers.failures import HubRefused
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate, to_candidate
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


def explain_unreadable(error: Exception) -> str:
    """What is wrong with an answer, in one line."""
    return plain(f"the Hub describes it in a form that cannot be read ({type(error).__name__}: {error})")[:200]
