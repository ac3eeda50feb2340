"""The sections of a watchlist file as frozen values, each key valid by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from bot.watchlist.values import (
    Amount,
    Language,
    Licence,
    Namespace,
    PictureSizes,
    RepoName,
    Revision,
    ScaleRange,
    ShortFileForm,
    ShortForm,
    Slug,
    StatedLicence,
    StepRange,
    Text,
    VocabularyChoice,
    WeightFile,
)
from merging.kinds import KINDS
from merging.methods import searched_methods


class Section(BaseModel):
    """A group of keys. Unknown keys are refused, and no value is converted to another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class AuthorsSection(Section):
    """Whose models are considered."""

    allow: tuple[Namespace, ...] = Field(default=(), description="only these users and organisations; empty: all")
    deny: tuple[Namespace, ...] = Field(default=(), description="never these users and organisations")


class RangeSection(Section):
    """Bounds of a number; each may be left open."""

    min: Amount | None = Field(default=None, description="lowest number, e.g. 100M")
    max: Amount | None = Field(default=None, description="highest number, e.g. 8B")


class LanguageModelsSection(Section):
    """What to find of language models besides the others. The other keys of watch hold for them, too."""

    tags: tuple[Text, ...] = Field(default=(), description="Hub tags; a model must have all of them")
    search: Text | None = Field(default=None, description="text in the model's name")
    pipeline_tag: Text | None = Field(default="text-generation", description="the Hub's name of the model's task")


class WatchSection(Section):
    """What to find on the Hub. A model must match every key."""

    tags: tuple[Text, ...] = Field(default=(), description="Hub tags; a model must have all of them")
    search: Text | None = Field(default=None, description="text in the model's name")
    authors: AuthorsSection = Field(default=AuthorsSection(), description="users and organisations to allow or deny")
    licences: tuple[Licence, ...] | None = Field(
        default=None, description="licence ids to accept; null: all that allow merging"
    )
    pipeline_tag: Text | None = Field(
        default="text-generation", description="the Hub's name of the model's task; where it is left out, the kind's"
    )
    language_models: LanguageModelsSection | None = Field(
        default=None,
        description="language models to find besides, which are merged into the language model inside the others",
    )
    parameters: RangeSection = Field(default=RangeSection(), description="number of parameters of a model")
    max_bytes: Amount = Field(default=20 * 10**9, description="bytes to download of one model, e.g. 16GB")
    downloads_min: int = Field(default=0, ge=0, description="fewest downloads in the last month")
    max_age_days: int | None = Field(default=None, ge=1, description="most days since the last change")
    architectures: tuple[Text, ...] = Field(default=(), description="e.g. LlamaForCausalLM; empty: any that merges")
    pickles: Literal["refuse", "convert"] = Field(
        default="refuse",
        description="models whose weights are pickled, without safetensors: refuse them, or convert them where they "
        "hold plain tensors alone; the Hub's own conversions are preferred",
    )
    adapters: bool = Field(
        default=True, description="whether LoRA adapters are sources, each on its own base; pinned ones always are"
    )
    max_candidates: int = Field(
        default=100, ge=2, le=1000, description="models to query one by one, most downloaded first"
    )

    @property
    def sought(self) -> tuple[WatchSection | LanguageModelsSection, ...]:
        """What to list on the Hub: these models, and the language models besides, as far as a key says which."""
        both: list[WatchSection | LanguageModelsSection | None] = [self, self.language_models]
        return tuple(one for one in both if one is not None and (one.tags or one.search or self.authors.allow))


class PinnedModel(Section):
    """One repo of the Hub; without a revision, its main branch when the cycle starts."""

    repo: RepoName = Field(description="owner/name")
    revision: Revision | None = Field(default=None, description="branch, tag or commit; null: the current main branch")
    licence: StatedLicence | None = Field(
        default=None,
        description="the licence of a model whose card declares none, as you have read it elsewhere; releases say so",
    )

    @property
    def short(self) -> str:
        """Its short form: owner/name, or owner/name@revision."""
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


class PinnedSource(PinnedModel):
    """One repo of the Hub, or one of its files."""

    file: WeightFile | None = Field(
        default=None,
        description="the one of its files that is meant, such as a LoRA where it has several, e.g. style.safetensors",
    )


RepoReference = Annotated[PinnedModel, ShortForm]
SourceReference = Annotated[PinnedSource, ShortFileForm]


class SkillTaskSection(Section):
    """One lm-eval task of a skill."""

    task: Text = Field(description="name of an lm-eval task")
    metric: Text = Field(description="one of the task's metrics, e.g. acc")
    filter: Text | None = Field(default=None, description="the answer filter; null: the task's first")
    weight: float = Field(default=1.0, gt=0, description="weight in the skill's score")
    num_fewshot: int | None = Field(
        default=None, ge=0, description="examples in the prompt; null: the task's own number"
    )


class SkillSection(Section):
    """One objective of the search: the weighted mean of its tasks."""

    name: Slug = Field(description="a short name such as math")
    tasks: tuple[SkillTaskSection, ...] = Field(min_length=1, description="lm-eval tasks")
    chat_template: bool = Field(default=False, description="put prompts into the chat template")
    language: Language | None = Field(
        default=None, description="ISO 639-1 code; answers in another language count as wrong; null: any"
    )


class GuardSection(SkillSection):
    """A skill that a merge must keep: no objective of the search, measured on validation and report."""

    max_drop: float = Field(
        default=0.05,
        gt=0,
        description="most that a merge's score may be below the reference's; the gate refuses a merge unless its "
        "validation items show that it lost less",
    )
    reference: Literal["base", "best_source"] = Field(
        default="base", description="the model to compare with: the base, or the source that is best at it"
    )


class ItemsSection(Section):
    """The most items of each task in each split; null: all of them."""

    search: int | None = Field(default=200, ge=1, description="items of a task that the search uses")
    validation: int | None = Field(default=200, ge=1, description="items of a task for the choice and the gate")
    report: int | None = Field(default=400, ge=1, description="items of a task for the card")


AUDITIONED_A_PLACE = 3
"""How many models audition for a place where the watchlist does not say."""


class AuditionSection(Section):
    """How sources are chosen where more models fit than max_sources: by what they add to the base and each other."""

    sources: int | None = Field(
        default=None,
        ge=3,
        le=100,
        description="most models that are downloaded and compared: pinned ones, then the most downloaded; null: "
        f"{AUDITIONED_A_PLACE} for each of max_sources",
    )
    share: float = Field(default=0.5, gt=0, le=1, description="share of the search items that each of them answers")


ComponentUse = Literal["keep", "merge", "choose"]
"""The carrier's own; merged, with a gene for itself; whole from the model that a gene names."""


class GroupsSection(Section):
    """Which tensors share a gene. More groups make the search finer and slower."""

    layers: int = Field(
        default=1, ge=1, le=256, description="number of bands of neighbouring layers, each with its own genes"
    )
    modules: Literal["together", "apart"] = Field(
        default="together",
        description="whether attention, the routers of a mixture of experts, and the rest of a block share genes",
    )
    ends: Literal["together", "apart"] = Field(
        default="together", description="whether embedding and head share the genes of the outer bands"
    )


class BudgetSection(Section):
    """When the search ends."""

    candidates: int = Field(
        default=200,
        ge=1,
        description="recipes to score on all search items; those scored on some of them count in part",
    )
    minutes: float | None = Field(default=None, gt=0, description="minutes of scoring; null: no limit")


if TYPE_CHECKING:
    SearchedMethod = str
    KindName = str
else:
    SearchedMethod = Literal[searched_methods()]
    KindName = Literal[tuple(KINDS)]
"""The methods of merging.methods that a search can vary, and the kinds of models that can be merged."""


ROUNDS = 5
"""The number of rounds where the watchlist does not say."""


class RacingSection(Section):
    """Candidates are scored on the search items in rounds; those that others clearly beat are dropped early."""

    rounds: int | None = Field(
        default=None,
        ge=2,
        le=10,
        description=f"most rounds, each of which doubles the items scored so far; fewer with few items; null: {ROUNDS}",
    )
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="confidence level of the test by which a candidate is dropped"
    )


SpaceKind = Literal["parameter", "dataflow", "both"]
"""Weight merges, paths through layers, or paths through the weight merges found first."""


class DataflowSection(Section):
    """How the search for paths through layers arranges them."""

    models: int = Field(default=3, ge=2, le=8, description="most models whose layers a path may use")
    repeats: int = Field(default=2, ge=1, le=8, description="how often a path may go through all their layers")
    min_layers: int | None = Field(
        default=None, ge=1, description="fewest layers of a path; null: half as many as a source has"
    )
    max_layers: int | None = Field(
        default=None, ge=1, description="most layers of a path; null: half as many again as a source has"
    )
    ends: Literal["free", "first"] = Field(
        default="free",
        description="embedding and head of any model, or, with the first and last layer, of the first model",
    )
    scales: bool = Field(default=True, description="also search a scale for the input of each layer")
    share: float = Field(default=0.5, gt=0, lt=1, description="share of the budget for paths; where space is both")
    smaller: bool = Field(
        default=False, description="make fewer layers an objective; the smallest merge that passes is released"
    )


class LastStageSection(Section):
    """An adapter that every candidate gets after its sources are merged, such as one that draws in few steps."""

    adapter: SourceReference = Field(
        description="the adapter, a LoRA: owner/name, owner/name:file.safetensors where it has several, or with keys"
    )
    scale: ScaleRange = Field(
        default=(1.0, 1.0),
        json_schema_extra={"default": 1.0},
        description="what it adds is multiplied by this; [lowest, highest] is searched, in steps of search.step",
    )


class SearchSection(Section):
    """How merges are searched."""

    space: SpaceKind = Field(
        default="parameter", description="what is searched: coefficients of weights, paths through layers, or both"
    )
    dataflow: DataflowSection | None = Field(
        default=None, description="how paths arrange layers; not read where space is parameter"
    )
    method: SearchedMethod = Field(default="task_arithmetic", description="the merge method")
    vocabulary: VocabularyChoice = Field(
        default="same",
        description="the tokens of candidates: same takes only models that agree on them, but for padded rows; union "
        "unites the sources' and the base's by their text; base, or the repo of a source, takes that model's alone",
    )
    groups: GroupsSection = Field(default=GroupsSection(), description="which tensors share a gene")
    components: dict[str, ComponentUse] = Field(
        default={},
        description="what becomes of the components besides the language model (vision tower, projector) or denoiser "
        "(text encoder, text encoder 2, text encoder 3, VAE): keep the carrier's, merge those of all models, which "
        "must have it, or choose a model's; keep where it is left out",
    )
    last_stage: LastStageSection | None = Field(
        default=None,
        description="an adapter that is added to every candidate after the merge; null: none",
    )
    steps: StepRange | None = Field(
        default=None,
        description="[fewest, most] steps in which image generators draw: searched, and fewer are an objective; the "
        "fastest merge that passes is released; null: as many as each task says",
    )
    picture_sizes: PictureSizes | None = Field(
        default=None,
        description="sizes in which image generators draw, small to large, such as [512, 768, 1024]: searched, and "
        "less of steps × pixels is an objective; 768 is 768 × 768 pixels, or about as many in a task's proportions; "
        "null: as large as each task says",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="dtype of candidates and releases"
    )
    population: int = Field(default=20, ge=4, le=1000, description="recipes in a generation")
    budget: BudgetSection = Field(default=BudgetSection(), description="when the search ends")
    racing: RacingSection | None = Field(
        default=RacingSection(),
        description="drop weak candidates early, to try more; null: score all on all items",
    )
    warm_start: bool = Field(
        default=True,
        description="begin with what earlier cycles of this watchlist found; false: as if there were none",
    )
    surrogate: bool = Field(
        default=True,
        description="choose candidates and the front by a model of the scores so far (Gaussian processes); false: take "
        "NSGA-II's offspring as they come, and the best scores",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="same seed, same search")
    step: float = Field(default=0.05, ge=0.001, le=0.5, description="grid of the coefficients")

    @property
    def paths(self) -> DataflowSection:
        """How paths arrange layers: as written, or the defaults."""
        return self.dataflow or DataflowSection()

    @property
    def drawing(self) -> str:
        """What is searched of the drawing of pictures, in words; "" for nothing."""
        steps = "in {} to {} steps".format(*self.steps) if self.steps else ""
        sizes = f"at {', '.join(map(str, self.picture_sizes))} pixels a side" if self.picture_sizes else ""
        return " ".join(filter(None, (steps, sizes)))


class WorkersSection(Section):
    """How candidates are scored on this machine; null: chosen to fit it."""

    count: int | None = Field(default=None, ge=1, le=256, description="worker processes")
    threads: int | None = Field(default=None, ge=1, le=1024, description="threads of each worker")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where the models run")
    batch_size: int | None = Field(default=None, ge=1, le=4096, description="prompts in a batch")
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="seconds for a candidate before its worker is replaced; null: from the slowest so far",
    )


class GateSection(Section):
    """What a merge must show on the validation split before it is published."""

    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="confidence level of the test that it is better")
    minimum: dict[str, float] = Field(default={}, description="lowest score allowed, by skill")
    max_degenerate: float = Field(
        default=0.02,
        ge=0,
        le=1,
        description="largest share of degenerate answers allowed: empty or looping texts; flat, saturated, equal or "
        "broken pictures",
    )


class PublishSection(Section):
    """Where releases go."""

    mode: Literal["auto", "review", "pull_request", "off"] = Field(
        default="review",
        description="upload, wait for a person's review, open a pull request on the Hub for it, or do not publish",
    )
    namespace: Namespace | None = Field(default=None, description="user or organisation to publish under")
    name: Text = Field(
        default="{watchlist}-{role}",
        description="repo name; {watchlist}, {cycle}, {role} are filled in",
    )
    private: bool = Field(default=False, description="create the repos private")
    collection: Text | None = Field(default=None, description="title of a Hub collection to add releases to")
    tasks: bool = Field(
        default=True,
        description="put the files of your own tasks into the releases, so that others can check their scores",
    )
    max_releases: int = Field(default=3, ge=1, le=20, description="most releases of one cycle")


NotificationEvent = Literal["published", "review", "failed", "nothing"]
"""The ends of a cycle that people can be told of."""


class NotifySection(Section):
    """Which ends of a cycle are sent to the addresses of this machine (SHOAL_NOTIFY, or `notify` in the home)."""

    events: tuple[NotificationEvent, ...] = Field(
        default=("published", "review", "failed"),
        description="published: releases are on the Hub; review: some wait for a person; failed: a cycle ended with an "
        "error; nothing: no merge was worth publishing",
    )


class ScheduleSection(Section):
    """When `shoal serve` runs the watchlist."""

    cron: Text = Field(description="minute hour day month weekday, as in crontab(5)")
    timezone: Text = Field(default="UTC", description="IANA name such as Europe/Berlin")


def _check_base(value: object) -> object:
    if isinstance(value, str) and value != "auto" and not re.fullmatch(ShortForm.pattern, value):
        raise ValueError("is not a base; write owner/name, owner/name@revision, auto, or null for none")
    return value


def _check_carrier(value: object) -> object:
    if value is None or (isinstance(value, str) and value != "auto" and not re.fullmatch(ShortForm.pattern, value)):
        raise ValueError("is not a carrier; write owner/name, owner/name@revision, or auto")
    return value


def _role_kind(value: object) -> str:
    if value is None:
        return "none"
    return "auto" if value == "auto" else "model"


Base = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[RepoReference, Tag("model")] | Annotated[None, Tag("none")],
    Discriminator(_role_kind),
    BeforeValidator(_check_base),
]

Carrier = Annotated[
    Annotated[Literal["auto"], Tag("auto")] | Annotated[RepoReference, Tag("model")],
    Discriminator(_role_kind),
    BeforeValidator(_check_carrier),
]
