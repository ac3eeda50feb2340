"""Reads what can be known of an adapter without its weights: its settings, its base's name, its tensor headers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.hub.client import Hub
from bot.hub.discovery.candidate import ADAPTER_CONFIG, Candidate
from bot.hub.inspection.member import Adaptation, Member, RemoteWeights, Unfit
from bot.hub.inspection.reading import check_measured, read_adapter_headers, read_tokenizer, reading_files
from bot.watchlist.sections import PinnedModel
from merging.sources.adapter_plan import plan_adapter
from merging.sources.header_names import name_adapter_headers
from merging.sources.json_object import parse_json_object
from merging.tokenizers.comparison import tokenizer_mismatch
from templates.escaping import plain

_TASK = "CAUSAL_LM"
"""peft's name for adapters of language models; one for another task was trained with another head."""

_BASE_KEY = "base_model_name_or_path"


@dataclass(frozen=True)
class AdapterSettings:
    """An adapter's parsed adapter_config.json, and the base that it names."""

    config: Mapping[str, object]
    base: PinnedModel


def read_adapter_settings(hub: Hub, candidate: Candidate) -> AdapterSettings:
    """Read an adapter's settings at its commit.

    Raises:
        Unfit: they cannot be read, name no repo as the base, or are for another task than language models have.
        ShoalError: the Hub cannot be asked.
    """
    check_measured(candidate)
    config = _read_config(hub, candidate)
    task = config.get("task_type")
    if task not in (None, _TASK):
        raise Unfit(f"its {ADAPTER_CONFIG}: task_type: got {str(task)[:40]!r}: only {_TASK} adapters can be merged")
    return AdapterSettings(config, _named_base(config))


def inspect_adapter(hub: Hub, candidate: Candidate, settings: AdapterSettings, base: Member) -> Member:
    """An adapter on its base, as a member of a pool; its config and tokenizer are the base's.

    Raises:
        Unfit: it does not fit the base, or comes with a tokenizer by which the base's embeddings mean something else.
        ShoalError: the Hub cannot be asked.
    """
    with reading_files(candidate):
        headers = read_adapter_headers(hub, candidate)
        named = name_adapter_headers(base.config, headers, base.repo)
        plan_adapter(f"on its base {base.repo}", settings.config, named, base.headers)
        if candidate.file("tokenizer.json") and base.tokenizer is not None:
            own, _ = read_tokenizer(hub, candidate)
            if own is not None and (difference := tokenizer_mismatch(base.tokenizer, own)):
                raise Unfit(f"its tokenizer is not that of its base {base.repo}: {difference}")
    (files,) = base.remotes  # a whole model's
    adaptation = Adaptation(files, RemoteWeights(candidate, headers))
    return replace(base, candidate=candidate, adaptation=adaptation)


def _read_config(hub: Hub, candidate: Candidate) -> dict[str, object]:
    with reading_files(candidate):
        content = hub.read(candidate.repo, candidate.sha, ADAPTER_CONFIG)
        return parse_json_object(f"its {ADAPTER_CONFIG}", content)


def _named_base(config: Mapping[str, object]) -> PinnedModel:
    """The repo that an adapter's settings name, at the commit that they name, if they do."""
    name, revision = config.get(_BASE_KEY), config.get("revision")
    if not name:
        raise Unfit(f"its {ADAPTER_CONFIG} names no base ({_BASE_KEY})")
    try:
        return PinnedModel.model_validate({"repo": name, "revision": revision})
    except ValueError as error:
        shown = plain(str(name))[:60] + (f"@{plain(str(revision))[:40]}" if revision else "")
        raise Unfit(f"its {ADAPTER_CONFIG}: {_BASE_KEY}: got {shown!r}: no repo of the Hub") from error
