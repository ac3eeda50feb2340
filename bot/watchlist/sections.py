"""The keys of a watchlist, as frozen values each checked by itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from evaluation.answers.language import LANGUAGES

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMBGT]?)B?")


def _amount(value: object) -> object:
    """`360M`, `7B`, `16GB` as whole numbers; anything else as it came."""
    if not isinstance(value, str):
        return value
    match = _AMOUNT.fullmatch(value)
    if match is None:
        raise ValueError("is not an amount; write a whole number or one like 360M, 7B, 16GB")
    return int(float(match[1]) * _UNITS[match[2]])


def _shaped(pattern: str, what: str) -> AfterValidator:
    """A validator for text that must match `pattern` as a whole."""
    expression = re.compile(pattern)

    def check(value: str) -> str:
        if expression.fullmatch(value) is None:
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


_WORD = "[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
Slug = Annotated[
    str, _shaped("[a-z0-9][a-z0-9-]{0,47}", "a short name; use a-z, 0-9 and hyphens, at most 48 characters")
]
RepoName = Annotated[str, _shaped(f"{_WORD}/{_WORD}", "a Hub repo; write owner/name")]
Namespace = Annotated[str, _shaped(_WORD, "a user or organisation of the Hub; write its name alone")]
Revision = Annotated[
    str,
    _shaped("[A-Za-z0-9][A-Za-z0-9._/-]{0,199}", "a branch, tag or commit; write its name, or leave it out"),
]
Text = Annotated[str, _shaped(r"\S(?:[^\x00-\x1f]*\S)?", "a word or a line of text; write one, without line breaks")]
Amount = Annotated[
    int,
    BeforeValidator(_amount),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _AMOUNT.pattern}]}),
]


def _language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError("is no language that can be told here; write an ISO 639-1 code such as ja, de or zh")
    return code


Language = Annotated[str, AfterValidator(_language), WithJsonSchema({"enum": list(LANGUAGES), "type": "string"})]


class Section(BaseModel):
    """A group of keys: unknown ones are refused, and nothing is converted behind the person's back."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AuthorsSection(Section):
    """Whose models may come in."""

    allow: tuple[Namespace, ...] = Field(default=(), description="only these users and organisations; empty: everybody")
    deny: tuple[Namespace, ...] = Field(default=(), description="never these")


class RangeSection(Section):
    """Bounds of a count; each may be left open."""

    min: Amount | None = Field(default=None, description="at least, e.g. 100M")
    max: Amount | None = Field(default=None, description="at most, e.g. 8B")


class WatchSection(Section):
    """What to look for on the Hub. A model must fit all of it."""

    tags: tuple[Text, ...] = Field(default=(), description="Hub tags a model must all carry")
    search: Text | None = Field(default=None, description="words in the model's name")
    authors: AuthorsSection = Field(default=AuthorsSection(), description="users and organisations to allow or deny")
    licences: tuple[Text, ...] | None = Field(
        default=None, description="licence ids to accept; null: all that may be merged"
    )
    pipeline_tag: Text | None = Field(default="text-generation", description="the Hub's name of the model's task")
    parameters: RangeSection = Field(default=RangeSection(), description="number of parameters of a model")
    max_bytes: Amount = Field(default=20 * 10**9, description="bytes to download of one model, e.g. 16GB")
    downloads_min: int = Field(default=0, ge=0, description="downloads in the last month, at least")
    max_age_days: int | None = Field(default=None, ge=1, description="days since the last change, at most")
    architectures: tuple[Text, ...] = Field(default=(), description="e.g. LlamaForCausalLM; empty: any that merges")
    max_candidates: int = Field(
        default=100, ge=2, le=1000, description="models to look at closely, most downloaded first"
    )


class PinnedModel(Section):
    """One repo of the Hub; without a revision, its main branch at the time of the cycle."""

    repo: RepoName = Field(description="owner/name")
    revision: Revision | None = Field(default=None, description="branch, tag or commit; null: main as it stands")


class SkillTaskSection(Section):
    """One lm-eval task that counts for a skill."""

    task: Text = Field(description="name of an lm-eval task")
    metric: Text = Field(description="name of one of the task's metrics, e.g. acc")
    filter: Text | None = Field(default=None, description="name of the answer filter; null: the task's first")
    weight: float = Field(default=1.0, gt=0, description="share in the skill's score")
    num_fewshot: int | None = Field(default=None, ge=0, description="examples in the prompt; null: as the task says")


class SkillSection(Section):
    """One objective of the search: the weighted mean of its tasks."""

    name: Slug = Field(description="a short name such as math")
    tasks: tuple[SkillTaskSection, ...] = Field(min_length=1, description="lm-eval tasks")
    chat_template: bool = Field(default=False, description="put prompts into the model's chat template")
    language: Language | None = Field(
        default=None, description="ISO 639-1 code; answers in another language count as wrong; null: any"
    )


class ItemsSection(Section):
    """At most so many items of each task in each split; null: all there are."""

    search: int | None = Field(default=200, ge=1, description="items a task that evolution sees")
    validation: int | None = Field(default=200, ge=1, description="items a task for the choice and the gate")
    report: int | None = Field(default=400, ge=1, description="items a task for the card")


class GroupsSection(Section):
    """Which tensors share a gene: more groups, a finer and a slower search."""

    layers: int = Field(default=1, ge=1, le=256, description="bands of neighbouring layers with genes of their own")
    modules: Literal["together", "apart"] = Field(default="together", description="attention and the rest of a block")
    ends: Literal["together", "apart"] = Field(
        default="together", description="embedding and head, or in the outer bands"
    )


class BudgetSection(Section):
    """When the search ends."""

    candidates: int = Field(
        default=200, ge=1, description="recipes to score on all search items, or the like in shares"
    )
    minutes: float | None = Field(default=None, gt=0, description="minutes of scoring; null: no such limit")


SearchedMethod = Literal[
    "linear",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
    "breadcrumbs",
    "breadcrumbs_ties",
    "sce",
    "model_stock",
    "nearswap",
    "arcee_fusion",
    "ram",
    "ramplus_tl",
]
"""The methods that have something to search."""


class RacingSection(Section):
    """Candidates answer the search items in rounds; those that others beat leave, and few answer all."""

    rounds: int = Field(default=5, ge=2, le=10, description="each doubles the items that were answered")
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="of the test by which a candidate leaves")


SpaceKind = Literal["parameter", "dataflow", "both"]
"""Mixtures of weights, paths through layers, or paths through what the mixtures came to."""


class DataflowSection(Section):
    """How layers are laid out, where paths through them are bred."""

    models: int = Field(default=3, ge=2, le=8, description="models whose layers are laid out, at most")
    repeats: int = Field(default=2, ge=1, le=8, description="how often all their layers are laid out")
    min_layers: int | None = Field(default=None, ge=1, description="of a path; null: half as many as a source has")
    max_layers: int | None = Field(default=None, ge=1, description="of a path; null: half as many again as a source")
    ends: Literal["free", "first"] = Field(
        default="free",
        description="embedding and head: of any model, or, with the first and last layer, of the first model",
    )
    scales: bool = Field(default=True, description="evolve a scale before each layer, too")
    share: float = Field(default=0.5, gt=0, lt=1, description="of the budget, for paths; where both are bred")
    smaller: bool = Field(
        default=False, description="fewer layers are an objective of their own; the smallest that passes is released"
    )


class SearchSection(Section):
    """How merges are bred."""

    space: SpaceKind = Field(
        default="parameter", description="what is evolved: coefficients of weights, paths through layers, or both"
    )
    dataflow: DataflowSection = Field(default=DataflowSection(), description="how layers are laid out for paths")
    method: SearchedMethod = Field(default="task_arithmetic", description="the merge method")
    groups: GroupsSection = Field(default=GroupsSection(), description="which tensors share a gene")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="of candidates and releases"
    )
    population: int = Field(default=20, ge=4, le=1000, description="recipes in a generation")
    budget: BudgetSection = Field(default=BudgetSection(), description="when the search ends")
    racing: RacingSection | None = Field(
        default=RacingSection(),
        description="weak candidates leave early, so that more are tried; null: all answer all items",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="same seed, same search")
    step: float = Field(default=0.05, ge=0.001, le=0.5, description="grid of the coefficients")


class WorkersSection(Section):
    """How candidates are scored on this machine; what is null is made to fit it."""

    count: int | None = Field(default=None, ge=1, le=256, description="worker processes")
    threads: int | None = Field(default=None, ge=1, le=1024, description="threads of each")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the models run")
    batch_size: int | None = Field(default=None, ge=1, le=4096, description="prompts at once")
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="seconds for a candidate, then its worker is replaced; null: by the slowest so far",
    )


class GateSection(Section):
    """What a merge must show on the validation split before it is published."""

    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="of the test that it is better")
    minimum: dict[str, float] = Field(default={}, description="skill: lowest score allowed")
    max_degenerate: float = Field(default=0.02, ge=0, le=1, description="share of empty or looping answers allowed")


class PublishSection(Section):
    """Where releases go."""

    mode: Literal["auto", "review", "off"] = Field(default="review", description="upload, wait for a person, or never")
    namespace: Namespace | None = Field(default=None, description="user or organisation to publish under")
    name: Text = Field(
        default="{watchlist}-{role}",
        description="repo name; {watchlist}, {cycle}, {role} are filled in",
    )
    private: bool = Field(default=False, description="create the repos private")
    collection: Text | None = Field(default=None, description="title of a Hub collection to add releases to")
    max_releases: int = Field(default=3, ge=1, le=20, description="releases of one cycle, at most")


class ScheduleSection(Section):
    """When `shoal serve` runs the watchlist."""

    cron: Text = Field(description="minute hour day month weekday, as in crontab(5)")
    timezone: Text = Field(default="UTC", description="IANA name such as Europe/Berlin")


def _base_kind(value: object) -> str:
    if value is None:
        return "none"
    return "auto" if isinstance(value, str) else "model"


Base = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[PinnedModel, Tag("model")] | Annotated[None, Tag("none")],
    Discriminator(_base_kind),
]


class WatchlistFields(Section):
    """All that a watchlist's file says, each key right by itself."""

    name: Slug = Field(description="a short name; releases carry it")
    watch: WatchSection = Field(default=WatchSection(), description="what to look for on the Hub")
    pinned: tuple[PinnedModel, ...] = Field(default=(), description="models to take in addition, before all others")
    base: Base = Field(
        default="auto",
        description="{repo, revision} of the common ancestor, auto (as the models declare) or null",
    )
    max_sources: int = Field(default=4, ge=2, le=16, description="models merged with each other, at most")
    noncommercial: bool = Field(
        default=False, description="accept licences that forbid commercial use, and pass them on"
    )
    skills: tuple[SkillSection, ...] = Field(
        min_length=1, max_length=4, description="objectives, two or three as a rule"
    )
    task_folders: tuple[Text, ...] = Field(
        default=(), description="folders with own lm-eval tasks, relative to this file"
    )
    items: ItemsSection = Field(default=ItemsSection(), description="items of each task in each split")
    search: SearchSection = Field(default=SearchSection(), description="how merges are bred")
    workers: WorkersSection = Field(default=WorkersSection(), description="how candidates are scored on this machine")
    gate: GateSection = Field(default=GateSection(), description="what a merge must show before it is published")
    publish: PublishSection = Field(default=PublishSection(), description="where releases go")
    schedule: ScheduleSection | None = Field(default=None, description="when `shoal serve` runs it; null: only by hand")
