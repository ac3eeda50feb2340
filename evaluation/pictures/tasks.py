"""Tasks with their items, and the items' splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evaluation.errors import EvaluationError
from evaluation.pictures.rows import PictureItem, read_items
from evaluation.pictures.task_files import PictureTask
from evaluation.skills import Skill
from evaluation.splits import Division, Split, SplitSizes, TaskItems, divide_items


@dataclass(frozen=True)
class LoadedPictures:
    """A task with the items of its files, by id."""

    task: PictureTask
    test: Mapping[str, PictureItem]
    train: Mapping[str, PictureItem]

    @classmethod
    def load(cls, task: PictureTask) -> LoadedPictures:
        """Read the files. Raises EvaluationError for prompts that cannot be read, or that repeat others."""
        try:
            test = read_items(task.test, task.prompt, task.subject, task.seeds)
            train = read_items(task.train, task.prompt, task.subject, task.seeds) if task.train else {}
            _refuse_repeats(train, test)
            for item in (*test.values(), *train.values()):
                for judge in filter(None, (task.judge, task.report_judge)):
                    judge.check_row(item.row)
        except EvaluationError as error:
            raise EvaluationError(f"task {task.name}: {error}") from error
        return cls(task, test, train)

    def item(self, item: str) -> PictureItem:
        """The item with this id."""
        return self.test[item] if item in self.test else self.train[item]

    def all_items(self, *, in_search: bool) -> TaskItems:
        """The items to divide."""
        sets = [{item.item: item.subject for item in items.values()} for items in (self.test, self.train)]
        return TaskItems(sets[0], sets[1:] if self.train else (), in_search)


def divide_pictures(
    skills: Iterable[Skill], tasks: Mapping[str, LoadedPictures], seed: int, sizes: SplitSizes
) -> dict[str, Division]:
    """Divide the items of all tasks, by name of the task: see `divide_items`.

    Raises EvaluationError for a task with too few items to have some in every split on which it is asked.
    """
    searched = {use.task for skill in skills if skill.in_search for use in skill.tasks}
    items = {name: loaded.all_items(in_search=name in searched) for name, loaded in tasks.items()}
    found = divide_items(seed, items, sizes)
    for name, division in found.items():
        for split, chosen in division.items.items():
            if not chosen and (split is not Split.SEARCH or name in searched):
                raise EvaluationError(
                    f"task {name}: its {len(tasks[name].test)} items, without those whose subjects other splits have, "
                    f"leave none for the {split} split; give more prompts"
                )
    return found


def _refuse_repeats(train: Mapping[str, PictureItem], test: Mapping[str, PictureItem]) -> None:
    tested = {item.subject: item.prompt for item in test.values()}
    for item in train.values():
        if item.subject in tested:
            raise EvaluationError(
                f"dataset.train: its prompt {item.prompt[:60]!r} is about the same as {tested[item.subject][:60]!r} of "
                "dataset.test, which the search must not see; leave one of them out"
            )
