"""Rules that refuse a candidate by the Hub's description alone.

RULES lists them in the order in which they are asked; the first that answers gives the reason. A rule does not object
to what the Hub was not asked for yet, so the same rules serve an entry of a list and a queried model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta

from bot.hub.discovery.candidate import ADAPTER_CONFIG, ADAPTER_WEIGHTS, INDEX, SINGLE, Candidate, most_bytes
from bot.hub.discovery.meant_files import explain_unclear
from bot.hub.licences import declare_licences, licence_refusal
from bot.watchlist.watchlist import Watchlist
from merging.kinds import KINDS, find_refusal
from merging.kinds.kind import read_architectures
from merging.pickles.names import PICKLED_ADAPTER, SINGLE_PICKLE
from merging.pipelines.index import find_files_fault
from templates.escaping import plain

OWN_TAG = "shoal-merge"
"""Tag on every release's card, so that the bot never merges its own merges."""

RefusalRule = Callable[[Candidate, Watchlist, datetime], str | None]
FormRule = Callable[[Candidate, object, object], str | None]
"""A rule that does not depend on the watchlist."""

_QUANTISER_TAGS = frozenset({"gptq", "awq", "exl2", "exl3", "bitsandbytes", "compressed-tensors", "fp8"})
_COPY_TAGS = frozenset({"gguf", "mlx"})
"""Tags of formats that may also lie beside a model's own weights, or hold them unrounded."""

_MODEL_CODE = re.compile(
    r"(modeling|configuration|tokenization|(image_|video_)?processing|feature_extraction|pipeline)(_.+)?\.py"
)
"""Names of scripts with a model's own code; others, such as train.py, are never run by whoever loads it."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARD = re.compile(r"model-[0-9]+-of-[0-9]+\.safetensors")


def own_merge(candidate: Candidate, _: Watchlist, __: datetime) -> str | None:
    """Merging merges would compound errors that no card shows."""
    return f"it is a merge made by shoal (tag {OWN_TAG})" if OWN_TAG in candidate.tags else None


def author_denied(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's list of authors whose models are never used."""
    denied = candidate.author in watchlist.watch.authors.deny
    return f"its author {candidate.author} is in watch.authors.deny" if denied else None


def author_not_allowed(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's list of authors; a pinned model need not be by an allowed one."""
    authors = watchlist.watch.authors
    if authors.allow and candidate.author not in authors.allow and candidate.pinned is None:
        return f"its author {candidate.author} is not in watch.authors.allow"
    return None


def gated(candidate: Candidate, _: Watchlist, __: datetime) -> str | None:
    """Only a person can accept terms: whoever pins a model has read them, and the token must have access."""
    if candidate.gated and candidate.pinned is None:
        return "it is gated: its owner asks for an agreement first"
    return None


def private(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """A public merge would publish a private model."""
    if candidate.private and not watchlist.publish.private:
        return "it is private, and releases would be public (publish.private is not set)"
    return None


def not_whole(candidate: Candidate, _: object, __: object) -> str | None:
    """An adapter holds differences, not a model; and a part of a model is read within another one."""
    if candidate.is_part:
        what = "a denoiser alone" if candidate.denoiser_files else "a checkpoint in one file"
        return f"it is {what}, not a whole pipeline in folders"
    if candidate.is_adapter or "adapter" in (candidate.relation, candidate.inferred_relation):
        return "it is an adapter, not a whole model"
    return None


def adapter_not_wanted(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's word on adapters, which counts for those that are found; and adapters that are none of peft's."""
    if candidate.is_adapter:
        wanted = watchlist.watch.adapters or candidate.pinned is not None
        return None if wanted else "it is an adapter, and watch.adapters is false"
    if KINDS[watchlist.kind].loose_parts or candidate.is_part:
        return None
    if "adapter" in (candidate.relation, candidate.inferred_relation):
        return f"it is an adapter without {ADAPTER_CONFIG}: only LoRA adapters that peft saved can be merged"
    return None


def unclear(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """A LoRA, a checkpoint or a denoiser of which nobody can tell what files are meant."""
    return explain_unclear(candidate, watchlist.kind)


def quantised(candidate: Candidate, _: object, __: object) -> str | None:
    """Rounded weights do not average.

    The Hub also calls a repo quantized, or tags it, for a rounded copy beside its whole weights.
    """
    if candidate.is_adapter:
        return None  # it speaks of the base that it was trained on, which is inspected itself
    if candidate.quantised:
        return f"it is quantised ({candidate.quantised[:40]})"
    tags = {tag.lower() for tag in candidate.tags}
    found = sorted(_QUANTISER_TAGS & tags)
    if candidate.relation == "quantized":
        found.append("as its card says")
    counted = not (candidate.is_pipeline or candidate.is_part)  # the Hub does not count these weights
    if counted and not candidate.has_whole_weights:
        found += sorted(_COPY_TAGS & tags)
        if candidate.inferred_relation == "quantized":
            found.append("as the Hub lists it")
    return f"it is quantised ({found[0]})" if found else None


def custom_code(candidate: Candidate, _: object, __: object) -> str | None:
    """No foreign code runs here, and none is passed on."""
    scripts = [file.path for file in candidate.files if _MODEL_CODE.fullmatch(file.path.rpartition("/")[2])]
    if candidate.custom_code or scripts:
        return f"it needs custom code ({scripts[0] if scripts else 'auto_map in its config'})"
    return None


def no_safetensors(candidate: Candidate, _: object, __: object) -> str | None:
    """Weights are read from safetensors, or converted from what transformers pickled (see `pickled`)."""
    paths = [file.path for file in candidate.files]
    if candidate.meant_file is not None or candidate.is_part:
        return None
    if candidate.is_adapter:
        return _no_adapter_weights(paths)
    if candidate.is_pipeline:
        return find_files_fault(candidate.index, paths) if candidate.index is not None else None
    if SINGLE in paths or INDEX in paths or candidate.is_pickled:
        return None
    if found := next((path for path in paths if path.endswith(_PICKLES)), None):
        return f"its weights are pickled as {found[:60]}, without safetensors or {SINGLE_PICKLE}"
    if any(_SHARD.fullmatch(path) for path in paths):
        return "its shards have no model.safetensors.index.json"
    return "it has no model.safetensors"


def pickled(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """A pickle can run code when it is read, so a person has to allow it."""
    if candidate.is_pickled and watchlist.watch.pickles == "refuse":
        return "its weights are pickled, without safetensors; write `watch.pickles: convert` to have them converted"
    return None


def _no_adapter_weights(paths: Collection[str]) -> str | None:
    if ADAPTER_WEIGHTS in paths or PICKLED_ADAPTER in paths:
        return None
    return f"it has {ADAPTER_CONFIG} without {ADAPTER_WEIGHTS}"


def unsupported_kind(candidate: Candidate, _: object, __: object) -> str | None:
    """Only models of a known kind can be merged."""
    within = candidate.is_adapter or candidate.is_part
    return None if within or candidate.about is None else find_refusal(candidate.about)


def other_kind(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """Only models of the watchlist's kind can be merged, and of kinds that can be a part of it."""
    if candidate.is_adapter or candidate.is_part or candidate.about is None:
        return None  # these are compared with their base, or with the carrier
    kinds = (watchlist.kind, *KINDS[watchlist.kind].inner_kinds)
    return find_refusal(candidate.about, [KINDS[name] for name in kinds])


def architecture_not_wanted(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's list of architectures."""
    listed = watchlist.watch.architectures
    if candidate.is_adapter or candidate.is_part:
        return None  # its base has one, or the carrier
    found = read_architectures(candidate.about or {})
    if listed and found and not set(found) & set(listed):
        return f"its architecture {found[0][:60]} is not in watch.architectures"
    return None


def licence_forbids(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """Licences with which no merge could be published."""
    declared = declare_licences(candidate)
    reasons = (licence_refusal(entry, noncommercial=watchlist.noncommercial) for entry in declared)
    return next((reason for reason in reasons if reason), None)


def licence_not_wanted(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's list of licences."""
    listed = watchlist.watch.licences
    if listed is None:
        return None
    unwanted = [licence for licence in candidate.licences or ("none",) if licence not in listed]
    return f"its licence {unwanted[0][:40]!r} is not in watch.licences" if unwanted else None


def wrong_size(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's range of parameters; an adapter has its base's."""
    count, bounds = candidate.parameters, watchlist.watch.parameters
    if count is None or candidate.is_adapter:
        return None
    if bounds.min is not None and count < bounds.min:
        return f"it has {count:,} parameters, fewer than watch.parameters.min ({bounds.min:,})"
    if bounds.max is not None and count > bounds.max:
        return f"it has {count:,} parameters, more than watch.parameters.max ({bounds.max:,})"
    return None


def oversized(candidate: Candidate, _: object, __: object) -> str | None:
    """Limits on files that are read whole."""
    for file in candidate.wanted_files:
        limit = most_bytes(file.path)
        if limit is not None and file.size is not None and file.size > limit:
            return f"its {file.path} is {file.size:,} bytes, more than the {limit:,} that are fetched"
    return None


def too_many_bytes(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's limit on a download."""
    size, limit = candidate.download_bytes, watchlist.watch.max_bytes
    return f"its files are {size:,} bytes, more than watch.max_bytes ({limit:,})" if size > limit else None


def too_few_downloads(candidate: Candidate, watchlist: Watchlist, _: datetime) -> str | None:
    """The watchlist's threshold; pinned models need none."""
    least = watchlist.watch.downloads_min
    if candidate.pinned is None and candidate.downloads < least:
        return f"it has {candidate.downloads:,} downloads, fewer than watch.downloads_min ({least:,})"
    return None


def too_old(candidate: Candidate, watchlist: Watchlist, now: datetime) -> str | None:
    """The watchlist's limit on age; pinned models have none."""
    days, changed = watchlist.watch.max_age_days, candidate.last_modified
    if days is None or changed is None or candidate.pinned is not None:
        return None
    if now - changed > timedelta(days=days):
        return f"it was last changed on {changed:%Y-%m-%d}, more than watch.max_age_days ({days}) ago"
    return None


def unsafe(candidate: Candidate, _: object, __: object) -> str | None:
    """The Hub's own scanners."""
    if candidate.flagged:
        return f"the Hub's security scan warns of {candidate.flagged[0][:60]}"
    return None


FORM: tuple[FormRule, ...] = (
    not_whole,
    quantised,
    custom_code,
    no_safetensors,
    unsupported_kind,
    oversized,
    unsafe,
)
"""Rules that hold for every merge, whatever the watchlist says."""

PART: tuple[FormRule, ...] = (quantised, custom_code, oversized, unsafe)
"""Those of them that hold for a part of a pipeline, too."""

SAFETY: tuple[RefusalRule, ...] = (
    gated,
    private,
    not_whole,
    quantised,
    custom_code,
    no_safetensors,
    pickled,
    other_kind,
    licence_forbids,
    oversized,
    too_many_bytes,
    unsafe,
)
"""Rules that hold for the base model as well."""

NAMED_BASE: tuple[RefusalRule, ...] = tuple(rule for rule in SAFETY if rule is not gated)
"""Rules for a base that the watchlist names, which counts as pinned."""

MODEL: tuple[RefusalRule, ...] = (architecture_not_wanted, wrong_size)
"""Rules on what kind of model is watched for: of an adapter they are asked about its base."""

LAST_STAGE: tuple[RefusalRule, ...] = (
    private,
    custom_code,
    no_safetensors,
    pickled,
    licence_forbids,
    oversized,
    too_many_bytes,
    unsafe,
)
"""Rules for the adapter that the watchlist names as the last stage, which counts as pinned."""

ADAPTED_BASE: tuple[RefusalRule, ...] = (
    own_merge,
    author_denied,
    *SAFETY,
    licence_not_wanted,
    *MODEL,
)
"""Rules for the base of an adapter, whose weights go into merges as a source's do. Others have chosen it."""

RULES: tuple[RefusalRule, ...] = (
    own_merge,
    author_denied,
    author_not_allowed,
    *(another for rule in SAFETY for another in ((adapter_not_wanted, unclear) if rule is not_whole else (rule,))),
    architecture_not_wanted,
    licence_not_wanted,
    wrong_size,
    too_few_downloads,
    too_old,
)
"""All rules, in the order in which they are asked."""


def first_refusal(
    candidate: Candidate, watchlist: Watchlist, now: datetime, rules: tuple[RefusalRule, ...] = RULES
) -> str | None:
    """The first reason to refuse the candidate, in one line; None if there is none."""
    reasons = (rule(candidate, watchlist, now) for rule in rules)
    return next((plain(reason) for reason in reasons if reason is not None), None)


def form_refusal(candidate: Candidate) -> str | None:
    """The first reason why no merge can take the model in, in one line; None if there is none."""
    return first_refusal_among(FORM, candidate)


def first_refusal_among(rules: Iterable[FormRule], candidate: Candidate) -> str | None:
    """The first reason by some of the rules that hold for every merge; None if there is none."""
    reasons = (rule(candidate, None, None) for rule in rules)
    return next((plain(reason) for reason in reasons if reason is not None), None)
