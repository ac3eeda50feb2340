"""An exam: the requests of all skills' tasks on one split, made once and put to hundreds of models."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.samplers import FirstNSampler

from evaluation.answers.degenerate import EMPTY, LOOPING, OTHER_LANGUAGE, flag
from evaluation.answers.language import language_flag, language_rules
from evaluation.errors import EvaluationError
from evaluation.harness.fingerprint import digest, task_rules, tokenizer_rules
from evaluation.harness.lm import Harness, chat_renderer, compiled_templates, quiet
from evaluation.harness.tasks import Doc, LoadedTask, divisions
from evaluation.items import item_id
from evaluation.racing.decisions import round_ends
from evaluation.scores import ItemScore
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes


@dataclass(frozen=True)
class TaskUse:
    """One use of a task in the exam.

    `digest` covers all that determines an item's score besides the weights and the item itself: the task's
    rules and code, metric, filter, few-shot examples, chat template, tokenizer, this package's code, the versions of
    lm-eval, torch and transformers, and the setting that the caller tells. It does not depend on item limits, nor on
    other tasks unless these hold out some of its examples, so (recipe, digest, item) is a key for a cache of scores.
    """

    skill: str
    task: str  # SkillTask.key
    digest: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class MetricUse:
    """Which number of an answered question is whose score, and in which language it must be answered to count."""

    skill: str
    key: str
    metric: str
    filter: str
    language: str | None


@dataclass(frozen=True)
class ItemRequests:
    """One item with the requests that ask it; a multiple choice has one request per choice."""

    item: str
    doc: Doc
    requests: tuple[Instance, ...]


@dataclass(frozen=True)
class TaskRequests:
    """The questions of one task in one form; several marks may be taken from the same answers."""

    loaded: LoadedTask
    questions: tuple[ItemRequests, ...]
    marks: tuple[MetricUse, ...]

    @property
    def requests(self) -> list[Instance]:
        """All requests, in the order of the questions."""
        return [request for question in self.questions for request in question.requests]

    def scores(self, lm: LM) -> Iterator[ItemScore]:
        """The item scores, once every request has its answers; EvaluationError for what is no number."""
        task = self.loaded.task
        for ensemble in task._filters:
            if any(mark.filter == ensemble.name for mark in self.marks):
                ensemble.apply(self.requests)
        for question in self.questions:
            results = {name: self._results(question, name) for name in {mark.filter for mark in self.marks}}
            flagged = _flag(question, lm)
            for mark in self.marks:
                value = float(results[mark.filter][mark.metric])
                if not math.isfinite(value):
                    raise EvaluationError(f"{mark.key}: item {question.item} has the score {value}, not a number")
                yield _in_language(ItemScore(mark.skill, mark.key, question.item, value, flagged), question, mark)

    def _results(self, question: ItemRequests, name: str) -> Mapping[str, Any]:
        answers = [request.filtered_resps[name] for request in question.requests]
        results: Mapping[str, Any] = self.loaded.task.process_results(question.doc, answers)
        return results


@dataclass(frozen=True)
class LmEvalSet:
    """All papers of one split. `digest` covers everything that determines the scores besides the weights."""

    papers: tuple[TaskRequests, ...]
    entries: tuple[TaskUse, ...]
    digest: str

    @classmethod
    def build(
        cls,
        skills: Sequence[Skill],
        tasks: Mapping[str, LoadedTask],
        split: Split,
        sizes: SplitSizes,
        seed: int,
        tokenizer: Any,
        setting: Sequence[str] = (),
    ) -> LmEvalSet:
        """Write the exam; needs the tokenizer, but no model.

        `tasks` comes from `load_tasks`, called with all skills of the watchlist. `setting` are further facts that
        decide scores (device, batch size): every digest covers them. Raises EvaluationError for a split without
        items, too few examples for few-shot prompts, or a chat template asked of a tokenizer that has none.
        """
        forms: dict[tuple[str, int, bool], list[tuple[Skill, SkillTask]]] = defaultdict(list)
        for skill in skills:
            for use in skill.tasks:
                form = use.task, tasks[use.task].shots(use), skill.chat_template
                forms[form].append((skill, use))
        papers, entries = [], []
        with quiet(), compiled_templates():
            divided = divisions(tasks, seed, sizes)
            for (name, shots, chat), uses in forms.items():
                writer = _RequestWriter(tasks[name], split, divided[name], seed, shots)
                paper = writer.paper(uses, chat_renderer(tokenizer) if chat else None)
                papers.append(paper)
                form_digest = writer.digest(tokenizer_rules(tokenizer, chat=chat), setting, chat=chat)
                entries += [_task_use(mark, paper, form_digest) for mark in paper.marks]
        return cls.of(papers, entries)

    @classmethod
    def of(cls, papers: Sequence[TaskRequests], entries: Sequence[TaskUse]) -> LmEvalSet:
        """An exam of these papers, told by these entries."""
        told = [[entry.skill, entry.task, entry.digest, entry.items] for entry in entries]
        return cls(tuple(papers), tuple(entries), digest(told))

    def rounds(self, count: int) -> tuple[LmEvalSet, ...]:
        """The exam in at most `count` exams: together they ask every question once, and each its share of every task.

        After each round about twice as many items of a task are answered as before it (`round_ends`). A round that
        would ask nothing is left out. Items' order is a draw by the split's seed, so that every round is a sample.
        """
        cuts = [round_ends(len(paper.questions), count) for paper in self.papers]
        made = []
        for place in range(count):
            spans = [slice(ends[place - 1] if place else 0, ends[place]) for ends in cuts]
            papers = [
                replace(paper, questions=paper.questions[span]) for paper, span in zip(self.papers, spans, strict=True)
            ]
            sizes = [span for paper, span in zip(self.papers, spans, strict=True) for _ in paper.marks]
            entries = [replace(entry, items=entry.items[span]) for entry, span in zip(self.entries, sizes, strict=True)]
            if any(paper.questions for paper in papers):
                made.append(LmEvalSet.of(papers, entries))
        return tuple(made)

    def score(self, lm: LM) -> tuple[ItemScore, ...]:
        """Put the exam to a model (`harness`); the scores of an earlier call leave no trace.

        Raises EvaluationError if the model's answers are no numbers (broken weights), or if a task
        generates more tokens than the model has positions.
        """
        requests = [request for paper in self.papers for request in paper.requests]
        for request in requests:
            request.resps, request.filtered_resps = [], {}
        with quiet(), compiled_templates():
            _answer(lm, requests)
            return tuple(score for paper in self.papers for score in paper.scores(lm))


class _RequestWriter:
    """Writes one task's questions in one form."""

    def __init__(self, loaded: LoadedTask, split: Split, division: Division, seed: int, shots: int) -> None:
        self.loaded, self.seed, self.shots = loaded, seed, shots
        self.items = division.items[split]
        self.examples = self._draw(division.held_out) if shots else {}

    def digest(self, tokenizer: str, setting: Sequence[str], *, chat: bool) -> str:
        """Digest of the form: all that makes the prompts of given items, and marks the answers."""
        examples = [self.shots, list(self.examples)] if self.shots else None
        rules = task_rules(self.loaded.task)
        return digest([self.loaded.name, rules, examples, chat, tokenizer, list(setting)])

    def paper(self, uses: Sequence[tuple[Skill, SkillTask]], chat: Callable[..., str] | None) -> TaskRequests:
        """The questions of all items, to be marked for the given (skill, use) pairs."""
        questions = tuple(self._question(item, index, chat) for index, item in enumerate(self.items))
        marks = tuple(
            MetricUse(skill.name, use.key, use.metric, self.loaded.filter(use), skill.language) for skill, use in uses
        )
        return TaskRequests(self.loaded, questions, marks)

    def _question(self, item: str, index: int, chat: Callable[..., str] | None) -> ItemRequests:
        task, doc = self.loaded.task, self.loaded.document(item)
        with self._showing(self._examples_for(doc)):
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
        return ItemRequests(item, doc, tuple(made) if isinstance(made, list) else (made,))

    def _draw(self, held_out: Collection[str]) -> dict[str, str]:
        """The examples of all prompts, item → subject: as many as are shown, and some to take the place of others.

        The task's own sampler draws them, once, so that prompts share their beginning. (lm-eval draws for item after
        item from one generator: there a prompt shares nothing, and depends on how many items came before.) Items of
        validation and report are never shown with their answers, in whatever task's or split's prompts.
        """
        docs = self.loaded.examples
        subjects = {item: self.loaded.subject(doc) for item, doc in docs.items()}
        pool = {item: subject for item, subject in subjects.items() if subject not in held_out}
        spare = max(Counter(pool.values()).values(), default=0)
        draw = hashlib.sha256(f"{self.seed} {self.loaded.name}".encode()).digest()
        sampler = self.loaded.task.sampler.replace_df([docs[item] for item in pool])
        drawn = sampler.set_rnd(int.from_bytes(draw[:8], "big")).sample(min(self.shots + spare, len(pool)))
        return {item: pool[item] for item in map(item_id, drawn)}

    def _examples_for(self, asked: Doc) -> list[Doc]:
        """The first of the examples; none on the subject that is asked about, whose place the next one takes."""
        avoided = self.loaded.subject(asked) if self.shots else None
        fit = [self.loaded.examples[item] for item, subject in self.examples.items() if subject != avoided]
        if len(fit) < self.shots:
            raise EvaluationError(
                f"task {self.loaded.name}: {len(fit)} documents can serve as examples, num_fewshot is "
                f"{self.shots}; lower it, or use a task with training documents"
            )
        return fit[: self.shots]

    @contextmanager
    def _showing(self, examples: Sequence[Doc]) -> Iterator[None]:
        """Lets lm-eval show these examples while the block runs, in their order."""
        task = self.loaded.task
        own, task.sampler = task.sampler, FirstNSampler(examples)
        try:
            yield
        finally:
            task.sampler = own


def _task_use(mark: MetricUse, paper: TaskRequests, form_digest: str) -> TaskUse:
    items = tuple(question.item for question in paper.questions)
    language = [mark.language, *language_rules()] if mark.language is not None else []
    return TaskUse(mark.skill, mark.key, digest([form_digest, mark.metric, mark.filter, *language]), items)


def _answer(lm: LM, requests: Sequence[Instance]) -> None:
    """Let the model answer, one kind of request after the other, as lm-eval's own evaluate does."""
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


def _flag(question: ItemRequests, lm: LM) -> str | None:
    request = question.requests[0]
    if request.request_type != "generate_until":
        return None
    return flag(request.resps[0], lm.stopped(request) if isinstance(lm, Harness) else None)


def _in_language(score: ItemScore, question: ItemRequests, mark: MetricUse) -> ItemScore:
    """The score if the answer is in the language asked for; in another it counts for nothing."""
    if mark.language is None or score.flag == EMPTY:
        return score
    found = language_flag(question.requests[0].resps[0], mark.language)
    value = min(score.value, 0.0) if found == OTHER_LANGUAGE else score.value
    return replace(score, value=value, flag=score.flag if score.flag == LOOPING else found or score.flag)
