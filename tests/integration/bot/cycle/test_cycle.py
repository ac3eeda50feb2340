"""Whole cycles with real parts: the genuine client, the zoo's weights, lm-eval's tasks, worker processes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard, snapshot_download
from huggingface_hub.utils import get_session
from markdown_it import MarkdownIt
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bot.cycle.dry_run import RunPlan, make_plan
from bot.cycle.history import read_cycle
from bot.cycle.past.review import publish_releases, reject_releases
from bot.cycle.run import run_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.answers.failures import HubForbidden, HubUnavailable
from bot.ledger.ledger import Ledger, State
from bot.merge_command.merge import Merger
from bot.search.results import GateResult, MeasuredRow
from bot.verify_command.fetch import fetch_sources
from bot.verify_command.verify import Verifier
from bot.watchlist.watchlist import Watchlist
from evaluation.errors import EvaluationError
from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.lm import PlainLM
from evaluation.harness.loading import load_tasks
from evaluation.harness.tasks import divide_tasks
from evaluation.splits import Split, SplitSizes
from fixtures import cycles
from fixtures.cycles import (
    BASE,
    LANGUAGE,
    MATH,
    NAMESPACE,
    REPORT,
    SEARCH,
    SEED,
    VALIDATION,
    Listener,
    SharedWorkers,
    client,
    commits,
    copy_scores,
    published,
    run_and_die,
    small_watchlist,
    start_process_that_dies,
)
from fixtures.shoal_process import wait_until_gone
from localhub import Running
from merging.identity import ModelId
from merging.merge_tensor import make_loader, merge_tensor
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from zoo.decoys import decoys

CYCLE = "small-1"
INITIAL = "initial commit"
DEAD = -signal.SIGKILL
GUARD = {"name": "digits", "tasks": [{"task": "zoo_sums", "metric": "acc"}], "max_drop": 0.4}


def guarded_watchlist(**changed: Any) -> Watchlist:
    """The small watchlist with a guard."""
    return small_watchlist(guards=[GUARD], **changed)


WATCHLIST = guarded_watchlist()
REASONS = {
    "gated": "gated",
    "pickle only": "pickled, without safetensors",
    "custom code": "custom code (modeling_turbo.py)",
    "other shapes": "not of the family of tidepool/minnow-base: tensor",
    "other tokenizer": "tokenizer is not that of tidepool/minnow-base",
    "licence forbids it": "cc-by-nc-nd-4.0, which forbids",
    "unknown licence": "the licence 'unknown'",
    "same weights under another name": f"the same weights as {MATH}",
    "adapter for another base": "this adapter is for another base",
    "own earlier merge": "a merge made by shoal",
    "NaN weights": "damaged: model.safetensors: tensor lm_head.weight holds NaN",
}


@dataclass(frozen=True)
class Finished:
    """A cycle that nothing disturbed, with the plan made before it, the requests of the plan, and its progress."""

    server: Running
    home: Home
    plan: RunPlan
    plan_seen: list[tuple[str, str]]
    listener: Listener

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)

    def snapshot(self, folder: Path) -> Path:
        """The first release as a user gets it: downloaded at the cycle's tag."""
        repo = self.ledger.releases(CYCLE)[0].repo
        return Path(snapshot_download(repo, revision=CYCLE, endpoint=self.server.endpoint, cache_dir=folder))


@pytest.fixture(scope="module")
def workers() -> Iterator[SharedWorkers]:
    """Workers of all cycles that run in the tests' own process."""
    workers = SharedWorkers()
    yield workers
    workers.close()


@pytest.fixture(scope="module")
def finished(stocked: Path, tmp_path_factory: pytest.TempPathFactory, workers: SharedWorkers) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("finished")
    with cycles.copy_of(stocked, folder / "hub") as server:
        hub, home = client(server), Home(folder / "home")
        plan, seen = make_plan(hub, WATCHLIST, datetime.now(UTC)), server.faults.seen
        assert not home.folder.exists()
        listener = Listener()
        assert run_cycle(WATCHLIST, home, hub, listener, workers.get) == CYCLE
        yield Finished(server, home, plan, seen, listener)


@pytest.fixture
def known_scores(finished: Finished, home: Home) -> Home:
    copy_scores(finished.home, home)
    return home


def weights_of(home: Home, cycle: str = CYCLE) -> dict[str, str]:
    """Repo → SHA-256 of the released weights."""
    return {entry.repo: entry.files["model.safetensors"] for entry in Ledger(home.ledger).releases(cycle)}


# -- one undisturbed cycle ----------------------------------------------------------------------------------------


def test_every_decoy_is_refused_for_its_own_reason_and_the_specialists_are_taken(finished: Finished) -> None:
    verdicts = {verdict.repo: verdict for verdict in finished.ledger.verdicts(CYCLE)}
    assert {name for name, verdict in verdicts.items() if verdict.accepted} == {MATH, LANGUAGE}
    for decoy in decoys():
        assert decoy.refused_for is not None and REASONS[decoy.refused_for] in verdicts[decoy.name].reason
    assert {(entry.repo, entry.role) for entry in finished.ledger.sources(CYCLE)} == {
        (MATH, "source"),
        (LANGUAGE, "source"),
        (BASE, "base"),
    }


def test_each_release_is_one_commit_with_the_cycles_tag_in_the_collection(finished: Finished) -> None:
    entry = finished.ledger.cycle(CYCLE)
    releases = finished.ledger.releases(CYCLE)
    assert entry.state is State.PUBLISHED and len(releases) == 2
    assert set(published(finished.server)) == {release.repo for release in releases}
    api = client(finished.server).api
    for release in releases:
        info = api.model_info(release.repo, revision=CYCLE, files_metadata=True)
        assert info.sha == release.commit == api.model_info(release.repo).sha
        assert commits(finished.server, release.repo) == [f"Release {release.role} of cycle {CYCLE}", INITIAL]
        assert {sibling.rfilename for sibling in info.siblings or ()} == {*release.files, ".gitattributes"}
    (collection,) = api.list_collections(owner=NAMESPACE)
    items = api.get_collection(collection.slug).items
    assert {item.item_id for item in items} == {release.repo for release in releases}


def test_a_published_model_loads_plainly_and_scores_item_by_item_as_the_ledger_says(
    finished: Finished, tmp_path: Path
) -> None:
    release = finished.ledger.releases(CYCLE)[0]
    folder = finished.snapshot(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    tokenizer = AutoTokenizer.from_pretrained(folder)
    skills = WATCHLIST.asked_skills
    tasks = load_tasks(skills, WATCHLIST.task_paths)
    with sqlite3.connect(finished.home.ledger) as ledger:
        known = dict(
            ledger.execute("SELECT item, value FROM item_scores WHERE recipe = ?", [release.recipe]).fetchall()
        )
    assert len(known) == 2 * SEARCH + 3 * (VALIDATION + REPORT)
    scored = {}
    for split in Split:
        eval_set = LmEvalSet.build(skills, tasks, split, SplitSizes(SEARCH, VALIDATION, REPORT), SEED, tokenizer)
        scored |= {score.item: score.value for score in eval_set.score(PlainLM(model, tokenizer, "cpu", 16))}
    assert scored == known and len(set(known.values())) > 1


def test_the_card_is_valid_to_the_hub_and_to_its_client(finished: Finished, tmp_path: Path) -> None:
    text = (finished.snapshot(tmp_path) / "README.md").read_text()
    url = f"{finished.server.endpoint}/api/validate-yaml"
    answer = get_session().post(url, json={"repoType": "model", "content": text})
    assert answer.status_code == 200 and answer.json()["errors"] == []
    data = ModelCard(text).data
    assert set(data["base_model"]) >= {MATH, LANGUAGE} and data["base_model_relation"] == "merge"
    assert "shoal-merge" in data["tags"] and "Between its two stages" not in text
    release = finished.ledger.releases(CYCLE)[0]
    rows = finished.ledger.kept(CYCLE, "measured", tuple[MeasuredRow, ...])
    (row,) = [row for row in rows or () if row.name == release.role]
    values = [result.metric_value for result in data.eval_results or ()]
    assert values == [pytest.approx(score.mean, abs=1e-3) for score in row.scores]


def test_the_card_s_code_prints_the_answer_on_the_card(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is the published model's own, to a report item on which it scored higher than its best source."""
    monkeypatch.setenv("HF_ENDPOINT", "unset afterwards")
    folder = finished.snapshot(tmp_path)
    text = (folder / "README.md").read_text()
    code, answer = (fence.content for fence in MarkdownIt().parse(text) if fence.info in ("python", "text"))
    assert code.count(repr(finished.ledger.releases(CYCLE)[0].repo)) == 1
    exec(code.replace(repr(finished.ledger.releases(CYCLE)[0].repo), repr(str(folder))), {})
    assert capsys.readouterr().out.strip() == answer.strip() != ""
    assert re.search(rf"items at `cross` on which this model scored higher than ({MATH}|{LANGUAGE}|{BASE})", text)


def test_shoal_merge_gives_the_published_bytes_again_as_the_card_says(finished: Finished, tmp_path: Path) -> None:
    folder = finished.snapshot(tmp_path)
    merger = Merger(Home(tmp_path / "home"), client(finished.server), Listener())
    merged = merger.merge(folder / "mergekit_config.yml", tmp_path / "merged")
    sha256 = finished.ledger.releases(CYCLE)[0].files["model.safetensors"]
    assert merged.files["model.safetensors"] == sha256
    assert f"- `model.safetensors`: `{sha256}`" in (folder / "README.md").read_text()


def test_anyone_can_build_and_score_the_published_release_again(finished: Finished, tmp_path: Path) -> None:
    hub, release = client(finished.server), finished.ledger.releases(CYCLE)[0]
    stranger = Verifier(hub, Home(tmp_path / "home"), Listener(), items=5, trusted=True)
    found = stranger.verify(f"{release.repo}@{CYCLE}")
    assert [(check.subject, str(check.outcome)) for check in found.checks] == [
        ("bytes", "equal"),
        ("tensors", "equal"),
        ("scores", "equal"),
    ]
    assert found.sha == release.commit and found.checks[2].detail.startswith(f"15 of {3 * REPORT} report scores")
    assert {path.name for path in (tmp_path / "home").iterdir()} <= {"sources", "lock"}

    changed = tmp_path / "changed"
    shutil.copytree(finished.snapshot(tmp_path), changed)
    content = bytearray((changed / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (changed / "model.safetensors").write_bytes(content)
    card = (changed / "README.md").read_text()
    value = ModelCard(card).data.eval_results[0].metric_value
    (changed / "README.md").write_text(card.replace(f"value: {value}", "value: 1.0001"))
    details = {check.subject: check.detail for check in stranger.verify(str(changed)).checks}
    assert details["bytes"].startswith("model.safetensors: ")
    assert "1 of " in details["tensors"] and "values differ" in details["tensors"]
    assert details["scores"].startswith("README.md: zoo_math_en acc: its metadata says 1.0001, the mean")

    gone = ModelId("reef/gone", "0" * 40)
    found_sources, problem = fetch_sources(hub, Home(tmp_path / "home"), {gone}, Listener())
    assert found_sources == {} and problem is not None and problem.startswith(f"{gone}: not on the Hub")
    untrusting = replace(stranger, trusted=False).verify(release.repo)
    assert not untrusting.is_equal and "--trust-remote-code" in untrusting.checks[2].detail


def test_mergekit_accepts_the_recipe_next_to_the_weights(finished: Finished, tmp_path: Path) -> None:
    from mergekit.config import MergeConfiguration

    config = MergeConfiguration.model_validate(
        yaml.safe_load((finished.snapshot(tmp_path) / "mergekit_config.yml").read_text())
    )
    assert config.merge_method == "task_arithmetic"
    named = {str(model.model.path) for model in config.referenced_models()}
    assert named == {MATH, LANGUAGE, BASE}


def test_the_provenance_rebuilds_the_published_tensors_bit_by_bit(finished: Finished, tmp_path: Path) -> None:
    folder = finished.snapshot(tmp_path)
    record = json.loads((folder / "shoal.json").read_text())
    recipe = WeightMerge.from_json(record["recipe"])
    assert record["cycle"] == CYCLE and recipe.digest == record["recipe_digest"]
    fetched = {
        source: Checkpoint.open(
            Path(
                snapshot_download(
                    source.location, revision=source.revision, endpoint=finished.server.endpoint, cache_dir=tmp_path
                )
            )
        )
        for source in recipe.origins
    }
    tensors = load_file(folder / "model.safetensors")
    load = make_loader(recipe, fetched)
    assert tensors
    for name, tensor in tensors.items():
        assert torch.equal(tensor, merge_tensor(recipe, name, load)), name


def test_the_report_split_is_apart_and_read_only_for_releases_and_baselines(finished: Finished) -> None:
    skills = WATCHLIST.asked_skills
    tasks = load_tasks(skills, WATCHLIST.task_paths)
    sizes = SplitSizes(SEARCH, VALIDATION, REPORT)
    parts = divide_tasks(skills, tasks, SEED, sizes).values()
    items = {split: {item for part in parts for item in part.items[split]} for split in Split}
    assert {split: len(found) for split, found in items.items()} == {
        Split.SEARCH: 2 * SEARCH,
        Split.VALIDATION: 3 * VALIDATION,  # two skills and a guard
        Split.REPORT: 3 * REPORT,
    }
    assert not items[Split.REPORT] & (items[Split.SEARCH] | items[Split.VALIDATION])
    assert not items[Split.SEARCH] & items[Split.VALIDATION]

    with sqlite3.connect(finished.home.ledger) as ledger:
        rows = ledger.execute("SELECT recipe, item FROM item_scores").fetchall()
    scored_on = {split: {recipe for recipe, item in rows if item in items[split]} for split in Split}
    releases = {release.recipe for release in finished.ledger.releases(CYCLE)}
    front = {recipe for recipe, _ in finished.ledger.front(CYCLE)}
    baselines = scored_on[Split.REPORT] - releases
    assert scored_on[Split.REPORT] >= releases and len(baselines) == 2 + 2 + 1  # plain merges, sources, base
    assert scored_on[Split.VALIDATION] == front | baselines
    assert len(scored_on[Split.SEARCH]) >= 40


def test_a_guard_is_measured_for_the_front_and_the_releases_and_shown(finished: Finished) -> None:
    page = read_cycle(finished.ledger, finished.home, CYCLE)
    guards = {result.recipe: result.guards for result in page.gate_results}
    assert all(
        [(one.guard, one.reference, one.max_drop) for one in found] == [("digits", BASE, 0.4)]
        for found in guards.values()
    )
    assert all(one.score.n == VALIDATION for found in guards.values() for one in found)
    for row in page.measured:
        assert [one.score.n for one in row.guards] == ([REPORT] if row.kind == "release" else [])
    report = finished.home.report(CYCLE).read_text()
    assert all(f"| {recipe[:12]} |" in report for recipe in guards)
    for release in finished.ledger.releases(CYCLE):
        (measured,) = (row for row in page.measured if row.name == release.role)
        card = (finished.home.release(CYCLE, release.role) / "README.md").read_text()
        (row,) = [line for line in card.splitlines() if line.startswith("| digits<br>") and BASE in line]
        assert f"{measured.guards[0].score.mean:.3f}" in row and "may drop by 0.400" in row


def test_the_run_does_what_the_plan_announced(finished: Finished) -> None:
    plan, cost = finished.plan, finished.plan.cost
    assert cost is not None
    planned = {verdict.repo: verdict for verdict in plan.verdicts}
    found = {verdict.repo: verdict for verdict in finished.ledger.verdicts(CYCLE)}
    # Only the download shows that weights are damaged.
    (damaged,) = [repo for repo, verdict in found.items() if verdict.reason.startswith("damaged")]
    assert planned[damaged].accepted
    assert {**planned, damaged: None} == {**found, damaged: None}
    assert [(task.search, task.validation, task.report) for task in plan.tasks] == [
        (SEARCH, VALIDATION, REPORT),
        (SEARCH, VALIDATION, REPORT),
        (0, VALIDATION, REPORT),
    ]
    assert cost.candidates == 40
    assert cost.baselines == 2 + 3 + 1  # the damaged one counts as a source still
    stages = {stage.stage: (stage.models, stage.item_scores) for stage in cost.stages}
    assert stages["search"] == (40, 40 * 2 * SEARCH)
    assert stages["releases and baselines, report split"] == (2 + 6, (2 + 6) * 3 * REPORT)
    assert cost.item_scores == sum(scores for _, scores in stages.values())
    with sqlite3.connect(finished.home.ledger) as ledger:
        ((taken,),) = ledger.execute("SELECT count(*) FROM item_scores").fetchall()
    assert 0.5 * cost.item_scores < taken < cost.item_scores
    # Measured by models of the pool's own size: seconds, not hours, for a zoo like this one.
    assert cost.seconds is not None and cost.seconds == pytest.approx(sum(one.seconds or 0 for one in cost.stages))
    assert 0.1 < cost.seconds < 600
    lying = sum(
        path.stat().st_size
        for path in finished.home.sources.rglob("*")
        if path.is_file() and path.name != "shoal-source.json"
    )
    weights = Path(cycles.ROOT / "zoo" / "weights")
    assert cost.download > lying > 3 * min(path.stat().st_size for path in weights.rglob("*.safetensors"))


def test_the_front_s_gain_is_compared_with_that_on_items_that_the_search_has_not_seen(finished: Finished) -> None:
    page = read_cycle(finished.ledger, finished.home, CYCLE)
    gap, search = page.gap, page.search
    assert gap is not None and search is not None
    # The search's own reference is below all scores of single models, and the last generation's front is the front.
    assert gap.search == pytest.approx(search.generations[-1][1])
    assert 0 < gap.search_gain < gap.search and gap.low < gap.high and gap.validation_gain < gap.validation
    assert f"search: {gap.describe()}" in finished.listener.said
    assert gap.describe()[1:] in finished.home.report(CYCLE).read_text()


def test_every_stage_that_takes_long_shows_how_far_it_is(finished: Finished) -> None:
    bars = finished.listener.bars
    front, releases = len(finished.ledger.front(CYCLE)), len(finished.ledger.releases(CYCLE))
    assert bars["building the evaluation sets"] == [3, 3]
    assert bars["scoring the baselines (search split)"] == [5, 5]
    assert bars["searching"] == [40 * 2 * SEARCH, 40 * 2 * SEARCH]
    assert bars[f"scoring {front} merges and the baselines (validation split)"] == [front + 5, front + 5]
    assert bars["writing the releases, scoring their files"] == [releases, releases]
    assert bars[f"scoring {releases} merges and the baselines (report split)"] == [releases + 5, releases + 5]
    fetched, download = bars["fetching"]
    assert fetched == download > 0


def test_a_second_run_finds_nothing_new_fetches_nothing_and_scores_nothing(
    finished: Finished, workers: SharedWorkers
) -> None:
    """Nor does a changed publish section make a new search."""
    scored, before = finished.ledger.count_evaluations(), published(finished.server)
    finished.server.faults.clear()
    for watchlist in (WATCHLIST, guarded_watchlist(publish={"mode": "review", "max_releases": 1, "collection": None})):
        listener = Listener()
        cycle = run_cycle(watchlist, finished.home, client(finished.server), listener, workers.get)
        assert finished.ledger.cycle(cycle).state is State.UNCHANGED
        assert listener.said[-1].endswith("the same sources, tasks and watchlist as small-1")
    assert finished.ledger.count_evaluations() == scored
    assert published(finished.server) == before
    # Headers only, twice: not even the damaged source is downloaded again, for the ledger remembers it.
    once = _weight_requests(finished.plan_seen)
    assert _weight_requests(finished.server.faults.seen) == once + once


def _weight_requests(seen: list[tuple[str, str]]) -> Counter[str]:
    counts = Counter(path for _, path in seen if path.endswith("/model.safetensors"))
    assert any("minnow-math-hot" in path for path in counts)
    return counts


# -- killed ------------------------------------------------------------------------------------------------------


def test_a_cycle_killed_again_and_again_ends_as_if_undisturbed(
    server: Running, home: Home, finished: Finished, workers: SharedWorkers
) -> None:
    def check(releases: int) -> None:
        with sqlite3.connect(home.ledger) as ledger:
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert [cycle.state for cycle in Ledger(home.ledger).cycles()] == [State.RUNNING]
        assert len(published(server)) == releases

    process = start_process_that_dies(server, home, WATCHLIST)
    assert process.wait(timeout=120) == DEAD
    wait_until_gone(process, 60)
    check(releases=0)
    assert Ledger(home.ledger).count_evaluations() == cycles.SCORED_BEFORE_DEATH
    for point, releases in (("before the upload", 0), ("before the record", 1)):
        run_and_die(point, WATCHLIST, home, client(server), workers)
        check(releases)
    # As if on another machine: what is on the Hub already stays as it is, its card too.
    run_cycle(guarded_watchlist(workers={"threads": 2}), home, client(server), Listener(), workers.get)

    ledger = Ledger(home.ledger)
    assert ledger.cycle(CYCLE).state is State.PUBLISHED
    assert ledger.front(CYCLE) == finished.ledger.front(CYCLE)
    assert ledger.count_evaluations() == finished.ledger.count_evaluations()
    assert weights_of(home) == weights_of(finished.home)
    assert published(server) == published(finished.server)
    assert all(release.commit for release in ledger.releases(CYCLE))


# -- how it ends --------------------------------------------------------------------------------------------------


def test_review_waits_for_a_person_whose_rejection_holds_and_publishing_twice_does_nothing_twice(
    server: Running, known_scores: Home, finished: Finished, workers: SharedWorkers
) -> None:
    hub, home = client(server), known_scores
    cycle = run_cycle(guarded_watchlist(publish={"mode": "review"}), home, hub, Listener(), workers.get)
    ledger = Ledger(home.ledger)
    assert ledger.cycle(cycle).state is State.REVIEW and published(server) == {}
    assert not [path for method, path in server.faults.seen if method in ("POST", "PUT")]

    # The next cycle finds what was rejected again, and does not offer it.
    (rejected, *_) = releases = ledger.releases(cycle)
    reject_releases(ledger, home, hub, cycle, [rejected.role], "answers too briefly", Listener(), who="anna")
    longer = guarded_watchlist(publish={"mode": "review"}, search={"budget": {"candidates": 44}})
    later = run_cycle(longer, home, hub, Listener(), workers.get)
    results = ledger.kept(later, "gate", tuple[GateResult, ...]) or ()
    (again,) = [one for one in results if one.recipe == rejected.recipe]
    assert not again.passed and again.reason.endswith(f": answers too briefly (cycle {cycle})")
    assert rejected.recipe not in [release.recipe for release in ledger.releases(later)]

    endings = []
    for _ in range(2):  # whoever names it publishes even what was rejected
        publish_releases(ledger, home, hub, cycle, [release.role for release in releases], Listener())
        assert published(server) == published(finished.server)
        endings.append(ledger.cycle(cycle))
    assert endings[0] == endings[1] and endings[0].state is State.PUBLISHED
    assert endings[0].note.startswith("2 releases published")
    assert weights_of(home) == weights_of(finished.home)


def test_releases_that_were_only_written_are_published_later_without_a_new_search(
    server: Running, known_scores: Home, finished: Finished, workers: SharedWorkers
) -> None:
    """Publishing is off first, then the Hub is down, then it is there."""
    home = known_scores
    hub, ledger = client(server), Ledger(home.ledger)
    first = run_cycle(guarded_watchlist(publish={"mode": "off", "namespace": None}), home, hub, Listener(), workers.get)
    assert ledger.cycle(first).state is State.WRITTEN and published(server) == {}
    assert {path.name for path in home.releases(first).iterdir()} == {entry.role for entry in ledger.releases(first)}
    scored = ledger.count_evaluations()

    fault = server.faults.unavailable("*/commit/*", method="POST", times=10**6)
    with pytest.raises(HubUnavailable, match="503; try again later"):
        run_cycle(WATCHLIST, home, hub, Listener(), workers.get)
    failed = ledger.cycles()[0]
    assert fault.struck and failed.state is State.FAILED and failed.finished is not None
    assert failed.note == f"{server.endpoint}: the Hub answers 503; try again later"
    server.faults.clear()
    second = run_cycle(WATCHLIST, home, hub, Listener(), workers.get)
    assert second == failed.id != first and ledger.cycle(second).state is State.PUBLISHED
    assert ledger.count_evaluations() == scored
    assert weights_of(home, second) == weights_of(finished.home)
    assert [len(titles) for titles in published(server).values()] == [2, 2]


def test_a_gate_that_nobody_can_pass_publishes_nothing_and_says_so(
    server: Running, home: Home, finished: Finished, workers: SharedWorkers
) -> None:
    shutil.copytree(finished.home.folder, home.folder)  # where all scores are known
    impossible = guarded_watchlist(gate={"minimum": {"cross": 1.01}})
    cycle = run_cycle(impossible, home, client(server), Listener(), workers.get)
    ledger = Ledger(home.ledger)
    assert ledger.cycle(cycle).state is State.NOTHING
    assert ledger.releases(cycle) == () and not home.releases(cycle).exists()
    assert published(server) == {}
    assert not [path for method, path in server.faults.seen if method in ("POST", "PUT")]
    assert "below the watchlist's minimum of 1.01" in home.report(cycle).read_text()


# -- found before the search --------------------------------------------------------------------------------------


def test_what_would_fail_at_the_end_is_found_before_anything_is_fetched(
    server: Running, home: Home, workers: SharedWorkers
) -> None:
    unwritable = guarded_watchlist(publish={"namespace": "tidepool"})
    with pytest.raises(HubForbidden, match=r"publish\.namespace: got 'tidepool'.*may write to shoal-bot, shoal-demo"):
        run_cycle(unwritable, home, client(server), Listener(), workers.get)
    skills = [{"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "accuracy"}]}]
    with pytest.raises(EvaluationError, match="accuracy"):
        run_cycle(guarded_watchlist(skills=skills), home, client(server), Listener(), workers.get)
    with pytest.raises(ShoalError, match="token"):
        run_cycle(WATCHLIST, home, client(server, "hf_wrong"), Listener(), workers.get)
    assert {path for _, path in server.faults.seen} == {"/api/whoami-v2"}
    assert not home.sources.exists()
    (cycle,) = Ledger(home.ledger).cycles()
    assert cycle.state is State.FAILED and "token" in cycle.note
