"""`shoal plan`: what a run would find and cost, without touching anything."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import zoo_ground
from rich.console import Console
from zoo_ground import LANGUAGE, MATH, REPORT, SEARCH, VALIDATION, client, small_watchlist

from bot.plan import Plan, make_plan
from bot.shop import now
from bot.terminal import plan_page
from evaluation.errors import EvaluationError
from evaluation.power import detectable_difference
from localhub import Running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hub")
    zoo_ground.stock(folder / "stocked")
    with zoo_ground.copy_of(folder / "stocked", folder / "hub") as server:
        yield server


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
    plan = make_plan(hub, small_watchlist(), now())
    assert {method for method, _ in server.faults.seen} <= {"GET", "HEAD"}
    assert not [path for path in fetched if path.endswith((".safetensors", ".bin"))]
    assert list(tmp_path.iterdir()) == []
    assert {verdict.repo for verdict in plan.verdicts if verdict.accepted} >= {MATH, LANGUAGE}
    assert plan.refusal is None and plan.cost is not None and plan.licence is not None
    check_what_can_be_seen(plan)


def check_what_can_be_seen(plan: Plan) -> None:
    """Per skill and split, with each split's own correction, in words, on the terminal and for machines."""
    assert plan.cost is not None
    search, validation, report = plan.visible[:3]
    population = small_watchlist().search.population
    assert [one.items for one in plan.visible[:3]] == [SEARCH, VALIDATION, REPORT]
    assert [one.tests for one in plan.visible[:3]] == [1, 2 * population, 2 * plan.cost.rivals]
    alpha = 1 - small_watchlist().gate.confidence
    assert search.difference is not None and search.difference == detectable_difference(SEARCH, alpha)
    assert validation.alpha == pytest.approx(alpha / validation.tests)
    assert report.alpha == pytest.approx(0.05 / 2 / report.tests)
    assert search.words == f"with {SEARCH} items you cannot see less than ±{100 * search.difference:.1f} points"
    screen = io.StringIO()
    Console(file=screen, width=250).print(plan_page(plan))
    assert all(one.words in screen.getvalue() for one in plan.visible)
    assert json.loads(json.dumps(plan.as_json()))["visible"][0]["split"] == "search"


def test_a_plan_without_a_pool_still_tells_every_verdict_and_why(server: Running) -> None:
    lonely = small_watchlist(watch={"authors": {"allow": ["abacus-works"]}})
    plan = make_plan(client(server), lonely, now())
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
        make_plan(client(server), small_watchlist(skills=wrong), now())
    assert server.faults.seen == []
