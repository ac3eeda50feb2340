"""The Hub's own conversions of pickled weights: pull requests of its bot, with safetensors beside the pickles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Candidate
from bot.hub.discovery.query import query_model

if TYPE_CHECKING:
    from huggingface_hub import Discussion

CONVERSION_BOT, CONVERSION_TITLE = "SFconvertbot", "Adding `safetensors` variant of this model"
"""Author and title of the Hub's conversions; transformers knows them by these too."""

_MOST_PULLS = 3
"""Newest pull requests of the bot that are looked at; it makes one, and another if the pickles change."""


def prefer_conversion(hub: Hub, candidate: Candidate) -> Candidate:
    """The candidate with the files of the Hub's conversion, at its commit, if there is one of just these pickles.

    What else is known of the candidate stays: a card may have changed since. Raises ShoalError if the Hub cannot be
    asked; a repo that shows no pull requests has no conversion.
    """
    if not candidate.is_pickled:
        return candidate
    problem = None
    try:
        for pull in hub.call(_list_conversions, hub, candidate.repo):
            converted = query_model(hub, candidate.repo, pull.git_reference)
            problem = explain_difference(candidate, converted)
            if problem is None:
                return _with_files(candidate, converted, pull.num)
            problem = f"the Hub's conversion in pull request {pull.num} {problem}"
    except (HubNotFound, HubForbidden, HubRefused):
        pass
    return replace(candidate, unused_conversion=problem)


def explain_difference(candidate: Candidate, converted: Candidate) -> str | None:
    """Why a conversion is not one of a candidate's pickles, after "it"; None if all that it changes are safetensors."""
    if converted.repo != candidate.repo:
        return f"is of {converted.repo}"
    if converted.is_pickled:
        return "has no safetensors"
    own = {file.path: file.content_id for file in candidate.wanted_files}
    theirs = {file.path: file.content_id for file in converted.files}
    for path, content in own.items():
        if content is None or theirs.get(path) != content:
            return f"has another {path}" if path in theirs else f"lacks {path}"
    added = (file.path for file in converted.wanted_files if file not in converted.weight_files)
    if strange := next((path for path in added if path not in own and not path.endswith(".index.json")), None):
        return f"adds {strange}"
    return None


def describe_conversion(candidate: Candidate) -> str | None:
    """Where the safetensors of pickled weights come from; None of a model that has its own."""
    if candidate.pull_request is not None:
        return f"its weights are the Hub's conversion, pull request {candidate.pull_request}"
    if not candidate.is_pickled:
        return None
    unused = f" ({candidate.unused_conversion})" if candidate.unused_conversion else ""
    return f"its pickled weights are converted here{unused}"


def _with_files(candidate: Candidate, converted: Candidate, number: int) -> Candidate:
    return replace(
        candidate,
        sha=converted.sha,
        files=converted.files,
        parameters=converted.parameters,
        dtypes=converted.dtypes,
        security=converted.security,
        pull_request=number,
    )


def _list_conversions(hub: Hub, repo: str) -> list[Discussion]:
    """The newest open conversions of a repo."""
    pulls: Iterator[Discussion] = hub.api.get_repo_discussions(
        repo, author=CONVERSION_BOT, discussion_type="pull_request", discussion_status="open"
    )
    # What the Hub is asked for is checked again: anybody may open a pull request.
    found = [one for one in pulls if (one.author, one.title, one.status) == (CONVERSION_BOT, CONVERSION_TITLE, "open")]
    return sorted((one for one in found if one.is_pull_request), key=lambda one: -one.num)[:_MOST_PULLS]
