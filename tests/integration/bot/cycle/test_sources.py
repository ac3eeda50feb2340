"""The first steps of a cycle, when the sources do not stay as they were found."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.cycle import sources as cycle_sources
from bot.cycle.context import CycleContext
from bot.cycle.sources import check_before, prepare_pool
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.download import SourceGone
from bot.hub.pool.pool import NoPool
from bot.ledger.ledger import Ledger, State
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import BASE, LANGUAGE, MATH, Listener, client, small_watchlist
from fixtures.small_repos import CONFIG, files
from localhub import Running
from merging.errors import MergingError

DAMAGED = "overcooked/minnow-math-hot"


def context(server: Running, home: Home, watchlist: Watchlist) -> CycleContext:
    """As `run_cycle` opens it."""
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC))
    return CycleContext(watchlist, home, client(server), ledger, Listener(), cycle)


def weight_requests(server: Running, repo: str) -> int:
    """Requests for a repo's weights, for their header or whole."""
    return sum(
        path.startswith(f"/{repo}/resolve/") and path.endswith("/model.safetensors") for _, path in server.faults.seen
    )


def test_a_source_found_damaged_is_not_downloaded_again_until_it_has_a_new_commit(server: Running, home: Home) -> None:
    first = context(server, home, small_watchlist())
    prepare_pool(first)
    with_download = weight_requests(server, DAMAGED)
    first.finish(State.NOTHING, "")
    (found,) = [verdict for verdict in first.ledger.verdicts(first.cycle.id) if verdict.repo == DAMAGED]
    assert "lm_head.weight holds NaN" in found.reason

    server.faults.clear()
    second = context(server, home, small_watchlist())
    pool, folders = prepare_pool(second)
    header_only = weight_requests(server, DAMAGED)
    assert header_only < with_download
    assert found in second.ledger.verdicts(second.cycle.id)
    assert {source.repo for source in pool.sources} == {MATH, LANGUAGE} and len(folders) == 3
    second.finish(State.NOTHING, "")

    server.store.commit(DAMAGED, {"NOTE.md": b"weights as before"}, "A new commit")
    server.faults.clear()
    third = context(server, home, small_watchlist())
    prepare_pool(third)
    assert weight_requests(server, DAMAGED) == with_download
    (again,) = [verdict for verdict in third.ledger.verdicts(third.cycle.id) if verdict.repo == DAMAGED]
    assert again.reason == found.reason and again.sha != found.sha


@pytest.mark.parametrize(
    ("authors", "message"),
    [
        (["nobody-at-all"], "^no candidate left: "),
        (["abacus-works"], f"^one source only \\({MATH}\\), a merge needs two"),
        (["abacus-works", "overcooked"], f"^one source only \\({MATH}\\).*{DAMAGED}: damaged"),
    ],
)
def test_too_few_sources_are_reported_in_one_line_with_every_reason_on_record(
    server: Running, home: Home, authors: list[str], message: str
) -> None:
    """And the next run, under a better watchlist, goes on."""
    poor = context(server, home, small_watchlist(watch={"authors": {"allow": authors}}, base={"repo": BASE}))
    with pytest.raises(NoPool, match=message) as raised:
        prepare_pool(poor)
    assert "\n" not in str(raised.value)
    recorded = poor.ledger.verdicts(poor.cycle.id)
    assert set(recorded) == set(raised.value.verdicts)
    assert poor.ledger.cycle(poor.cycle.id).state is State.RUNNING
    better = context(server, home, small_watchlist())
    pool, _ = prepare_pool(better)
    assert {source.repo for source in pool.sources} == {MATH, LANGUAGE}
    assert better.ledger.cycle(poor.cycle.id).state is State.ABANDONED


def test_a_family_without_a_folding_rule_is_refused_before_its_weights_are_fetched(server: Running, home: Home) -> None:
    config = {**CONFIG, "model_type": "persimmon", "architectures": ["PersimmonForCausalLM"]}
    for place, name in enumerate(("cod", "eel")):
        server.store.commit(f"abacus-works/{name}", files(place, config=config))
    asked: dict[str, Any] = {"watch": {"tags": ["fish"]}, "base": None}
    with pytest.raises(MergingError, match="model_type is 'persimmon': no way is known to fold a path's scales"):
        prepare_pool(context(server, home, small_watchlist(**asked, search={"space": "dataflow"})))
    assert not list(home.sources.rglob("*.safetensors"))
    pool, folders = prepare_pool(context(server, home, small_watchlist(**asked, search={"method": "linear"})))
    assert len(pool.sources) == len(list(home.sources.rglob("*.safetensors"))) == len(folders) == 2


def test_chat_templates_that_do_not_fit_are_said_or_refused_before_weights_are_fetched(
    server: Running, home: Home
) -> None:
    def asking(chat: bool) -> Watchlist:
        skills = [{"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "acc"}], "chat_template": chat}]
        return small_watchlist(skills=skills, pinned=[{"repo": LANGUAGE}, {"repo": MATH}], watch={"tags": ["nothing"]})

    server.faults.clear()
    with pytest.raises(ShoalError, match=rf"^skills\[0\].chat_template: got true: {LANGUAGE}, .* no chat template;"):
        prepare_pool(context(server, home, asking(chat=True)))
    assert not list(home.sources.rglob("*.safetensors"))
    server.store.commit(MATH, {"chat_template.jinja": "{{ messages }}"})
    plain = context(server, home, asking(chat=False))
    prepare_pool(plain)
    assert isinstance(plain.narrator, Listener)
    assert plain.narrator.said[0].startswith(
        f"skills[0].chat_template: math asks without a chat template, but {MATH} has one; "
    )


def test_a_tokenizer_that_transformers_would_rebuild_is_reported_in_one_line(server: Running, home: Home) -> None:
    first = context(server, home, small_watchlist())
    prepare_pool(first)
    assert not any("tokenizer the merges use" in line for line in first.narrator.said)
    first.finish(State.NOTHING, "")
    settings = json.dumps({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "</s>"}).encode()
    for repo in (MATH, LANGUAGE):
        server.store.commit(repo, {"tokenizer_config.json": settings})
    second = context(server, home, small_watchlist())
    pool, _ = prepare_pool(second)
    (line,) = [line for line in second.narrator.said if "tokenizer the merges use" in line]
    assert line.startswith(f"{pool.sources[0].repo}, whose tokenizer the merges use: transformers rebuilds")
    assert "by class (Qwen2Tokenizer); the result's tokenizer_config.json names PreTrainedTokenizerFast" in line


@pytest.mark.parametrize("what", ["deleted", "moved"])
def test_a_source_that_leaves_between_discovery_and_fetch_is_named_and_the_next_run_goes_on(
    server: Running, home: Home, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = cycle_sources.find_family

    def find_and_lose(*arguments: object) -> object:
        family = genuine(*arguments)  # type: ignore[arg-type]
        if what == "moved":
            server.store.move_repo(LANGUAGE, "kotoba-lab/kotoba-two")
        else:
            server.store.delete_repo(DAMAGED)
        return family

    monkeypatch.setattr(cycle_sources, "find_family", find_and_lose)
    with pytest.raises(SourceGone) as raised:
        prepare_pool(context(server, home, small_watchlist()))
    assert isinstance(raised.value, ShoalError) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(LANGUAGE if what == "moved" else DAMAGED)

    monkeypatch.setattr(cycle_sources, "find_family", genuine)
    again = context(server, home, small_watchlist())
    pool, _ = prepare_pool(again)
    kept = "kotoba-lab/kotoba-two" if what == "moved" else LANGUAGE
    assert {member.repo for member in pool.members} == {MATH, kept, BASE}
    assert {entry.repo for entry in again.ledger.sources(again.cycle.id)} == {MATH, kept, BASE}


def test_an_interrupted_cycle_whose_source_has_left_the_hub_finds_another_pool(server: Running, home: Home) -> None:
    first = context(server, home, small_watchlist())
    pool, folders = prepare_pool(first)
    shutil.rmtree(next(folders[source.ref] for source in pool.sources if source.repo == LANGUAGE))
    server.store.move_repo(LANGUAGE, "kotoba-lab/kotoba-two")
    again = context(server, home, small_watchlist())
    assert again.cycle.id == first.cycle.id
    with pytest.raises(SourceGone, match=f"^{LANGUAGE}: moved to"):
        prepare_pool(again)
    pool, _ = prepare_pool(again)
    assert {member.repo for member in pool.members} == {MATH, "kotoba-lab/kotoba-two", BASE}


def test_a_run_is_refused_where_no_scores_could_pass_the_gate_and_warned_where_few_could(server: Running) -> None:
    hub, off = client(server), {"mode": "off", "namespace": None}
    hopeless = small_watchlist(items={"validation": 5}, gate={"confidence": 0.95}, publish=off)
    with pytest.raises(
        ShoalError, match=r"small: items\.validation: leaves the gate too few items \(math 5, cross 5\)"
    ):
        check_before(hopeless, hub)
    warning = check_before(small_watchlist(items={"validation": 12}, gate={"confidence": 0.95}, publish=off), hub)
    assert warning is not None and "(math 12, cross 12)" in warning
    assert check_before(small_watchlist(publish=off), hub) is None


def test_a_guard_beside_a_base_that_the_sources_do_not_have_is_refused_before_the_download(
    server: Running, home: Home
) -> None:
    guard = {"name": "digits", "tasks": [{"task": "zoo_sums", "metric": "acc"}]}
    watched = small_watchlist(
        watch={"authors": {"allow": ["nobody-at-all"]}},
        pinned=[{"repo": MATH}, {"repo": LANGUAGE}],
        search={"method": "linear"},
        guards=[guard],
        base=None,
    )
    server.faults.clear()
    with pytest.raises(ShoalError, match="guards: digits: reference is base, and the sources have no base in common"):
        prepare_pool(context(server, home, watched))
    assert not home.sources.exists()
