"""The output of `status` and `show`, as pages of 80 columns and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from bot.cli import pages
from bot.cli.options import PagePart
from bot.cycle.dry_run import RunCost, RunPlan, TaskPlan
from bot.cycle.history import list_cycles, read_cycle
from bot.cycle.workload import StageCost
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.discovery.candidate import Verdict
from bot.ledger.decisions import ReviewDecision, ReviewVerdict, record_decision
from bot.ledger.ledger import EvaluationEntry, Ledger, ReleaseEntry, SourceEntry, State
from bot.lock import hold_home
from bot.release.power import DetectableEffect, GuardPower
from bot.search.results import AuditionRow, AuditionSummary, GateResult, GuardResult, MeasuredRow, SearchSummary
from bot.service.facts.bot_facts import read_facts
from bot.watchlist.watchlist import Watchlist
from evaluation.splits import Split
from evaluation.statistics.values import Interval
from fixtures.cycles import small_watchlist

BEGUN = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
WON, LOST = "a1" * 32, "b2" * 32
HOSTILE = "[red]it[/] says nothing, in a reason that is much longer than a row of the terminal has room for"
VERDICTS = (
    Verdict("reef/a-model-with-quite-a-long-name-7b", "c3" * 20, True, "of the family of reef/base, apache-2.0"),
    Verdict("reef/refused", "d4" * 20, False, HOSTILE),
)
STAGES = (
    StageCost("baselines, search split", 6, 3_600, 40.0),
    StageCost("search", 200, 120_000, 3600.0, limited=True),
    StageCost("releases and baselines, report split", 9, 12_375, 5.4 * 3600),
)
COST = RunCost(
    0,
    4,
    2 * 10**9,
    3 * 10**9,
    10**9,
    2,
    1,
    "cpu",
    10**9,
    12,
    (),
    18,
    26.3,
    200,
    True,
    6,
    135_975,
    6.4 * 3600 + 40,
    STAGES,
)
SEEN_IF = "  If they differ on half."
SEEN = DetectableEffect("math", Split.SEARCH, 200, 1, 0.05, 0.095)
TASK = TaskPlan("math", "zoo_math_en", "acc", 200, 357, 433)


@pytest.fixture
def ledger(home: Home) -> Ledger:
    """A ledger with one cycle that was published and one that is under way."""
    ledger = Ledger(home.ledger)
    watchlist = small_watchlist()
    cycle = ledger.begin("small", watchlist.digest, BEGUN).id
    ledger.keep(cycle, "watchlist", watchlist, Watchlist)
    ledger.record_pool(cycle, VERDICTS, [SourceEntry("reef/a", "c3" * 20, "source", "mit")])
    generations, failures = ((20, 0.25), (40, 0.5)), (("the logits are not finite", 2),)
    search = SearchSummary(40, 2, generations, ((0.5, 0.5),), (WON, LOST), 61.0, "the budget is spent", failures)
    ledger.keep(cycle, "search", search, SearchSummary)
    gate_results = (
        GateResult(LOST, (0.4, 0.5), False, "too near", 0.5, 0.05, ()),
        GateResult(WON, (0.9, 0.8), True, "better", 0.01, 0.025, ()),
    )
    ledger.keep(cycle, "gate", gate_results, tuple[GateResult, ...])
    measured = (MeasuredRow("balanced", "release", (Interval(0.9, 0.85, 0.95, 40), Interval(0.8, 0.75, 0.85, 40))),)
    ledger.keep(cycle, "measured", measured, tuple[MeasuredRow, ...])
    ledger.record_evaluation("{}", EvaluationEntry(WON, "eval set", 1.0, None), ())
    ledger.record_release(ReleaseEntry(cycle, "balanced", WON, "shoal-demo/small-balanced", {}, "e5" * 20), BEGUN)
    ledger.finish(cycle, State.PUBLISHED, "1 releases published\x1b[2J", BEGUN + timedelta(seconds=754))
    ledger.begin("small", watchlist.digest, BEGUN + timedelta(days=1))
    return ledger


def shown(page: RenderableType, width: int = 80) -> str:
    """The page as a terminal of this width has it, without trailing spaces."""
    file = io.StringIO()
    Console(file=file, width=width).print(page)
    lines = file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return "\n".join(line.rstrip() for line in lines)


def test_status_lists_the_newest_first_and_says_what_becomes_of_an_interrupted_one(ledger: Ledger, home: Home) -> None:
    assert shown(pages.layout_status(read_facts(home, ledger), list_cycles(ledger))) == (
        "cycle    started (UTC)     state      note\n"
        "small-2  2026-11-03 06:00  running    interrupted: the next run resumes it\n"
        "small-1  2026-11-02 06:00  published  1 releases published�[2J"
    )
    assert shown(pages.layout_status(read_facts(home, None), ())) == "no cycle yet: shoal run WATCHLIST"


def test_a_cycle_is_only_called_interrupted_while_no_process_holds_the_home(ledger: Ledger, home: Home) -> None:
    with hold_home(home):
        assert list_cycles(ledger)[0].cycle.note == "running, or interrupted: then the next run resumes it"
    assert read_cycle(ledger, home, "small-2").cycle.note == "interrupted: the next run resumes it"


def test_a_failed_cycle_shows_its_reason(ledger: Ledger, home: Home) -> None:
    ledger.finish("small-2", State.FAILED, "the Hub cannot be reached", BEGUN)
    assert list_cycles(ledger)[0].cycle.note == "the Hub cannot be reached (the next run resumes it)"
    assert shown(pages.layout_cycle(read_cycle(ledger, home, "small-2"))).startswith("small-2: failed\n")


def test_show_prints_the_whole_cycle_within_80_columns(ledger: Ledger, home: Home) -> None:
    text = shown(pages.layout_cycle(read_cycle(ledger, home, "small-1")))
    parts = [part.splitlines() for part in text.split("\n\n")]
    assert [part[0] for part in parts] == [
        "small-1: published",
        "Releases (1)",
        "Scores on the report split, with 95 % intervals",
        "Passed the gate (1), scores on the validation split",
        "Held back by the gate (1), scores on the validation split",
        "Search",
        "Accepted (1)",
        "Refused (1)",
    ]
    assert parts[0][1:] == ["  started 2026-11-02 06:00 UTC, ended after 12:34", "  1 releases published�[2J"]
    assert parts[5][1:] == [
        "  40 candidates in 2 generations, 2 on the front, hypervolume 0.5000; 1:01 of",
        "  scoring; the budget is spent",
        "  2 failed: the logits are not finite",
    ]
    assert parts[3][2].split() == ["2", WON[:10], "0.900", "0.800", "better"]
    assert parts[2][1:] == [
        "                     math         cross",
        "  balanced  release  0.900        0.800",
        "                     0.850–0.950  0.750–0.850",
    ]
    assert parts[1][2].split() == ["shoal-demo/small-balanced", "balanced", WON[:10], "e5" * 5]


def test_a_release_shows_who_decided_on_it_and_why(ledger: Ledger, home: Home) -> None:
    record_decision(
        ledger, ReviewDecision("small-1", "balanced", WON, ReviewVerdict.REJECTED, "anna", BEGUN, "too small [a] lead")
    )
    page = read_cycle(ledger, home, "small-1")
    text = shown(pages.layout_cycle(page, (PagePart.RELEASES,)), 200)
    assert "rejected by anna on 2026-11-02: too small [a] lead" in text
    assert json.loads(json.dumps(page.as_json()))["decisions"][0]["note"] == "too small [a] lead"


def test_text_from_the_hub_is_neither_markup_nor_steering(ledger: Ledger, home: Home) -> None:
    page = read_cycle(ledger, home, "small-1")
    wide = shown(pages.layout_cycle(page), 1000)
    assert "  reef/refused  [red]it[/] says nothing, in a reason" in wide
    assert "\x1b" not in wide


def test_a_page_is_plain_json(ledger: Ledger, home: Home) -> None:
    page = json.loads(json.dumps(read_cycle(ledger, home, "small-1").as_json()))
    assert page["state"] == "published" and page["started"] == BEGUN.isoformat()
    assert [candidate["accepted"] for candidate in page["candidates"]] == [True, False]
    assert page["search"]["candidates"] == 40 and "points" not in page["search"]
    assert page["measured"][0]["scores"][0] == {"mean": 0.9, "low": 0.85, "high": 0.95, "n": 40}
    assert page["releases"][0]["repo"] == "shoal-demo/small-balanced"
    running = json.loads(json.dumps(list_cycles(ledger)[0].as_json()))
    assert (running["state"], running["finished"], running["releases"]) == ("running", None, [])


def test_a_cycle_that_has_not_come_far_shows_what_there_is(ledger: Ledger, home: Home) -> None:
    text = shown(pages.layout_cycle(read_cycle(ledger, home, "small-2")))
    assert text.splitlines()[0] == "small-2: running"
    assert "Search" not in text and "gate" not in text
    with pytest.raises(ShoalError, match=r"cycle 'small-9' is not in .*; the newest are: small-2, small-1"):
        read_cycle(ledger, home, "small-9")


def test_an_audition_is_shown_with_the_scores_of_all_who_took_part(ledger: Ledger, home: Home) -> None:
    row = AuditionRow("reef/base", "b1" * 20, "base", (0.25, 0.5), False, "base")
    lost = replace(row, repo="reef/lost", role="candidate", scores=(), reason="could not be scored")
    won = replace(row, repo="reef/won", role="candidate", scores=(0.75, 0.5), chosen=True)
    ledger.keep("small-1", "audition", AuditionSummary(24, 1, (row, lost, won)), AuditionSummary)
    screen = shown(pages.layout_cycle(read_cycle(ledger, home, "small-1"), [PagePart.CANDIDATES]))
    assert "Audition of 2 models for 1 place, scores on 24 items of the search split" in screen
    lines = [line.split() for line in screen.splitlines()]
    assert ["reef/base", "base", "0.250", "0.500"] in lines
    assert ["reef/lost", "candidate", "-", "-"] in lines and [
        "reef/won",
        "candidate",
        "0.750",
        "0.500",
        "chosen",
    ] in lines


def test_guards_are_shown_with_the_limit_in_plan_and_result(ledger: Ledger, home: Home) -> None:
    own, base, difference = Interval(0.6, 0.5, 0.7, 40), Interval(0.58, 0.5, 0.7, 40), Interval(0.02, -0.04, 0.08, 40)
    kept = GuardResult("trivia", "reef/base", 0.05, own, base, difference, -0.03)
    page = read_cycle(ledger, home, "small-1")
    lost = replace(kept, guard="chat", limit=-0.06)
    (row,) = page.measured
    text = shown(pages.layout_cycle(replace(page, measured=(replace(row, guards=(kept, lost)),))), 120)
    (section,) = [part.splitlines() for part in text.split("\n\n") if part.startswith("Guards on the report split")]
    assert [line.split()[1:] for line in section[2:]] == [
        ["trivia", "0.600", "0.580", "of", "reef/base", "+0.020", "(-0.040", "to", "+0.080)", "0.05", "yes"],
        ["chat", "0.600", "0.580", "of", "reef/base", "+0.020", "(-0.040", "to", "+0.080)", "0.05", "not", "shown"],
    ]
    assert "Guards" not in shown(pages.layout_cycle(page))
    power = GuardPower("trivia", 200, 0.05, 0.26, 1237, 0.124)
    plan = RunPlan("small", VERDICTS, None, (), (), "", (power,), ("the gate sees nothing",), None, None)
    text = shown(pages.layout_plan(plan), 200)
    assert (
        "  trivia  0.05         with 200 items a merge as good as the reference passes 26% of the time; "
        "for 80%, use 1237 items or max_drop: 0.124\n\nWarning\n  the gate sees nothing"
    ) in text


def test_a_plan_shows_verdicts_items_and_cost() -> None:
    plan = RunPlan("small", VERDICTS, "apache-2.0", (TASK,), (SEEN,), SEEN_IF.strip(), (), (), COST, None)
    parts = [part.splitlines() for part in shown(pages.layout_plan(plan)).split("\n\n")]
    seen = "The smallest differences that can be seen"
    assert [part[0] for part in parts] == [
        "Accepted (1)",
        "Refused (1)",
        "Items of each task",
        seen,
        "A run would take",
        "Scoring, stage by stage",
    ]
    assert parts[2][2].split() == ["math", "zoo_math_en", "acc", "200", "357", "433"]
    assert parts[3][2:] == ["  math   search  200 items can show ±9.5 points or more", SEEN_IF]
    assert parts[4][1:] == [
        "  download  2.0 GB",
        "  disk      3.0 GB, with the releases",
        "  memory    1.0 GB for all processes: 2 workers on cpu, 1 thread each",
        "  space     18 genes, about 10^26 possible merges; a model chooses among them",
        "  largest   1.0 GB, a merge of 12 layers",
        "  scoring   200 candidates and 6 baselines, about 135,975 item scores",
        "  time      about 6.4 h of scoring, a minute of other work, and the download",
        "  licence   apache-2.0, for the releases",
    ]
    assert parts[5][1:] == [
        "  stage                                 models  item scores  time",
        "  baselines, search split               6       3,600        about 40 s",
        "  search                                200     120,000      60 min, the limit",
        "  releases and baselines, report split  9       12,375       about 5.4 h",
        "  This assumes that the whole budget is used, and that the front is as large as",
        "  a generation.",
    ]
    drawn = shown(pages.layout_plan(replace(plan, cost=replace(COST, drawing="in 1 to 8 steps"))), 200)
    assert "candidates draw in 1 to 8 steps; less of steps × pixels is an objective" in drawn
    audition = shown(pages.layout_plan(replace(plan, cost=replace(COST, auditioned=6))))
    assert "6 candidates compete for 4 places, and all of them are downloaded" in audition
    assert "audition" not in shown(pages.layout_plan(plan))
    unmeasured = shown(pages.layout_plan(replace(plan, cost=replace(COST, seconds=None))))
    assert "  time      not measured: too little memory or disk is free for a trial" in unmeasured
    assert shown(pages.layout_plan(RunPlan("small", (), None, (), (), "", (), (), None, "no candidate"))).startswith(
        "No model was found"
    )
