"""What a model card says, as frozen plain values: the composition root fills them from the ledger.

Scores are oriented so that higher is better (a skill's metric where lower is better arrives negated), in the
metric's own unit, and come from the report split unless a field says otherwise. Every `scores` and `leads`
tuple has one entry per skill, in the order of `CardFacts.skills`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from bot.search.results import BaselineKind
from merging.recipes.path import Hop


@dataclass(frozen=True)
class Estimate:
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.mean, self.low, self.high)):
            raise ValueError(f"an estimate must be finite numbers: got {self.mean}, {self.low}, {self.high}")


@dataclass(frozen=True)
class Lead(Estimate):
    """A paired difference over the same items; `p_value` is that of "equally good", two-sided, uncorrected."""

    p_value: float


@dataclass(frozen=True)
class AnswerCounts:
    """How generated answers came out: of so many, those that were empty, went in circles or ran out of tokens.

    `other_language` and `no_language` (a bare number, say) are looked for where a skill requires a language.
    """

    generated: int
    empty: int
    looping: int
    cut_off: int
    other_language: int
    no_language: int


@dataclass(frozen=True)
class ItemCounts:
    """How many items of one task each split holds."""

    search: int
    validation: int
    report: int


@dataclass(frozen=True)
class TaskFacts:
    """One lm-eval task and what the release scored on it: the raw metric, its direction not turned.

    `language` is the ISO 639-1 code of the language that answers must be in to count; `answers` is None where
    nothing is generated.
    """

    task: str
    metric: str
    higher_is_better: bool
    num_fewshot: int
    items: ItemCounts
    score: Estimate
    language: str | None
    answers: AnswerCounts | None


@dataclass(frozen=True)
class SkillFacts:
    """One objective of the watchlist and its tasks."""

    name: str
    tasks: tuple[TaskFacts, ...]


@dataclass(frozen=True)
class BaselineScores:
    """A model that the release is compared with.

    `repo` is None for a plain merge, which was never published. `leads` holds the release's score minus this
    model's over the same items, with the 95 % interval of that paired difference.
    """

    name: str
    kind: BaselineKind
    repo: str | None
    scores: tuple[Estimate, ...]
    leads: tuple[Lead, ...]


@dataclass(frozen=True)
class ScoreTable:
    """The release's scores by skill, and the models that it is compared with."""

    skills: tuple[str, ...]
    scores: tuple[Estimate, ...]
    baselines: tuple[BaselineScores, ...]


@dataclass(frozen=True)
class SourceFacts:
    """A Hub repository at the commit whose weights went into the release."""

    repo: str
    sha: str
    licence: str


@dataclass(frozen=True)
class LicenceFacts:
    """The release's licence: `name` and `link` belong to the id "other", `notices` are passed on."""

    id: str
    name: str | None = None
    link: str | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightMergeFacts:
    """A weighted merge: `groups` are the labels of the tensor groups, in order.

    Each of `parameters` is (name, rows): a row per source (one row where the sources share it, as slerp's t),
    and in it a value per group.
    """

    method: str
    draws: bool
    base: str | None
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    parameters: tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]

    def __post_init__(self) -> None:
        for name, rows in self.parameters:
            genes = [(f"{name} of source {i}", row) for i, row in enumerate(rows)]
            _one_per("group", len(self.groups), genes)


@dataclass(frozen=True)
class PartFacts:
    """A model that gives a path layers or ends: a source by its repo, or a merge, which has a number for a name."""

    name: str
    weight_merge: WeightMergeFacts | None


@dataclass(frozen=True)
class PathFacts:
    """A path through the layers of several models; `embedding` and `head` are indices of `parts`, as each hop's part.

    `depth` is the number of layers of each part. `scales_in_yaml` tells whether mergekit can fold the path's scales:
    it multiplies tensors, which is not enough for every family.
    """

    parts: tuple[PartFacts, ...]
    depth: int
    hops: tuple[Hop, ...]
    embedding: int
    head: int
    scales_in_yaml: bool

    @property
    def scaled(self) -> bool:
        """Whether any hop scales what flows into it."""
        return any(hop.scale != 1 for hop in self.hops)

    @property
    def repeats(self) -> int:
        """How many hops take a layer that an earlier one took."""
        return len(self.hops) - len({(hop.part, hop.layer) for hop in self.hops})

    @property
    def weight_merges(self) -> tuple[tuple[str, WeightMergeFacts], ...]:
        """The parts that are merges themselves, with their names."""
        return tuple((part.name, part.weight_merge) for part in self.parts if part.weight_merge)


@dataclass(frozen=True)
class CostFacts:
    """Weights of the release and of one source, and how often a source's cost per token the release's is."""

    parameters: int
    source_parameters: int
    times: float


@dataclass(frozen=True)
class RecipeFacts:
    """The merge, as the recipe has it; `mergekit_yaml` is the whole of it in mergekit's words."""

    merge: WeightMergeFacts | PathFacts
    dtype: str
    digest: str
    mergekit_yaml: str

    @property
    def path(self) -> PathFacts | None:
        """The path, if it is one."""
        return self.merge if isinstance(self.merge, PathFacts) else None

    @property
    def weight_merges(self) -> tuple[WeightMergeFacts, ...]:
        """Every weighted merge in it: itself, or those parts of the path that are merges."""
        if isinstance(self.merge, WeightMergeFacts):
            return (self.merge,)
        return tuple(weight_merge for _, weight_merge in self.merge.weight_merges)


@dataclass(frozen=True)
class GateTest:
    """One paired one-sided test on the validation split: is the release better than `baseline` at `skill`?

    `p_value` is that of the test alone; `passed` tells whether it is small enough under the gate's rule.
    """

    skill: str
    baseline: str
    difference: float
    p_value: float
    passed: bool


@dataclass(frozen=True)
class SearchFacts:
    """What the search cost: candidates tried, those without a result, those scored on every item.

    `item_scores` are the answers that were asked for in all. `seconds` is wall time; `stopped` says in words why it
    ended. `smaller` tells whether fewer layers were an objective beside the skills, `staged` whether paths were bred
    through what a search among mixtures came to, `timed` whether its budget was of time, too, so that the machine's
    speed had a say.
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
    staged: bool = False


@dataclass(frozen=True)
class SelectionFacts:
    """How this merge was chosen among the front.

    `role` is what it stands for ("knee"); `front` counts the members tested, all of the front; `rule` is the gate's
    in whole sentences, with its correction for many tests; `confidence` is the share of one that it asks for.
    `p_value` is the release's after the correction for rivals and skills, `alpha` what it was held against.
    """

    role: str
    front: int
    passed: int
    released: int
    rule: str
    confidence: float
    p_value: float
    alpha: float
    tests: tuple[GateTest, ...]

    @property
    def baselines(self) -> int:
        """How many models it was tested against."""
        return len({test.baseline for test in self.tests})


@dataclass(frozen=True)
class CardFacts:
    """Everything the card of one release says.

    `sources` and `base` are those whose weights went into it, in the recipe's order; `baselines` may hold more (all
    of the pool). `prompt` is an example for the code to copy, `files` are (name, sha256) of the weights, `packages`
    (name, version).
    """

    repo: str
    tag: str
    hub_url: str
    watchlist: str
    cycle: str
    date: str
    skills: tuple[SkillFacts, ...]
    scores: tuple[Estimate, ...]
    baselines: tuple[BaselineScores, ...]
    base: SourceFacts | None
    sources: tuple[SourceFacts, ...]
    licence: LicenceFacts
    recipe: RecipeFacts
    cost: CostFacts
    search: SearchFacts
    selection: SelectionFacts
    packages: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    languages: tuple[str, ...]
    pipeline_tag: str
    prompt: str
    chat_template: bool

    @property
    def table(self) -> ScoreTable:
        """What is compared with what."""
        return ScoreTable(tuple(skill.name for skill in self.skills), self.scores, self.baselines)

    @property
    def items(self) -> ItemCounts:
        """Items of all tasks together; those of a task that is used twice, by two metrics say, count once."""
        counts = {task.task: task.items for skill in self.skills for task in skill.tasks}.values()
        return ItemCounts(
            sum(one.search for one in counts), sum(one.validation for one in counts), sum(one.report for one in counts)
        )

    def __post_init__(self) -> None:
        _one_per("skill", len(self.skills), [("scores of the release", self.scores)])
        for baseline in self.baselines:
            columns = [("scores", baseline.scores), ("leads", baseline.leads)]
            _one_per("skill", len(self.skills), [(f"{what} of {baseline.name}", c) for what, c in columns])


def _one_per(unit: str, expected: int, columns: Iterable[tuple[str, tuple[object, ...]]]) -> None:
    for what, values in columns:
        if len(values) != expected:
            raise ValueError(f"{what}: got {len(values)} values, expected one per {unit} ({expected})")
