"""The other way of scoring a candidate must be asked what shoal asks, or the comparison would mean nothing."""

import pytest

from benchmarks.candidate_cost import CREW, search_tasks
from benchmarks.zoo_bench import spec
from bot.scoring.worker import Worker
from evaluation.harness.process_state import quiet
from evaluation.items import item_id
from evaluation.splits import Split

pytestmark = pytest.mark.slow


def test_lm_eval_is_asked_exactly_the_items_of_the_search() -> None:
    with quiet():
        facts = Worker(spec(CREW)).facts(Split.SEARCH)
        tasks, samples = search_tasks()
    searched = {told.task: {one.item for one in facts.items if one.task == told.key} for told in facts.tasks}
    asked = {
        name: [item_id(doc) for _, doc in task.doc_iterator(samples=samples[name])] for name, task in tasks.items()
    }
    assert {name: set(items) for name, items in asked.items()} == searched
    assert {len(items) for items in asked.values()} == {200}
    assert all(places == sorted(places) for places in samples.values())
