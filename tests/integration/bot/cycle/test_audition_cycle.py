"""A cycle that finds more sources than a merge may have: four of which two are good, and one more that is damaged."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from bot.cycle.context import CycleContext
from bot.cycle.dry_run import RunPlan, make_plan
from bot.cycle.run import run_cycle
from bot.cycle.sources import prepare_pool
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.download import SourceGone
from bot.ledger.ledger import AUDITIONED, Ledger, State
from bot.scoring.evaluator import Evaluator, Failure
from bot.scoring.worker_spec import WorkerSpec
from bot.search.results import AuditionSummary
from evaluation.eval_set import ItemResults
from evaluation.splits import Split
from fixtures import cycles
from fixtures.cycles import BASE, LANGUAGE, MATH, Listener, SharedWorkers, client, small_watchlist
from localhub import Running, Store, running
from merging.recipes.recipe import Recipe
from zoo.repo import MODELS

NOISE, ECHO, YOUNG = "driftwood/minnow-noise", "driftwood/minnow-echo", "driftwood/minnow-young"
SEARCH, VALIDATION, SHARE = 24, 20, 0.5
ANSWERED = 2 * SEARCH * SHARE  # items of two skills
WATCHLIST = small_watchlist(
    watch={"authors": {"deny": ["tidepool"]}},  # whose base is as good at sums as the specialist
    base={"repo": YOUNG},
    skills=[
        {"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "acc"}]},
        {"name": "language", "tasks": [{"task": "zoo_translation", "metric": "exact_match", "filter": "statement"}]},
    ],
    max_sources=2,
    audition={"share": SHARE},
    items={"search": SEARCH, "validation": VALIDATION, "report": 8},
    search={"population": 8, "budget": {"candidates": 8}, "racing": {"rounds": 2}},
    publish={"mode": "off", "namespace": None, "collection": None},
)


def perturbed(repo: str, size: float, seed: int, padding: int = 0) -> bytes:
    """A model's weights, moved at random by so much of each tensor's own spread; padding: further rows for tokens."""
    generator = torch.Generator().manual_seed(seed)
    weights = load_file(MODELS[repo] / "model.safetensors")
    moved = {
        name: one + size * one.std() * torch.randn(one.shape, generator=generator) for name, one in weights.items()
    }
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        moved[name] = torch.nn.functional.pad(moved[name], (0, 0, 0, padding))
    return bytes(save(moved, metadata={"format": "pt"}))


def add_model(store: Store, repo: str, weights: bytes, downloads: int) -> None:
    """A repo with the tag of the zoo and the math specialist's other files."""
    files: dict[str, bytes | Path] = {path.name: path for path in MODELS[MATH].iterdir()}
    store.commit(repo, files | {"model.safetensors": weights}, "Add the model")
    store.set_downloads(repo, downloads)


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's Hub, where a model that was ruined and one like the base are downloaded more than the specialists."""
    folder = tmp_path_factory.mktemp("stocked") / "hub"
    cycles.stock(folder)
    with running(folder) as server:
        add_model(server.store, NOISE, perturbed(MATH, 2.0, seed=1), downloads=9000)
        add_model(server.store, YOUNG, perturbed(BASE, 0.5, seed=2), downloads=7000)
        add_model(server.store, ECHO, perturbed(BASE, 0.501, seed=2), downloads=8000)
    return folder


@pytest.fixture(scope="module")
def workers() -> Iterator[SharedWorkers]:
    workers = SharedWorkers()
    yield workers
    workers.close()


@dataclass
class Counting:
    """Shared workers, with the recipes that they were asked to score; after `limit` of them there is an interrupt.

    mute: the models that run out of memory.
    """

    workers: SharedWorkers
    limit: int | None = None
    mute: tuple[str, ...] = ()
    asked: int = 0

    @contextmanager
    def get(self, spec: WorkerSpec, timeout: float | None) -> Iterator[Evaluator]:
        """In place of `ProcessPool(spec, timeout)`."""
        with self.workers.get(spec, timeout) as pool:
            yield _CountingEvaluator(pool, self)


class _CountingEvaluator:
    def __init__(self, evaluator: Evaluator, counting: Counting) -> None:
        self._evaluator, self._counting = evaluator, counting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._evaluator, name)

    def evaluate(self, recipes: Sequence[Recipe], split: Split) -> Iterator[tuple[int, ItemResults | Failure]]:
        counting = self._counting
        for index, results in self._evaluator.evaluate(recipes, split):
            if counting.asked == counting.limit:
                raise KeyboardInterrupt
            counting.asked += 1
            (model,) = recipes[index].origins
            yield index, Failure("out of memory", transient=True) if model.location in counting.mute else results


def begin(server: Running, home: Home) -> CycleContext:
    """As `run_cycle` opens it."""
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(WATCHLIST.name, WATCHLIST.digest, datetime.now(UTC))
    return CycleContext(WATCHLIST, home, client(server), ledger, Listener(), cycle)


def audition_of(ledger: Ledger, cycle: str) -> AuditionSummary:
    found = ledger.kept(cycle, "audition", AuditionSummary)
    assert found is not None
    return found


@dataclass(frozen=True)
class Finished:
    server: Running
    home: Home
    plan: RunPlan
    cycle: str
    listener: Listener

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)


@pytest.fixture(scope="module")
def finished(stocked: Path, tmp_path_factory: pytest.TempPathFactory, workers: SharedWorkers) -> Iterator[Finished]:
    folder, listener = tmp_path_factory.mktemp("finished"), Listener()
    with cycles.copy_of(stocked, folder / "hub") as server:
        hub, home = client(server), Home(folder / "home")
        plan = make_plan(hub, WATCHLIST, datetime.now(UTC), measure=lambda *_: None)
        cycle = run_cycle(WATCHLIST, home, hub, listener, workers.get)
        yield Finished(server, home, plan, cycle, listener)


def test_the_good_sources_are_chosen_and_the_others_are_told_why(finished: Finished) -> None:
    verdicts = {verdict.repo: verdict for verdict in finished.ledger.verdicts(finished.cycle)}
    assert {name for name, verdict in verdicts.items() if verdict.accepted} == {MATH, LANGUAGE}
    assert verdicts[NOISE].reason.startswith("adds nothing to ") and "math 0.00 against " in verdicts[NOISE].reason
    assert verdicts[ECHO].reason.startswith(f"adds nothing to {YOUNG} (math ")
    assert f"on {ANSWERED:.0f} items" in verdicts[ECHO].reason
    roles = {entry.repo: entry.role for entry in finished.ledger.sources(finished.cycle)}
    assert roles == {MATH: "source", LANGUAGE: "source", YOUNG: "base", NOISE: AUDITIONED, ECHO: AUDITIONED}


def test_the_ledger_keeps_the_audition_and_the_bot_says_it(finished: Finished) -> None:
    found = audition_of(finished.ledger, finished.cycle)
    assert (found.items, found.places) == (ANSWERED, 2)
    assert {row.repo: row.role for row in found.rows} == {
        YOUNG: "base",
        NOISE: "candidate",
        ECHO: "candidate",
        MATH: "candidate",
        LANGUAGE: "candidate",
    }
    assert all(len(row.scores) == 2 for row in found.rows)
    assert f"audition: 4 candidates for 2 places, {ANSWERED:.0f} items each; 2 chosen" in finished.listener.said
    assert finished.listener.bars["audition"] == [5, 5]


def test_the_search_does_not_take_the_scores_of_the_audition_again(finished: Finished) -> None:
    """Config and tokenizer are the same here, whoever leads."""
    with closing(sqlite3.connect(finished.home.ledger)) as ledger:
        recipes = dict(ledger.execute("SELECT digest, recipe FROM recipes").fetchall())
        (alone,) = (digest for digest, text in recipes.items() if _sources(text) == [MATH])
        asked = ledger.execute("SELECT count(*) FROM evaluations WHERE recipe = ?", [alone]).fetchone()
        items = ledger.execute("SELECT count(*) FROM item_scores WHERE recipe = ?", [alone]).fetchone()
    # The audition's half of the search split, the other half, both as the whole, and validation; each item once.
    assert asked == (4,) and items == (2 * (SEARCH + VALIDATION),)


def _sources(recipe: str) -> list[str]:
    return [source["repo"] for source in json.loads(recipe)["sources"]]


def test_a_second_run_finds_nothing_new_and_scores_nothing(finished: Finished, workers: SharedWorkers) -> None:
    scored, counting = finished.ledger.count_evaluations(), Counting(workers)
    finished.server.faults.clear()
    cycle = run_cycle(WATCHLIST, finished.home, client(finished.server), Listener(), counting.get)
    assert finished.ledger.cycle(cycle).state is State.UNCHANGED
    assert counting.asked == 0 and finished.ledger.count_evaluations() == scored
    assert audition_of(finished.ledger, cycle) == audition_of(finished.ledger, finished.cycle)


def test_an_interrupted_audition_goes_on_to_the_same_pool(
    server: Running, home: Home, finished: Finished, workers: SharedWorkers
) -> None:
    with pytest.raises(KeyboardInterrupt):
        prepare_pool(begin(server, home), Counting(workers, limit=2).get)
    server.store.set_downloads(LANGUAGE, 10**6)  # what has been found stays as it was
    again, counting = begin(server, home), Counting(workers)
    pool, folders = prepare_pool(again, counting.get)
    assert counting.asked == 3
    assert [source.repo for source in pool.sources] == [MATH, LANGUAGE]
    assert set(folders) == {member.ref for member in pool.members}
    assert audition_of(again.ledger, again.cycle.id) == audition_of(finished.ledger, finished.cycle)


def test_a_source_with_a_new_commit_auditions_anew_as_it_is_published_and_the_others_do_not(
    server: Running, home: Home, workers: SharedWorkers
) -> None:
    """Its embeddings have other rows than the others'."""
    first = begin(server, home)
    prepare_pool(first, workers.get)
    first.finish(State.NOTHING, "")
    config = json.loads(server.store.read(ECHO, "config.json"))
    padded = json.dumps({**config, "vocab_size": config["vocab_size"] + 8}).encode()
    weights = perturbed(LANGUAGE, 0.001, seed=3, padding=8)
    server.store.commit(ECHO, {"model.safetensors": weights, "config.json": padded}, "Train it on")
    second, counting = begin(server, home), Counting(workers)
    prepare_pool(second, counting.get)
    assert counting.asked == 1
    shas = {row.repo: row.sha for row in audition_of(second.ledger, second.cycle.id).rows}
    assert shas[ECHO] == server.store.head(ECHO)
    scores = {row.repo: row.scores for row in _rows(second)}
    assert scores[ECHO] == pytest.approx(scores[LANGUAGE], abs=0.1) != scores[YOUNG]
    assert {repo for repo, sha in shas.items() if sha not in {row.sha for row in _rows(first)}} == {ECHO}


def _rows(context: CycleContext) -> Sequence[Any]:
    return audition_of(context.ledger, context.cycle.id).rows


def test_a_chosen_source_that_leaves_before_it_is_fetched_again_has_the_others_audition_without_it(
    server: Running, home: Home, workers: SharedWorkers
) -> None:

    first = begin(server, home)
    prepare_pool(first, workers.get)
    shutil.rmtree(home.sources)
    server.store.delete_repo(LANGUAGE)
    with pytest.raises(SourceGone, match=f"^{LANGUAGE}"):
        prepare_pool(begin(server, home), workers.get)
    again, counting = begin(server, home), Counting(workers)
    pool, _ = prepare_pool(again, counting.get)
    assert again.cycle.id == first.cycle.id and counting.asked == 0
    assert {source.repo for source in pool.sources} == {MATH, ECHO}
    reasons = {row.repo: row.reason for row in _rows(again)}
    assert reasons[ECHO].startswith("adds nothing for certain, but a merge needs 2 sources")


@pytest.mark.parametrize(
    ("mute", "message"),
    [
        (
            (NOISE, ECHO, MATH, LANGUAGE),
            "audition: not one of 4 candidates could be scored; most often: out of memory; ",
        ),
        ((YOUNG,), f"{YOUNG} (base): could not be scored in the audition (out of memory); fix that "),
        ((NOISE, ECHO, MATH), f"one source only ({LANGUAGE}), a merge needs two: "),
    ],
)
def test_an_audition_in_which_nobody_answers_is_one_line_and_loses_nothing(
    server: Running, home: Home, workers: SharedWorkers, mute: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ShoalError) as raised:
        prepare_pool(begin(server, home), Counting(workers, mute=mute).get)
    assert str(raised.value).startswith(message) and "\n" not in str(raised.value)
    again, counting = begin(server, home), Counting(workers)
    pool, _ = prepare_pool(again, counting.get)
    assert counting.asked == len(mute) and [source.repo for source in pool.sources] == [MATH, LANGUAGE]


def test_a_candidate_that_cannot_be_scored_is_left_out_with_the_reason(
    server: Running, home: Home, workers: SharedWorkers
) -> None:
    context = begin(server, home)
    pool, _ = prepare_pool(context, Counting(workers, mute=(MATH,)).get)
    (refused,) = [verdict for verdict in pool.verdicts if verdict.repo == MATH]
    assert refused.reason == "could not be scored in the audition: out of memory"


def test_the_plan_counts_the_audition(finished: Finished) -> None:
    plan, cost = finished.plan, finished.plan.cost
    assert cost is not None and plan.refusal is None
    (stage,) = [one for one in cost.stages if one.stage.startswith("audition")]
    damaged = 1  # only its download shows it
    assert (stage.models, stage.item_scores) == (5 + damaged, (5 + damaged) * ANSWERED)
    assert (cost.auditioned, cost.places) == (4 + damaged, 2)
    lying = sum(
        path.stat().st_size
        for path in finished.home.sources.rglob("*")
        if path.is_file() and path.name != "shoal-source.json"
    )
    assert cost.download > lying
