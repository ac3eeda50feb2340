"""The facts of a model card, as frozen plain values.

Scores are oriented so that higher is better (a skill's metric where lower is better is negated), in the metric's own
unit, and come from the report split unless a field says otherwise. Every `scores` and `leads` tuple has one entry per
skill, in the order of `CardFacts.skills`.
"""

from dataclasses import dataclass

from bot.hub.licences import ReleaseLicence
from bot.release.card.merge_facts import ConversionFacts, CostFacts, RecipeFacts, SourceFacts, check_lengths
from bot.release.card.picture_facts import DrawnFacts, EffortFacts, GridFacts
from bot.search.results import BaselineKind, Comparison, GuardResult
from evaluation.eval_set import PLACE, DrawingSettings
from evaluation.statistics.values import Interval, PairedDifference


@dataclass(frozen=True)
class AnswerCounts:
    """The number of generated answers, and of those that were empty, looping, or cut off at the token limit.

    `other_language` and `no_language` (a bare number, say) are counted where a skill requires a language.
    """

    generated: int
    empty: int
    looping: int
    cut_off: int
    other_language: int
    no_language: int


@dataclass(frozen=True)
class ItemCounts:
    """Number of items of one task in each split."""

    search: int
    validation: int
    report: int


@dataclass(frozen=True)
class TaskFacts:
    """One lm-eval task and the release's score on it, which is the raw metric (not negated).

    `language` is the ISO 639-1 code of the language that answers must be in to count; `answers` is None where
    nothing is generated, and `drawn` where no pictures are.
    """

    task: str
    metric: str
    higher_is_better: bool
    num_fewshot: int
    items: ItemCounts
    score: Interval
    language: str | None
    answers: AnswerCounts | None
    drawn: DrawnFacts | None = None


@dataclass(frozen=True)
class SkillFacts:
    """One objective of the watchlist and its tasks."""

    name: str
    tasks: tuple[TaskFacts, ...]


@dataclass(frozen=True)
class GuardFacts:
    """A skill that the merge had to keep, with its results on the report split and at the gate (validation split)."""

    name: str
    tasks: tuple[TaskFacts, ...]
    report: GuardResult
    validation: GuardResult


@dataclass(frozen=True)
class BaselineScores:
    """A model that the release is compared with: a baseline, or another release of its cycle.

    `leads` holds the release's score minus this model's over the same items, with 95 % intervals.
    """

    name: str
    kind: BaselineKind
    scores: tuple[Interval, ...]
    leads: tuple[PairedDifference, ...]

    @property
    def repo(self) -> str | None:
        """Its repo; None for a plain merge, which was never published."""
        return None if self.kind is BaselineKind.PLAIN else self.name


@dataclass(frozen=True)
class ScoreTable:
    """The release's scores by skill, those of the baselines, and those of other releases shown beside it."""

    skills: tuple[str, ...]
    scores: tuple[Interval, ...]
    baselines: tuple[BaselineScores, ...]
    siblings: tuple[BaselineScores, ...] = ()

    @property
    def others(self) -> tuple[BaselineScores, ...]:
        """Every row but the release's own."""
        return (*self.baselines, *self.siblings)


@dataclass(frozen=True)
class SearchFacts:
    """The cost of the search.

    candidates: number of those tried. failed: number without a result. fully_scored: number scored on every item.
    item_scores: number of scores of single items. seconds: wall time. stopped: why the search ended.
    timed: whether the budget limited time, so that the result depends on the machine's speed.
    smaller, faster: whether fewer layers, or less of a picture's steps × pixels, were an objective besides the skills.
    staged: whether paths were searched through the results of a search among weight merges.
    surrogate: whether a model of the scores chose candidates.
    modelled_front: whether such a model chose the front.
    """

    candidates: int
    failed: int
    fully_scored: int
    item_scores: int
    generations: int
    population: int
    seed: int
    seconds: float
    stopped: str
    hardware: str
    timed: bool
    smaller: bool = False
    faster: bool = False
    staged: bool = False
    surrogate: bool = False
    modelled_front: bool = False


@dataclass(frozen=True)
class AuditionFacts:
    """How the sources were chosen among more. candidates: number of models compared for a place; pinned: of those that
    were in anyway. items: number of items of the search split that each answered.
    """

    candidates: int
    chosen: int
    pinned: int
    items: int


@dataclass(frozen=True)
class ExampleFacts:
    """The prompt in the card's code: of the report items that show a new ability, the one with the shortest prompt.

    rival: the strongest of the merged models at `skill`, which scored lower on these items than the release did; None
    if there is no such item, and any of the skill's was taken. num_fewshot: number of examples that the evaluation has
    before it and the card's code has not. answer: what the written model printed; None if it could not be asked.
    pictures: the release's files with the prompt's pictures, in its order; none without an answer, whatever the prompt.
    drawing: how the prompt's picture is drawn, where that is the answer. picture: its file; None for none.
    """

    skill: str
    rival: str | None
    prompt: str
    expected: str
    num_fewshot: int
    chat_template: bool
    max_tokens: int
    answer: str | None
    pictures: tuple[str, ...] = ()
    drawing: DrawingSettings | None = None
    picture: str | None = None

    @property
    def content(self) -> tuple[str | None, ...]:
        """The prompt as the parts of a message: its texts, with None in each picture's place."""
        texts = self.prompt.split(PLACE)
        parts = [part for text in texts for part in (None, text)][1:]
        return tuple(part for part in parts if part is None or part)

    @property
    def places(self) -> int:
        """Number of pictures that the prompt needs."""
        return self.prompt.count(PLACE)


@dataclass(frozen=True)
class ShownAnswer:
    """A model's answer to a shown item. name: a baseline's; None for the release itself. answer: None for none."""

    name: str | None
    kind: BaselineKind
    answer: str | None


@dataclass(frozen=True)
class ShownFacts:
    """A report item with pictures, and what the release and the models that it is made of answer.

    pictures: the release's files with its pictures.
    """

    skill: str
    prompt: str
    expected: str
    pictures: tuple[str, ...]
    answers: tuple[ShownAnswer, ...]


@dataclass(frozen=True)
class SelectionFacts:
    """The choice of this merge from the front.

    role: the release's role ("balanced"). front: number of members of the front, all of which are tested. rule: the
    gate's rule, with its correction for multiple tests. confidence: confidence level of the gate. p_value: the
    release's p-value, corrected for baselines and skills; alpha: its threshold. comparisons: one-sided tests on the
    validation split, each with its uncorrected p-value.
    """

    role: str
    front: int
    passed: int
    released: int
    rule: str
    confidence: float
    p_value: float
    alpha: float
    comparisons: tuple[Comparison, ...]

    @property
    def baselines(self) -> int:
        """Number of models that it was tested against."""
        return len({test.baseline for test in self.comparisons})


@dataclass(frozen=True)
class CardFacts:
    """Everything that the card of one release says.

    `sources` and `base` are those whose weights went into it, in the recipe's order; `baselines` may have more models
    of the pool. `siblings` are releases of the same cycle that cost as much as a source, beside one that costs more.
    `kind` is the kind of model, `files` are (name, sha256) of the weights, `packages` (name, version). `guards` are in
    the watchlist's order. `conversions` are of the sources, and of the base, whose weights were pickled.
    `token_sources` are models that were not merged, and gave rows of tokens that others lack. `audition` is None where
    no more sources fitted than a merge may have. `shown` are report items with pictures, whatever the answers are.
    `carrier` is the repo whose config and processor the release has, and `parts` are the sources that were merged into
    its language model alone; None and empty where models have one component. `grid` are report items as several models
    draw them; None where models answer in words, and where the tasks are not passed on. `last_stage` is the adapter
    that was added to what was merged. `picture_size` is the size to which that processor scales pictures, where the
    watchlist sets it. `effort` is what it draws in, if that was searched. `filter` is what it has of its carrier that
    may make its pictures black, and that was off when they were scored.
    """

    repo: str
    tag: str
    hub_url: str
    watchlist: str
    cycle: str
    date: str
    skills: tuple[SkillFacts, ...]
    scores: tuple[Interval, ...]
    baselines: tuple[BaselineScores, ...]
    siblings: tuple[BaselineScores, ...]
    base: SourceFacts | None
    sources: tuple[SourceFacts, ...]
    licence: ReleaseLicence
    recipe: RecipeFacts
    cost: CostFacts
    search: SearchFacts
    selection: SelectionFacts
    packages: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    languages: tuple[str, ...]
    kind: str
    pipeline_tag: str
    example: ExampleFacts
    guards: tuple[GuardFacts, ...] = ()
    conversions: tuple[ConversionFacts, ...] = ()
    token_sources: tuple[SourceFacts, ...] = ()
    audition: AuditionFacts | None = None
    shown: tuple[ShownFacts, ...] = ()
    carrier: str | None = None
    filter: str | None = None
    parts: tuple[str, ...] = ()
    grid: GridFacts | None = None
    last_stage: SourceFacts | None = None
    picture_size: int | None = None
    effort: EffortFacts | None = None

    @property
    def table(self) -> ScoreTable:
        """The release's scores and those of all that it is compared with."""
        return ScoreTable(tuple(skill.name for skill in self.skills), self.scores, self.baselines, self.siblings)

    @property
    def drawn_tasks(self) -> tuple[tuple[str, TaskFacts, DrawnFacts], ...]:
        """The tasks that are answered by pictures, with the names of their skills and guards, each use once."""
        groups = [(skill.name, skill.tasks) for skill in self.skills] + [
            (guard.name, guard.tasks) for guard in self.guards
        ]
        return tuple((name, task, task.drawn) for name, tasks in groups for task in tasks if task.drawn is not None)

    @property
    def costs_more(self) -> bool:
        """Whether a token costs more than in a source, because of further layers and not of further tokens."""
        return self.recipe.path is not None and self.cost.times > 1

    @property
    def items(self) -> ItemCounts:
        """Number of items of all tasks; those of a task that is used twice (by two metrics, say) count once."""
        counts = {task.task: task.items for skill in self.skills for task in skill.tasks}.values()
        return ItemCounts(
            sum(one.search for one in counts), sum(one.validation for one in counts), sum(one.report for one in counts)
        )

    def __post_init__(self) -> None:
        check_lengths("skill", len(self.skills), [("scores of the release", self.scores)])
        for other in self.table.others:
            check_lengths("skill", len(self.skills), [(f"scores of {other.name}", other.scores)])
            check_lengths("skill", len(self.skills), [(f"leads of {other.name}", other.leads)])
