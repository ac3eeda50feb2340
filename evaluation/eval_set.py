"""An evaluation set: the items of all skills on one split, asked of every model. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from evaluation.scores import ItemScore
from evaluation.splits import Split

ModelT = TypeVar("ModelT", contravariant=True)


@dataclass(frozen=True)
class EvalItem:
    """One item as one skill uses it.

    task: `SkillTask.key`. digest: digest of what else decides its score, except the weights. item: the item's id.
    """

    skill: str
    task: str
    digest: str
    item: str

    def scored(self, value: float, flag: str | None, sketch: str | None = None) -> ItemScore:
        """The score of a model on this item."""
        return ItemScore(self.skill, self.task, self.item, value, flag, sketch)


@dataclass(frozen=True)
class OwnDrawing:
    """What a model draws in otherwise than tasks say; None for what they say.

    steps: number of steps. size: the side of a square of as many pixels, about; a task's pictures keep its proportions.
    """

    steps: int | None = None
    size: int | None = None


AS_TASKS_SAY = OwnDrawing()


class EvalSet(Protocol[ModelT]):
    """Everything that is asked on one split; `ModelT` is a model in the form in which the set asks it."""

    @property
    def digest(self) -> str:
        """Digest of everything that decides the scores, except the weights."""

    @property
    def items(self) -> tuple[EvalItem, ...]:
        """The items, each once for every skill and metric that uses it."""

    @property
    def cost(self) -> float:
        """What a round costs, as a share of all rounds of a model that answers one after the other; 1 for no round."""

    def rounds(self, count: int, model: ModelT) -> tuple[EvalSet[ModelT], ...]:
        """The set cut into at most `count` sets, for models that may be dropped before they answered all of it.

        model: one like those that will be asked; it decides what a round costs.
        """

    def sample(self, share: float) -> EvalSet[ModelT]:
        """A part of the set with about this share of every task's items."""

    @property
    def steps(self) -> float:
        """How often a model is run for an item, where the task says it; 1 where it does not."""

    def shortened(self, most: int) -> EvalSet[ModelT]:
        """For measuring: a set that runs a model so often for an item, at most, and asks no judges of its answers.

        It is the set itself where tasks do not say how often.
        """

    def drawn_in(self, own: OwnDrawing) -> EvalSet[ModelT]:
        """The set for a model that draws in steps, or in a size, of its own. The digest stays that of the tasks."""

    def judge_noise(self, device: str, batch_size: int) -> None:
        """For measuring: have judges judge as many pictures of noise as there are items; nothing without judges.

        batch_size: of pictures that are judged together.
        """

    def score(self, model: ModelT) -> tuple[ItemScore, ...]:
        """The model's scores in the order of `items`. Raises EvaluationError if an answer cannot be scored."""


@dataclass(frozen=True)
class JudgeDescription:
    """What gives pictures numbers. words: it in a few words. repo, revision: of its model; None for a rule."""

    words: str
    repo: str | None
    revision: str | None


@dataclass(frozen=True)
class DrawnTask:
    """How the pictures of a task are drawn and judged.

    arguments, scheduler: as `DrawingSettings` has them. judge: that of the search and the gate; report_judge: that of
    the report, perhaps the same.
    """

    arguments: Mapping[str, object]
    scheduler: Mapping[str, object] | None
    judge: JudgeDescription
    report_judge: JudgeDescription


@dataclass(frozen=True)
class TaskDescription:
    """The facts about one use of a task that plans and cards show.

    items: number of items in each split. own_search: whether the search items come from the task's own validation or
    training documents. language: the language that an answer must be in to count. has_pictures: whether its documents
    have pictures. drawn: how pictures are drawn and judged; None where models answer in words.
    """

    skill: str
    key: str
    task: str
    metric: str
    filter: str
    higher_is_better: bool
    num_fewshot: int
    output_type: str
    dataset: str
    items: Mapping[Split, int]
    own_search: bool
    language: str | None
    has_pictures: bool = False
    drawn: DrawnTask | None = None


@dataclass(frozen=True)
class RoundFacts:
    """Digest and items of an evaluation set, or of one round of it.

    cost: see `EvalSet`.
    """

    digest: str
    items: tuple[EvalItem, ...]
    cost: float = 1.0


@dataclass(frozen=True)
class EvalSetFacts:
    """An evaluation set without its requests: small enough to be sent between processes.

    directions: (`SkillTask.key`, whether higher is better). prompt: an example, as plain text.
    rounds: the same items, in the order in which the rounds of a race ask them.
    """

    digest: str
    items: tuple[EvalItem, ...]
    directions: tuple[tuple[str, bool], ...]
    tasks: tuple[TaskDescription, ...]
    prompt: str
    rounds: tuple[RoundFacts, ...] = ()


PLACE = "<image>"
"""The mark of a picture's place in the texts of lm-eval's tasks."""


@dataclass(frozen=True)
class DrawingSettings:
    """How an item's picture is drawn. seed: of a generator of torch on the CPU. arguments: others of the pipeline's
    call. scheduler: its class under `class`, and what it changes; None for the pipeline's own. noise_in_steps: whether
    the scheduler draws noise in its steps, for which the pipeline does not give it that generator."""

    seed: int
    arguments: Mapping[str, object]
    scheduler: Mapping[str, object] | None
    noise_in_steps: bool = False


@dataclass(frozen=True)
class Question:
    """An item as a person would ask it: its prompt as plain text, without few-shot examples and chat template.

    skill, task: the item's, both by name. expected: the task's own answer. max_tokens: limit of a generated answer.
    pictures: those of the prompt's places, each of which is `<image>`, as PNG files. drawing: of a question that is
    answered by a picture.
    """

    skill: str
    task: str
    prompt: str
    expected: str
    num_fewshot: int
    chat_template: bool
    max_tokens: int
    pictures: tuple[bytes, ...] = ()
    drawing: DrawingSettings | None = None


@dataclass(frozen=True)
class Sample:
    """A question, and the text that a model generates greedily after it, or the pictures that it draws (PNG files)."""

    question: Question
    answer: str
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class ItemResults:
    """One model's scores on an evaluation set, or on one round of it, in the order of its items.

    eval_set: the digest of that set, so that scores of other items cannot be mistaken for these.
    seconds: time that it took to build the model and to score it.
    """

    eval_set: str
    scores: tuple[ItemScore, ...]
    seconds: float


@dataclass(frozen=True)
class ExamplePrompt:
    """One item as a task of a skill asks it: all that a model reads, before any chat template.

    task: `SkillTask.key`. choices: the texts whose likelihood after the prompt is scored; none where the model writes
    an answer of its own, which ends at one of `until`. expected: the task's own answer. drawn: how a picture is drawn
    and judged, in words; None where text is asked for.
    """

    skill: str
    task: str
    num_fewshot: int
    chat_template: bool
    prompt: str
    choices: tuple[str, ...]
    until: tuple[str, ...]
    expected: str
    drawn: str | None = None
