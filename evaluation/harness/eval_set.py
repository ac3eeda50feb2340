"""An evaluation set of lm-eval's tasks: all requests of one split, made once and put to hundreds of models."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.samplers import FirstNSampler

from evaluation.answers.degenerate import EMPTY, LOOPING, OTHER_LANGUAGE, flag_answer
from evaluation.answers.language import language_flag, language_rules
from evaluation.errors import EvaluationError
from evaluation.eval_set import EvalItem, OwnDrawing
from evaluation.fingerprint import digest
from evaluation.harness.lm import CandidateLM
from evaluation.harness.modalities.documents import Doc
from evaluation.harness.modalities.modality import Modality
from evaluation.harness.modalities.prompts import request_facts
from evaluation.harness.modalities.text import TEXT
from evaluation.harness.process_state import compiled_templates, quiet, seeded
from evaluation.harness.rules import task_rules
from evaluation.harness.tasks import LoadedTask, divide_tasks
from evaluation.racing.decisions import count_rounds, round_ends
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes


@dataclass(frozen=True)
class TaskUse:
    """One use of a task in an evaluation set, with its items.

    task: `SkillTask.key`. digest: digest of all that determines an item's score besides the weights and the item: the
    task's rules and code, metric, filter, few-shot examples, chat template, tokenizer, this package's code, the
    versions of lm-eval, torch and transformers, and the caller's setting. It does not depend on item limits, nor on
    other tasks unless these hold out some of its examples, so (recipe, digest, item) is a key for a cache of scores.
    """

    skill: str
    task: str
    digest: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class MetricUse:
    """The metric of an answered item that is a skill's score; `language`: language that answers must be in to count."""

    skill: str
    key: str
    metric: str
    filter: str
    language: str | None


@dataclass(frozen=True)
class ItemRequests:
    """One item with its requests to the model; a multiple choice has one request for each choice."""

    item: str
    doc: Doc
    requests: tuple[Instance, ...]


@dataclass(frozen=True)
class TaskRequests:
    """The items of one task with one number of examples, with or without chat template; answers may serve several
    metrics."""

    loaded: LoadedTask
    items: tuple[ItemRequests, ...]
    metrics: tuple[MetricUse, ...]

    @property
    def requests(self) -> list[Instance]:
        """All requests, in the order of the items."""
        return [request for item in self.items for request in item.requests]

    def scores(self, lm: LM) -> Iterator[ItemScore]:
        """The item scores, once every request has its answers; EvaluationError for one that is not a number."""
        task = self.loaded.task
        for ensemble in task._filters:
            if any(metric.filter == ensemble.name for metric in self.metrics):
                ensemble.apply(self.requests)
        for asked in self.items:
            results = {name: self._results(asked, name) for name in {metric.filter for metric in self.metrics}}
            flagged = _flag(asked, lm)
            for use in self.metrics:
                value = float(results[use.filter][use.metric])
                if not math.isfinite(value):
                    raise EvaluationError(f"{use.key}: item {asked.item} has the score {value}, not a number")
                yield _in_language(ItemScore(use.skill, use.key, asked.item, value, flagged), asked, use)

    def _results(self, asked: ItemRequests, name: str) -> Mapping[str, float]:
        """lm-eval's metrics of one item, after the filter of this name."""
        answers = [request.filtered_resps[name] for request in asked.requests]
        task = self.loaded.task
        # A task's own code may guess at an answer that it cannot read (MMMU's does), the same way every time.
        with seeded() if callable(task.config.process_results) else nullcontext():
            results: Mapping[str, float] = task.process_results(asked.doc, answers)
        return results


@dataclass(frozen=True)
class LmEvalSet:
    """An evaluation set (`evaluation.eval_set.EvalSet`) of lm-eval's tasks, which asks models wrapped as an lm-eval LM.

    tasks: the requests, made once for hundreds of models. uses: each use of a task. digest: see EvalSet.
    whole: the requests of the set that this one is a round of; none if it is no round. cost: see EvalSet.
    """

    tasks: tuple[TaskRequests, ...]
    uses: tuple[TaskUse, ...]
    digest: str
    whole: tuple[Instance, ...] = ()
    cost: float = 1.0

    @classmethod
    def build(
        cls,
        skills: Sequence[Skill],
        tasks: Mapping[str, LoadedTask],
        split: Split,
        sizes: SplitSizes,
        seed: int,
        processor: object,
        setting: Sequence[str] = (),
        modality: Modality = TEXT,
    ) -> LmEvalSet:
        """Write all requests; needs the processor (a tokenizer, if there are no pictures), but no model.

        skills: all of the watchlist; those that the split does not ask have no items. tasks: from `load_tasks`.
        setting: further facts that decide scores (device, batch size, the code that makes the models); every digest
        covers them. Raises EvaluationError for a split without items, too few examples for few-shot prompts, a
        continuation of which the tokenizer leaves no token, a chat template asked of a processor without, or a prompt
        with more or fewer places than pictures.
        """
        by_form: dict[tuple[str, int, bool], list[tuple[Skill, SkillTask]]] = defaultdict(list)
        for skill in (skill for skill in skills if skill.is_asked(split)):
            for use in skill.tasks:
                by_form[use.task, tasks[use.task].shots(use), skill.chat_template].append((skill, use))
        requests, uses = [], []
        with quiet(), compiled_templates():
            divided = divide_tasks(skills, tasks, seed, sizes)
            for (name, shots, chat), form_uses in by_form.items():
                writer = RequestWriter(tasks[name], split, divided[name], seed, shots)
                made = writer.write(form_uses, modality.make_chat_renderer(processor) if chat else None)
                modality.check_requests(made, processor)
                requests.append(made)
                form_digest = writer.digest(modality.processor_rules(processor, chat=chat), setting, chat=chat)
                uses += [_task_use(metric, made, form_digest) for metric in made.metrics]
        return cls.of(requests, uses)

    @classmethod
    def of(cls, tasks: Sequence[TaskRequests], uses: Sequence[TaskUse]) -> LmEvalSet:
        """The set of these requests.

        Its digest is that of the uses and of every request: a task's code may make other prompts of the same documents
        each time, in an order of its own sets, say.
        """
        content = [[use.skill, use.task, use.digest, use.items] for use in uses]
        asked = [request_facts(request) for task in tasks for request in task.requests]
        return cls(tuple(tasks), tuple(uses), digest([content, asked]))

    @property
    def requests(self) -> list[Instance]:
        """All requests, task by task."""
        return [request for task in self.tasks for request in task.requests]

    @property
    def items(self) -> tuple[EvalItem, ...]:
        """The items of each use of a task, one use after the other."""
        return tuple(EvalItem(use.skill, use.task, use.digest, item) for use in self.uses for item in use.items)

    def rounds(self, count: int, model: LM) -> tuple[LmEvalSet, ...]:
        """At most `count` sets that together ask every item once, each with its share of every task.

        After each round about twice as many items of a task are answered as before it (`round_ends`). With few items
        there are fewer rounds (`count_rounds`). The items' order is random (drawn by the split's seed), so every round
        is a sample. model: see EvalSet. Raises EvaluationError if a request does not fit the model.
        """
        rounds = self._cut(count_rounds([len(task.items) for task in self.tasks], count))
        costs = self._costs(rounds, model)
        return tuple(replace(one, cost=cost / sum(costs)) for one, cost in zip(rounds, costs, strict=True))

    def _costs(self, parts: Sequence[LmEvalSet], model: LM) -> Sequence[float]:
        """What parts of this set cost beside each other if they are asked one after the other."""
        requests = [part.requests for part in parts]
        if not isinstance(model, CandidateLM):
            return [float(len(part)) for part in requests]
        try:
            return model.costs(requests, self.requests)
        except AssertionError as error:  # as in `_answer`
            raise EvaluationError(f"the model cannot answer: {error}") from error

    def _cut(self, count: int) -> list[LmEvalSet]:
        ends = [(0, *round_ends(len(task.items), count)) for task in self.tasks]
        spans = [[slice(*end[number : number + 2]) for end in ends] for number in range(count)]
        return [replace(self._part(part), whole=tuple(self.requests)) for part in spans]

    @property
    def steps(self) -> float:
        """Tasks do not say how often a model is run."""
        return 1.0

    def shortened(self, most: int) -> LmEvalSet:  # noqa: ARG002
        """The set itself."""
        return self

    def drawn_in(self, own: OwnDrawing) -> LmEvalSet:  # noqa: ARG002
        """The set itself: nothing is drawn."""
        return self

    def judge_noise(self, device: str, batch_size: int) -> None:
        """Nothing: no judges judge."""

    def sample(self, share: float) -> LmEvalSet:
        """The first items of every task, about this share of them, and at least one."""
        return self._part([slice(math.ceil(share * len(task.items))) for task in self.tasks])

    def _part(self, spans: Sequence[slice]) -> LmEvalSet:
        """The set of some items of each task."""
        tasks = [replace(task, items=task.items[span]) for task, span in zip(self.tasks, spans, strict=True)]
        use_spans = [span for task, span in zip(self.tasks, spans, strict=True) for _ in task.metrics]
        uses = [replace(use, items=use.items[span]) for use, span in zip(self.uses, use_spans, strict=True)]
        return LmEvalSet.of(tasks, uses)

    def score(self, model: LM) -> tuple[ItemScore, ...]:
        """Scores of a model, wrapped as a `CandidateLM`, in the order of `items`.

        Rounds that follow each other keep what they share, unless the model is put anew in between. Raises
        EvaluationError if the model's probabilities are not numbers (broken weights), or if a task generates more
        tokens than the model has positions.
        """
        requests = self.requests
        for request in requests:
            request.resps, request.filtered_resps = [], {}
        scope = model.asking_part_of(self.whole) if self.whole and isinstance(model, CandidateLM) else nullcontext()
        with quiet(), compiled_templates(), scope:
            _answer(model, requests)
            scores = [score for task in self.tasks for score in task.scores(model)]
        found = {(score.skill, score.task, score.item): score for score in scores}
        return tuple(found[item.skill, item.task, item.item] for item in self.items)


class RequestWriter:
    """Writes the requests of one task with one number of examples."""

    def __init__(self, loaded: LoadedTask, split: Split, division: Division, seed: int, shots: int) -> None:
        self.loaded, self.seed, self.shots = loaded, seed, shots
        self.items = division.items[split]
        self.examples = self._draw(division.held_out) if shots else {}

    def digest(self, processor: str, setting: Sequence[str], *, chat: bool) -> str:
        """Digest of all that makes the prompts of given items and scores the answers, but metric and filter."""
        examples = [self.shots, list(self.examples)] if self.shots else None
        rules = task_rules(self.loaded.task)
        return digest([self.loaded.name, rules, examples, chat, processor, list(setting)])

    def write(self, uses: Sequence[tuple[Skill, SkillTask]], chat: Callable[..., str] | None) -> TaskRequests:
        """The requests of all items, to be scored for the given (skill, use) pairs."""
        items = tuple(self._item(item, index, chat) for index, item in enumerate(self.items))
        metrics = tuple(
            MetricUse(skill.name, use.key, use.metric, self.loaded.filter(use), skill.language) for skill, use in uses
        )
        return TaskRequests(self.loaded, items, metrics)

    def example(self) -> ItemRequests:
        """The requests of the first item, without a chat template."""
        return self._item(self.items[0], 0, None)

    def _item(self, item: str, index: int, chat: Callable[..., str] | None) -> ItemRequests:
        task, doc = self.loaded.task, self.loaded.document(item)
        examples = self._examples_for(item)
        with seeded():  # a prompt that its task draws is the same in every process, whatever was asked before
            with self._showing([self.loaded.examples[example] for example in examples]):
                prompt = task.fewshot_context(
                    doc,
                    num_fewshot=self.shots,
                    system_instruction=None,
                    apply_chat_template=chat is not None,
                    fewshot_as_multiturn=chat is not None,
                    chat_template=chat,
                    gen_prefix=task.doc_to_prefix(doc),
                )
            made = task.construct_requests(
                doc=doc,
                ctx=prompt,
                metadata=(self.loaded.name, index, task.config.repeats),
                apply_chat_template=chat is not None,
                chat_template=chat,
            )
        requests = tuple(made) if isinstance(made, list) else (made,)
        if self.loaded.has_pictures:
            shown = self.loaded.show(item, examples)
            doc = self.loaded.document(item)  # anew: what was decoded for the prompt is not kept
            for request in requests:
                request.doc = doc
                request.arguments = (*request.args[:2], {"visual": shown})  # lm-eval has the document's own alone
        return ItemRequests(item, doc, requests)

    def _draw(self, held_out: Collection[str]) -> dict[str, str]:
        """Draw the examples of all prompts (item → subject): as many as a prompt shows, and spare ones.

        The task's own sampler draws them, once, so that prompts share their beginning. (lm-eval draws anew for each
        item, from one generator: its prompts share nothing, and depend on how many items came before.) Items of
        validation and report are never shown with their answers, in the prompts of any task or split.
        """
        docs = self.loaded.examples
        subjects = {item: self.loaded.subject(item, docs) for item in docs}
        pool = {item: subject for item, subject in subjects.items() if subject not in held_out}
        spare = max(Counter(pool.values()).values(), default=0)
        draw = hashlib.sha256(f"{self.seed} {self.loaded.name}".encode()).digest()
        sampler = self.loaded.task.sampler.replace_df([docs[item] for item in pool])
        drawn = sampler.set_rnd(int.from_bytes(draw[:8], "big")).sample(min(self.shots + spare, len(pool)))
        return {item: pool[item] for item in map(self.loaded.item, drawn)}

    def _examples_for(self, asked: str) -> list[str]:
        """The first examples that are not on the item's own subject."""
        avoided = self.loaded.subject(asked, {asked: self.loaded.document(asked)}) if self.shots else None
        fit = [item for item, subject in self.examples.items() if subject != avoided]
        if len(fit) < self.shots:
            raise EvaluationError(
                f"task {self.loaded.name}: {len(fit)} documents can serve as examples, num_fewshot is "
                f"{self.shots}; lower it, or use a task with training documents"
            )
        return fit[: self.shots]

    @contextmanager
    def _showing(self, examples: Sequence[Doc]) -> Iterator[None]:
        """Make lm-eval show these examples, in their order, while the block runs."""
        task = self.loaded.task
        own, task.sampler = task.sampler, FirstNSampler(examples)
        try:
            yield
        finally:
            task.sampler = own


def _task_use(use: MetricUse, requests: TaskRequests, form_digest: str) -> TaskUse:
    items = tuple(asked.item for asked in requests.items)
    language = [use.language, *language_rules()] if use.language is not None else []
    return TaskUse(use.skill, use.key, digest([form_digest, use.metric, use.filter, *language]), items)


def _answer(lm: LM, requests: Sequence[Instance]) -> None:
    """Have the model answer all requests, kind by kind, as lm-eval's own `evaluate` does."""
    kinds: dict[str, list[Instance]] = defaultdict(list)
    for request in requests:
        kinds[request.request_type] += [request] * request.repeats
    for kind, asked in kinds.items():
        try:
            answers = getattr(lm, kind)(asked, disable_tqdm=True)
        except AssertionError as error:  # how lm-eval says that a request does not fit the model
            raise EvaluationError(f"task {asked[0].task_name}: the model cannot answer: {error}") from error
        for request, answer in zip(asked, answers, strict=True):
            likelihood = answer[0] if kind == "loglikelihood" else answer
            if isinstance(likelihood, float) and math.isnan(likelihood):
                raise EvaluationError(f"task {request.task_name}: the model's probabilities are not numbers")
            request.resps.append(answer)


def _flag(asked: ItemRequests, lm: LM) -> str | None:
    """The flag of a generated answer; None if the item asks for none."""
    request = asked.requests[0]
    if request.request_type != "generate_until":
        return None
    return flag_answer(request.resps[0], lm.stopped(request) if isinstance(lm, CandidateLM) else None)


def _in_language(score: ItemScore, asked: ItemRequests, use: MetricUse) -> ItemScore:
    """The score, which is at most 0 if the answer is not in the language that the skill requires."""
    if use.language is None or score.flag == EMPTY:
        return score
    found = language_flag(asked.requests[0].resps[0], use.language)
    value = min(score.value, 0.0) if found == OTHER_LANGUAGE else score.value
    return replace(score, value=value, flag=score.flag if score.flag == LOOPING else found or score.flag)
