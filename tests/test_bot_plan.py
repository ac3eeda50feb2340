"""`shoal plan`: what a run would find and cost, without touching anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import zoo_ground
from zoo_ground import LANGUAGE, MATH, REPORT, SEARCH, VALIDATION, client, small_watchlist

from bot.plan import make_plan
from bot.shop import now
from evaluation.errors import EvaluationError
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
