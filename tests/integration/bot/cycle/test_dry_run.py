"""`shoal plan`: what a run would find and cost, without touching anything."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.numpy import load_file

from bot.cli.pages import layout_plan
from bot.cycle.dry_run import RunPlan, make_plan
from evaluation.errors import EvaluationError
from evaluation.statistics.power import detectable_difference
from fixtures import cycles
from fixtures.cycles import BASE, LANGUAGE, MATH, REPORT, SEARCH, VALIDATION, client, small_watchlist
from fixtures.data_sets import ask_for_data_at
from localhub import Running
from zoo.repo import WEIGHTS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hub")
    cycles.stock(folder / "stocked")
    with cycles.copy_of(folder / "stocked", folder / "hub") as server:
        yield server


def unmeasured(*_: object) -> None:
    """A machine without the memory for even a few layers."""


def test_a_plan_asks_for_headers_only_and_changes_nothing(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`test_bot_cycle` holds its numbers against those of a run."""
    monkeypatch.chdir(tmp_path)
    hub = client(server)
    fetched, genuine = [], hub.download

    def download(repo: str, sha: str, path: str, folder: Path, *more: object) -> Path:
        fetched.append(path)
        return genuine(repo, sha, path, folder, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "download", download)
    server.faults.clear()
    plan = make_plan(hub, small_watchlist(), datetime.now(UTC), measure=unmeasured)
    assert {method for method, _ in server.faults.seen} <= {"GET", "HEAD"}
    assert not [path for path in fetched if path.endswith((".safetensors", ".bin"))]
    assert list(tmp_path.iterdir()) == []
    assert {verdict.repo for verdict in plan.verdicts if verdict.accepted} >= {MATH, LANGUAGE}
    assert plan.refusal is None and plan.cost is not None and plan.licence is not None
    releases = small_watchlist().publish.max_releases
    assert releases == 2 and plan.cost.disk == plan.cost.download + releases * plan.cost.largest > plan.cost.download
    check_what_can_be_seen(plan)


def check_what_can_be_seen(plan: RunPlan) -> None:
    """Per skill and split, with each split's own correction, as a sentence, on the terminal and for machines."""
    assert plan.cost is not None
    search, validation, report = plan.visible[:3]
    population = small_watchlist().search.population
    assert [one.items for one in plan.visible[:3]] == [SEARCH, VALIDATION, REPORT]
    assert [one.tests for one in plan.visible[:3]] == [1, 2 * population, 2 * plan.cost.baselines]
    alpha = 1 - small_watchlist().gate.confidence
    assert search.difference is not None and search.difference == detectable_difference(SEARCH, alpha)
    assert validation.alpha == pytest.approx(alpha / validation.tests)
    assert report.alpha == pytest.approx(0.05 / 2 / report.tests)
    assert search.description == f"{SEARCH} items can show ±{100 * search.difference:.1f} points or more"
    screen = io.StringIO()
    Console(file=screen, width=250).print(layout_plan(plan))
    assert all(one.description in screen.getvalue() for one in plan.visible)
    assert json.loads(json.dumps(plan.as_json()))["visible"][0]["split"] == "search"


@pytest.mark.parametrize(("space", "parts"), [("dataflow", 3), ("both", 4)])
def test_a_plan_shows_the_size_of_the_largest_space_and_of_the_largest_merge(
    server: Running, space: str, parts: int
) -> None:
    """From three sources two stages may use the layers of four models: the second stage has weight merges too."""
    dataflow = {"models": 4, "repeats": 2, "max_layers": 5}
    plan = make_plan(
        client(server),
        small_watchlist(search={"space": space, "dataflow": dataflow}),
        datetime.now(UTC),
        measure=unmeasured,
    )
    assert plan.cost is not None
    layers, levels = 2, 21
    slots = 2 * parts * layers
    paths = 2 * math.log10(parts) + slots * math.log10(2 * levels)  # the ends, and for each slot whether and how large
    assert plan.cost.genes == 2 + 2 * slots
    assert plan.cost.space_log10 == pytest.approx(paths, abs=0.06)
    sizes = {name: weight.nbytes for name, weight in load_file(WEIGHTS / "math" / "model.safetensors").items()}
    one_layer = sum(size for name, size in sizes.items() if ".layers.1." in name)
    assert (plan.cost.layers, plan.cost.largest) == (5, sum(sizes.values()) + 3 * one_layer)


def test_a_plan_warns_of_a_dtype_that_the_processor_is_slow_with(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.scoring.dtype_speed.measure_slowness", lambda dtype: {"bfloat16": 3.7}[dtype])
    watched = small_watchlist(search={"dtype": "bfloat16"}, workers={"device": "cpu"})
    plan = make_plan(client(server), watched, datetime.now(UTC), measure=unmeasured)
    assert [one for one in plan.warnings if one.startswith("search.dtype: bfloat16 takes 3.7 × as long as float32")]


def test_a_plan_names_the_sources_whose_layers_are_left_out(server: Running) -> None:
    sources = [{"repo": MATH}, {"repo": LANGUAGE}, {"repo": BASE}]
    watched = small_watchlist(
        watch={"authors": {"allow": ["nobody-at-all"]}},
        pinned=sources,
        base=None,
        search={"space": "dataflow", "dataflow": {"models": 2}},
    )
    plan = make_plan(client(server), watched, datetime.now(UTC), measure=unmeasured)
    assert plan.cost is not None and plan.cost.left_out == (BASE,)
    screen = io.StringIO()
    Console(file=screen, width=250).print(layout_plan(plan))
    assert f"the layers of {BASE}: raise search.dataflow.models" in screen.getvalue()


def test_a_plan_without_a_pool_still_shows_every_verdict_and_why(server: Running) -> None:
    lonely = small_watchlist(watch={"authors": {"allow": ["abacus-works"]}})
    plan = make_plan(client(server), lonely, datetime.now(UTC), measure=unmeasured)
    assert plan.cost is None and plan.refusal is not None
    assert plan.refusal.startswith(f"one source only ({MATH})")
    assert [verdict.repo for verdict in plan.verdicts if verdict.accepted] == [MATH]
    assert [(task.task, task.search, task.validation, task.report) for task in plan.tasks] == [
        ("zoo_math_en", SEARCH, VALIDATION, REPORT),
        ("zoo_math_ja", SEARCH, VALIDATION, REPORT),
    ]


def test_a_plan_with_a_wrong_metric_fails_before_the_hub_is_asked(server: Running) -> None:
    server.faults.clear()
    wrong = [{"name": "math", "tasks": [{"task": "zoo_math_en", "metric": "accuracy"}]}]
    with pytest.raises(EvaluationError, match="accuracy"):
        make_plan(client(server), small_watchlist(skills=wrong), datetime.now(UTC), measure=unmeasured)
    assert server.faults.seen == []


def test_a_plan_without_data_shows_the_candidates_and_names_all_such_tasks(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_for_data_at(monkeypatch, server.endpoint, tmp_path / "cache")
    tasks = [{"task": name, "metric": "acc"} for name in ("arc_easy", "zoo_math_en", "piqa")]
    for authors, repos in (({}, {MATH, LANGUAGE}), ({"allow": ["abacus-works"]}, {MATH})):
        watchlist = small_watchlist(skills=[{"name": "all", "tasks": tasks}], watch={"authors": authors})
        plan = make_plan(client(server), watchlist, datetime.now(UTC), measure=unmeasured)
        assert {verdict.repo for verdict in plan.verdicts if verdict.accepted} >= repos
        assert (plan.tasks, plan.visible, plan.cost) == ((), (), None) and plan.refusal is not None
        lines = plan.refusal.splitlines()
        assert [line.partition(" is not on this machine")[0] for line in lines[-2:]] == [
            "task arc_easy: its data set allenai/ai2_arc ARC-Easy",
            "task piqa: its data set baber/piqa",
        ]
        assert len(lines) == (2 if len(repos) > 1 else 3)
        screen = io.StringIO()
        Console(file=screen, width=250).print(layout_plan(plan))
        assert MATH in screen.getvalue() and "Items of each task" not in screen.getvalue()


@pytest.mark.parametrize("first", [MATH, LANGUAGE])
def test_a_plan_says_which_skill_asks_in_another_way_than_the_sources_were_tuned_for(
    server: Running, first: str, tmp_path: Path
) -> None:
    """One source has a chat template, as a file of its own or in the tokenizer's config; the other has none."""
    with cycles.copy_of(server.store.root, tmp_path / "hub") as hub:
        config = json.loads(hub.store.read(MATH, "tokenizer_config.json"))
        as_file = {"chat_template.jinja": "{{ messages }}"}
        in_config = {"tokenizer_config.json": json.dumps({**config, "chat_template": "{{ messages }}"})}
        hub.store.commit(MATH, as_file if first == MATH else in_config)
        skills = [
            {"name": name, "tasks": [{"task": task, "metric": "acc"}], "chat_template": chat}
            for name, task, chat in (("math", "zoo_math_en", False), ("cross", "zoo_math_ja", True))
        ]
        other = LANGUAGE if first == MATH else MATH
        watchlist = small_watchlist(
            skills=skills, pinned=[{"repo": first}, {"repo": other}], watch={"authors": {"allow": ["nobody-at-all"]}}
        )
        plan = make_plan(client(hub), watchlist, datetime.now(UTC), measure=unmeasured)
    plain, chat = plan.warnings
    assert plain.startswith(f"skills[0].chat_template: math asks without a chat template, but {MATH} has one; ")
    assert chat.startswith(f"skills[1].chat_template: cross asks with the chat template of {first}, but {LANGUAGE} h")
    screen = io.StringIO()
    Console(file=screen, width=300).print(layout_plan(plan))
    assert plain in screen.getvalue() and chat in screen.getvalue()
    if first == MATH:
        assert plan.refusal is None and plan.cost is not None
    else:
        refusal = (
            f"skills[1].chat_template: got true: {LANGUAGE}, whose tokenizer the merges use, has no chat template;"
        )
        assert plan.refusal is not None and plan.refusal.startswith(refusal)
