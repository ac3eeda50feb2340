"""Decides whether two models can be merged, without their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from bot.hub.discovery.candidate import BUFFERS
from bot.hub.inspection.member import Member
from bot.hub.inspection.processor import processor_differences
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.models.components import component_of, lacked_components
from merging.models.settings import noted_differences, settings_mismatch
from merging.partition import is_within
from merging.sources.family import TensorHeader, family_mismatch
from merging.tokenizers.comparison import (
    plain_text_mismatch,
    text_encoder_tokenizer_mismatch,
    tokenizer_mismatch,
)
from merging.tokenizers.spelling import spelling_mismatch

_HEIGHT, _END = "vocab_size", "eos_token_id"
_UNITE = "write search.vocabulary: union to unite them"


NO_USES: Mapping[str, str] = MappingProxyType({})
"""All components but the first are kept."""


def find_mismatch(
    reference: Member, other: Member, *, united: bool = False, components: Mapping[str, str] = NO_USES
) -> str | None:
    """The reason why two models cannot be merged, None if they can: tensors first, then what shapes do not show.

    reference: a carrier, where there is one. united: whether the merge matches tokens by their text; otherwise equal
    token ids must mean equal tokens. components: what becomes of components besides the first, as search.components has
    it.
    """
    return (
        _experts_mismatch(reference, other)
        or _weights_mismatch(reference, other)
        or _components_mismatch(reference, other, components)
        or (_spelling_mismatch(reference, other) if united else _token_mismatch(reference, other))
    )


def _weights_mismatch(reference: Member, other: Member) -> str | None:
    """The reason why their tensors, or what is computed with them, differ by more than the number of tokens."""
    if reference.components:
        return _carried_mismatch(reference, other)
    same_height = {_HEIGHT: reference.settings.get(_HEIGHT)} if _HEIGHT in other.settings else {}
    return family_mismatch(reference.headers, other.headers_with(reference.rows)) or settings_mismatch(
        reference.settings, {**other.settings, **same_height}
    )


def _carried_mismatch(carrier: Member, other: Member) -> str | None:
    """As `_weights_mismatch`, of a model and a carrier: all that the model has is compared with the carrier's own."""
    # A config says what is different more plainly than the tensors do.
    if reason := KINDS[carrier.kind].carrier_mismatch(carrier.settings, other.settings):
        return reason
    try:
        headers = headers_in_carrier(carrier, other)
    except MergingError as error:
        return str(error)
    lacking = lacked_components(carrier.components, headers)
    own = {name: one for name, one in carrier.headers.items() if component_of(carrier.components, name) not in lacking}
    return family_mismatch(own, headers)


def headers_in_carrier(carrier: Member, other: Member) -> dict[str, TensorHeader]:
    """A model's headers by the carrier's names, with as many rows as the carrier has: rows are matched by token.

    MergingError for a model with tensors that the carrier has no place for.
    """
    found = KINDS[carrier.kind].carried_headers(carrier.config, other.config, other.headers, "it")
    rows = {name: carrier.headers[name].shape[0] for name in carrier.by_token}
    return {
        name: replace(one, shape=(rows.get(name, one.shape[0]), *one.shape[1:])) if one.shape else one
        for name, one in found.items()
    }


def _components_mismatch(carrier: Member, other: Member, uses: Mapping[str, str]) -> str | None:
    """The reason why a component besides the first cannot be merged with the carrier's, or taken instead; None if not.

    A model that is only a part of the carrier has none of them, and takes no part in it.
    """
    changes = other.adaptation.changes if other.adaptation else ()
    merged = {*list(carrier.components)[:1], *(name for name, use in uses.items() if use == "merge")}
    if changes and merged.isdisjoint(changes):
        return f"its LoRA changes the {' and the '.join(changes)} alone, which merges take from {carrier.repo}"
    for component, use in uses.items():
        if use == "keep" or component not in carrier.components:
            continue
        if component not in other.components:
            if other.is_part_of(carrier.kind):
                continue
            return f"it has no {component}"
        if use == "choose" and other.adaptation is not None and component in other.adaptation.changes:
            return f"its LoRA changes the {component}, which is taken whole; write search.components.{component}: merge"
        # One that is chosen comes with its own tokenizer, and all that must fit it has been compared.
        if use == "merge" and (reason := find_component_mismatch(carrier, other, component)):
            return reason
    return None


def find_component_mismatch(carrier: Member, other: Member, component: str) -> str | None:
    """The reason why a component that both have cannot be merged with the carrier's; None if it can."""
    if reason := KINDS[carrier.kind].component_mismatch(carrier.settings, other.settings, component):
        return reason
    one, two = (_headers_within(member, member.components[component]) for member in (carrier, other))
    return family_mismatch(one, two) or _component_tokenizer_mismatch(carrier, other, component)


def _headers_within(member: Member, paths: tuple[str, ...]) -> dict[str, TensorHeader]:
    """The headers of a component, without those of counts and masks, which files of some versions have."""
    inside = (header for name, header in member.headers.items() if is_within(name, paths))
    return {header.name: header for header in inside if header.dtype not in BUFFERS}


def _component_tokenizer_mismatch(carrier: Member, other: Member, component: str) -> str | None:
    """The reason why equal ids mean other tokens to a text encoder of one's own; None if they do not."""
    for folder in other.components[component]:
        own, theirs = carrier.tokenizers.get(folder), other.tokenizers.get(folder)
        if own and theirs and (difference := text_encoder_tokenizer_mismatch(own, theirs)):
            return f"the tokenizer of its {component} is not that of {carrier.repo}: {difference}"
    return None


def note_differences(leader: Member, other: Member) -> str | None:
    """What a user meets in another source's files, though it can be merged; None if there is nothing.

    Differences of configs change nothing; those of processors change what a source is shown, and those of schedulers
    how it draws, beside what it was trained on. leader: the source whose config and processor the merges have.
    """
    leading, settings = leader.language, other.language
    if leader.tokenizer and other.tokenizer and leader.tokenizer.parts != other.tokenizer.parts:
        settings = {**settings, _END: leading.get(_END)}  # ids of another vocabulary say nothing
    found = {
        "config": noted_differences(leading, settings),
        KINDS[leader.kind].processor_name: processor_differences(leader.processor, other.processor),
    }
    said = [f"its {name} says {', and '.join(differences)}" for name, differences in found.items() if differences]
    return f"{'; '.join(said)}: merges follow {leader.repo}" if said else None


def _experts_mismatch(base: Member, other: Member) -> str | None:
    """The reason why their layers have other experts, which tensor names would say less plainly; None if not."""
    if base.experts == other.experts:
        return None
    return f"it {_describe(other)}, and {base.repo} {_describe(base)}"


def _describe(member: Member) -> str:
    return f"has {member.experts}" if member.experts else "is dense"


def _spelling_mismatch(reference: Member, other: Member) -> str | None:
    """The reason why tokens cannot be matched by their text."""
    if reference.tokenizer is None or other.tokenizer is None:
        return "it has no tokenizer.json, from which vocabularies are united"
    return spelling_mismatch(reference.tokenizer.spelling, other.tokenizer.spelling)


def _token_mismatch(base: Member, other: Member) -> str | None:
    """The reason why equal token ids mean different tokens, by the first tokenizer file that both have; None if not.

    The rows of a model that is only a part of the base are matched by token: added ones, and padding, may differ. The
    text encoders of a pipeline have tokenizers of their own, which `_components_mismatch` compares.
    """
    if base.remotes[0].candidate.is_pipeline:
        return None
    inside = other.kind != base.kind
    if base.tokenizer is not None and other.tokenizer is not None:
        if inside:
            difference = plain_text_mismatch(base.tokenizer, other.tokenizer)
            return f"its tokenizer is not that of {base.repo}: {difference}" if difference else None
        difference = tokenizer_mismatch(base.tokenizer, other.tokenizer)
        if difference:
            return f"its tokenizer is not that of {base.repo}: {difference}; {_UNITE}"
        return _rows_mismatch(base, other)
    if base.pieces is None or other.pieces is None:
        return f"it has no {'tokenizer.json' if base.tokenizer else 'tokenizer.model'} to compare"
    if base.pieces != other.pieces:
        return f"its tokenizer.model is not that of {base.repo}"
    return None if inside or base.rows == other.rows else _other_rows(base, other)


def _rows_mismatch(base: Member, other: Member) -> str | None:
    """The reason why unequal numbers of rows are more than padding: rows that no tokenizer has a token for."""
    assert base.tokenizer is not None and other.tokenizer is not None
    if base.rows == other.rows:
        return None
    heights = (base.tokenizer.height, other.tokenizer.height)
    if base.rows is not None and other.rows is not None and None not in heights:
        highest = max(height or 0 for height in heights)
        if highest <= min(base.rows, other.rows) and base.tokenizer.added == other.tokenizer.added:
            return None
    return f"{_other_rows(base, other)}; {_UNITE}"


def _other_rows(base: Member, other: Member) -> str:
    return f"its embeddings have {other.rows} rows, those of {base.repo} {base.rows}"
