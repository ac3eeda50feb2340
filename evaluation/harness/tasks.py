"""lm-eval's tasks with their documents, metrics and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from lm_eval.api.task import ConfigurableTask

from evaluation.errors import EvaluationError
from evaluation.harness.modalities.documents import Doc, DocumentRows, Documents
from evaluation.harness.process_state import seeded
from evaluation.items import item_id, pictures_id, subject_id, text_column
from evaluation.picture import ShownPictures, explain_picture, open_picture, picture_digest, read_picture
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Division, Split, SplitSizes, TaskItems, divide_items

if TYPE_CHECKING:
    from PIL.Image import Image


class LoadedTask:
    """One lm-eval task with its documents by item id, and the metrics it gives for an answer.

    folder: that of the task's file, where relative paths of pictures are looked up. roots: the other folders whose
    files may be pictures.
    """

    def __init__(
        self, name: str, task: ConfigurableTask, folder: Path | None = None, roots: Sequence[Path] = ()
    ) -> None:
        self.name = name
        self.task = task
        self.folder = folder
        self.roots = roots
        self.has_pictures = task.config.doc_to_image is not None
        self._digests: dict[str, tuple[str, ...]] = {}

    @cached_property
    def test(self) -> Mapping[str, Doc]:
        """The documents that the task is scored on; equal ones once."""
        return self._read_docs(lambda: self.task.eval_docs)

    @cached_property
    def validation(self) -> Mapping[str, Doc]:
        """Validation documents, if the task is scored on a test set."""
        return self._read_docs(self.task.validation_docs) if self.task.has_test_docs() else {}

    @cached_property
    def training(self) -> Mapping[str, Doc]:
        """Training documents."""
        return self._read_docs(self.task.training_docs)

    @cached_property
    def examples(self) -> Mapping[str, Doc]:
        """The documents that few-shot examples are drawn from, in the task's order."""
        return self._read_docs(self.task.fewshot_docs)

    def _read_docs(self, read: Callable[[], Iterable[Doc] | None]) -> Mapping[str, Doc]:
        """Documents by item; a task's own code may draw random numbers for them each time that they are read."""
        with seeded():
            rows = read() or ()
            if self.has_pictures:
                return self._read_pictured(
                    DocumentRows(rows, partial(open_picture, folder=self.folder, roots=self.roots))
                )
            found: dict[str, Doc] = {}
            for doc in rows:
                found.setdefault(item_id(doc), doc)
            return found

    def _read_pictured(self, rows: DocumentRows) -> Documents:
        """Documents with pictures. Raises EvaluationError, with the number of the document, for a wrong picture."""
        places: dict[str, int] = {}
        for place in range(len(rows)):
            try:
                doc = rows.read(place)
                digests = tuple(map(picture_digest, self.pictures(doc)))
            except Exception as error:  # a file that cannot be decoded, or the task's own code
                raise EvaluationError(
                    f"task {self.name}: document {place} (counted from 0): {explain_picture(error)}"
                ) from error
            item = item_id(doc, digests)
            self._digests[item] = digests
            places.setdefault(item, place)
        return Documents(rows, places)

    def item(self, doc: Doc) -> str:
        """The id of a document: pictures count by their pixels, wherever they are kept."""
        return item_id(doc, tuple(map(picture_digest, self.pictures(doc))))

    def pictures(self, doc: Doc) -> list[Image]:
        """The pictures of a document as every processor gets them. Raises PictureError."""
        if not self.has_pictures:
            return []
        with seeded():  # a task's own code may draw what it shows
            found = self.task.doc_to_image(doc)
        values = found if isinstance(found, list | tuple) else [found]
        return [read_picture(value, self.folder, self.roots) for value in values if value is not None]

    def picture_digests(self, item: str) -> tuple[str, ...]:
        """The digests of an item's pictures, once its documents were read."""
        return self._digests.get(item, ())

    def show(self, item: str, examples: Sequence[str]) -> ShownPictures:
        """The pictures of a prompt that asks an item after some examples, in the order of their places."""

        def read() -> list[Image]:
            docs = [*(self.examples[example] for example in examples), self.document(item)]
            return [picture for doc in docs for picture in self.pictures(doc)]

        return ShownPictures(tuple(digest for one in (*examples, item) for digest in self._digests[one]), read)

    def subject(self, item: str, docs: Mapping[str, Doc]) -> str:
        """Id of what a document is about: its pictures, whatever is asked of them, else its question.

        Tasks that word one question differently, or in another language, have the same.
        """
        digests = self._digests.get(item)
        return pictures_id(digests) if digests else subject_id(docs[item], self._text_column)

    @cached_property
    def _text_column(self) -> str | None:
        """One of the data set's own columns; those that a task's code adds differ between variants of a task."""
        config, added = self.task.config, self.task.features
        split = config.test_split or config.validation_split  # None for a class that reads its data in its own way
        own = getattr(self.task.dataset[split], "column_names", added) if split else added
        return text_column(self.test.values(), [column for column in added if column in own] or added)

    def all_items(self, *, in_search: bool) -> TaskItems:
        """The items to divide; training documents are read only if the validation documents are too few."""
        return TaskItems(self._subjects(self.test), map(self._subjects, self._other_sets()), in_search)

    def _subjects(self, docs: Mapping[str, Doc]) -> dict[str, str]:
        return {item: self.subject(item, docs) for item in docs}

    def _other_sets(self) -> Iterator[Mapping[str, Doc]]:
        yield self.validation
        yield self.training

    def document(self, item: str) -> Doc:
        """The document of an item id."""
        for docs in (self.test, self.validation):
            if item in docs:
                return docs[item]
        return self.training[item]

    def prompt(self, doc: Doc) -> str:
        """A document's prompt, without few-shot examples and chat template."""
        # A task whose choices differ before the answer gives the right choice's number instead of a text.
        return self._text(doc, self.task.doc_to_text(doc))

    def expected(self, doc: Doc) -> str:
        """The right answer to a document, the first of several."""
        target = self.task.doc_to_target(doc)
        return self._text(doc, target[0] if isinstance(target, list) and target else target).strip()

    def _text(self, doc: Doc, value: object) -> str:
        """A text, or the text of the choice with this number."""
        if isinstance(value, int) and self.task.config.doc_to_choice is not None:
            return str(self.task.doc_to_choice(doc)[value])
        return str(value)

    def shots(self, use: SkillTask) -> int:
        """Number of few-shot examples for one use of the task."""
        own: int = self.task.config.num_fewshot or 0
        return own if use.num_fewshot is None else use.num_fewshot

    @property
    def filters(self) -> tuple[str, ...]:
        """Names of the task's output filters."""
        return tuple(ensemble.name for ensemble in self.task._filters)

    def filter(self, use: SkillTask) -> str:
        """The filter of one use of the task."""
        return use.filter if use.filter is not None else self.filters[0]

    @cached_property
    def probe(self) -> Mapping[str, Mapping[str, object]]:
        """filter → metric → value that the task gives an invented answer to its first document."""
        doc = next(iter(self.test.values()))
        try:
            prompt = self.task.fewshot_context(doc, num_fewshot=0, gen_prefix=self.task.doc_to_prefix(doc))
            made = self.task.construct_requests(doc=doc, ctx=prompt, metadata=(self.name, 0, 1))
            requests = made if isinstance(made, list) else [made]
            for request in requests:
                request.resps = [_invented_answer(request.request_type, self.task.doc_to_target(doc))]
            values = {}
            for ensemble in self.task._filters:
                ensemble.apply(requests)
                answers = [request.filtered_resps[ensemble.name] for request in requests]
                values[ensemble.name] = self.task.process_results(doc, answers)
        except Exception as error:  # the task's own code
            raise EvaluationError(
                f"task {self.name}: it cannot score its first document: {type(error).__name__}: {error}"
            ) from error
        return values

    def higher_is_better(self, metric: str) -> bool:
        """Whether higher values of a metric are better."""
        self.probe  # noqa: B018 - a task may learn its metrics' directions from its first result
        return bool(self.task.higher_is_better()[metric])


def divide_tasks(
    skills: Iterable[Skill], tasks: Mapping[str, LoadedTask], seed: int, sizes: SplitSizes
) -> dict[str, Division]:
    """Divide the items of all tasks of a watchlist, by name of the task.

    No task may search or show items that another one holds out, so `skills` and their `tasks` must be complete. Raises
    EvaluationError for a task with too few documents to have items in every split on which it is asked.
    """
    searched = {use.task for skill in skills if skill.in_search for use in skill.tasks}
    found = divide_items(
        seed, {name: loaded.all_items(in_search=name in searched) for name, loaded in tasks.items()}, sizes
    )
    for name, division in found.items():
        for split, items in division.items.items():
            if not items and (split is not Split.SEARCH or name in searched):
                raise EvaluationError(
                    f"task {name}: its {len(tasks[name].test)} documents, without those that other tasks "
                    f"use in other splits, leave none for the {split} split; use a task with more"
                )
    return found


def _invented_answer(kind: str, target: object) -> object:
    if kind == "loglikelihood":
        return (-1.0, False)
    if kind == "loglikelihood_rolling":
        return -1.0
    return str(target[0] if isinstance(target, list) and target else target)
