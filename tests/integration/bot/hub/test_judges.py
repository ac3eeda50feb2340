"""Judges are models of the Hub at pinned commits: looked up before a search, fetched as sources are, never merged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.cycle.context import CycleContext
from bot.cycle.dry_run import make_plan
from bot.cycle.probe import timing
from bot.cycle.sources import prepare_judges
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.judges import find_judges, judge_folders
from bot.ledger.ledger import Ledger
from bot.watchlist.watchlist import Watchlist
from evaluation.pictures.drawing import Painter
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.pictures.judges.similarity import SimilarityJudge
from evaluation.splits import Split
from evaluation.suites import SUITES
from fixtures.cycles import Listener
from fixtures.image_pool import BASE, TAG, publish_image_pool
from fixtures.picture_tasks import write_picture_task
from fixtures.tiny_judges import write_clip
from fixtures.tiny_painters import make_pipeline
from localhub import Running, running
from merging.models.transformers_cache import cache_in

FIRST, SECOND = "jury/clip", "jury/other"
NO_LIMITS: Mapping[str, object] = {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("jury")
    with running(folder / "hub") as server, cache_in(folder / "cache"):
        publish_image_pool(server.store)
        for seed, repo in enumerate((FIRST, SECOND)):
            files = judge_files(folder / repo, seed)
            server.store.commit(repo, files | {"model.fp16.safetensors": b"another variant", "onnx/model.onnx": b""})
        yield server


def judge_files(folder: Path, seed: int = 0) -> dict[str, bytes]:
    folder.mkdir(parents=True)
    write_clip(folder, seed)
    card = b"---\nlicense: mit\n---\n# A judge\n"
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {"README.md": card}


def client(server: Running) -> Hub:
    return Hub(server.endpoint, None, sleep=lambda _: None)


DRAWN = {"steps": [1, 7], "picture_sizes": [16, 24], "racing": None}


@dataclass
class Clock:
    """A clock that runs by what was done."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    def run_in(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, seconds: Callable[..., float]) -> None:
        """Let the work of a method take so many seconds."""
        genuine = getattr(owner, name)

        def timed(*given: Any) -> Any:
            self.now += seconds(*given)
            return genuine(*given)

        monkeypatch.setattr(owner, name, timed)


def judged_by(
    folder: Path, first: str, second: JudgeRepo, *, watch: Mapping[str, object] = NO_LIMITS, search: object = None
) -> Watchlist:
    """A watchlist with a task that has these judges. first: as the task's file has it, `repo: …, revision: …`."""
    report = {"similarity": {"repo": second.repo, "revision": second.revision}}
    tasks = write_picture_task(folder, f"similarity: {{{first}}}", report_judge=report)
    values = {
        "name": "jury",
        "kind": "image",
        "watch": {"tags": [TAG], "pipeline_tag": "text-to-image", **watch},
        "base": BASE,
        "task_folders": [str(tasks)],
        "skills": [{"name": "colours", "tasks": [{"task": "colours", "metric": "score"}]}],
        "publish": {"mode": "off"},
        "search": search or {},
        "workers": {"count": 1, "threads": 1, "device": "cpu"},
    }
    return Watchlist.model_validate_json(json.dumps(values))


def named(server: Running, repo: str) -> JudgeRepo:
    return JudgeRepo(repo, server.store.head(repo))


def text(judge: JudgeRepo) -> str:
    return f"repo: {judge.repo}, revision: '{judge.revision}'"


def test_both_judges_are_fetched_once_and_the_suite_asks_them(server: Running, tmp_path: Path) -> None:
    one, two = named(server, FIRST), named(server, SECOND)
    watchlist = judged_by(tmp_path / "tasks", text(one), two)
    home, listener = Home(tmp_path / "home"), Listener()
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(watchlist.name, watchlist.digest, datetime.now(UTC))
    context = CycleContext(watchlist, home, client(server), ledger, listener, cycle)
    prepare_judges(context)
    assert [(judge.repo, judge.licence) for judge in context.judges] == [(one, "mit"), (two, "mit")]
    folders = judge_folders(context.judges, home.sources)
    assert {path.name for path in folders[one].glob("*.safetensors")} == {"model.safetensors"}
    server.faults.clear()
    prepare_judges(context)  # a cycle that resumes asks for nothing
    assert not server.faults.seen
    suite = SUITES["image"](watchlist.asked_skills, watchlist.task_paths, watchlist.split_sizes, 0, folders)
    painter = suite.wrap(make_pipeline(), {}, "cpu", 4)
    for split in (Split.SEARCH, Split.REPORT):
        scores = suite.build(split, {}, ()).score(painter)
        assert len({score.value for score in scores}) > 1


def test_the_plan_counts_what_sources_and_judges_take(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchlist = judged_by(tmp_path / "tasks", text(named(server, FIRST)), named(server, SECOND), search=DRAWN)
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", clock)
    clock.run_in(monkeypatch, SimilarityJudge, "judge", lambda _, pictures, __: len(pictures))
    clock.run_in(monkeypatch, Painter, "_draw", lambda _, sampler, batch: len(batch) * sampler.cost / 16**2)
    server.faults.clear()
    plan = make_plan(client(server), watchlist, datetime.now(UTC))
    assert "tokenizer.json" in (seen := str(server.faults.seen)) and "model.safetensors" in seen  # of it the headers
    judges = find_judges(client(server), watchlist)
    assert plan.cost is not None and len(judges) == 2
    assert plan.cost.drawing == "in 1 to 7 steps at 16, 24 pixels a side"
    stages = {one.stage: one for one in plan.cost.stages}
    # Two steps and a second of judging, as the task says; four steps and 1.625 times as many pixels in the mean.
    for stage, seconds in (("baselines, search split", 2 + 1), ("search", 4 * 1.625 + 1)):
        assert stages[stage].seconds == pytest.approx(stages[stage].item_scores * seconds)
    sizes = sum(judge.download_bytes for judge in judges)
    assert plan.cost.download - sizes == _pool_bytes(server) and plan.cost.disk > plan.cost.download
    assert [task.metric for task in plan.tasks] == ["score"]


def _pool_bytes(server: Running) -> int:
    """Bytes of the sources' files that merges need: the cards of tiny pipelines are the only others."""
    api = client(server).api
    return sum(
        file.size or 0
        for model in api.list_models(filter=TAG)
        for file in api.model_info(model.id, files_metadata=True).siblings or ()
        if file.rfilename not in ("README.md", ".gitattributes")
    )


def test_a_judge_that_cannot_be_used_is_one_line_before_the_search(server: Running, tmp_path: Path) -> None:
    files = judge_files(tmp_path / "judge")
    config = json.loads(files["config.json"])
    odd = {
        "jury/pickled": {name: content for name, content in files.items() if name != "model.safetensors"}
        | {"pytorch_model.bin": b"pickle"},
        "jury/coded": files | {"config.json": json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}).encode()},
        "jury/empty": {"README.md": files["README.md"]},
    }
    for repo, content in odd.items():
        server.store.commit(repo, content)
    words = {
        JudgeRepo(FIRST, "0" * 40): "the Hub has no such revision",
        JudgeRepo("jury/nobody", "0" * 40): "not on the Hub, or private",
        named(server, "jury/pickled"): "its weights are pickled, without safetensors",
        named(server, "jury/coded"): "it needs custom code (auto_map in its config)",
        named(server, "jury/empty"): "it has no config.json",
    }
    for number, (repo, reason) in enumerate(words.items()):
        watchlist = judged_by(tmp_path / str(number), text(repo), named(server, SECOND))
        with pytest.raises(ShoalError) as stopped:
            find_judges(client(server), watchlist)
        assert str(stopped.value) == f"judge {repo}: {reason}; name another model in the task's file"
    few = judged_by(tmp_path / "few", text(named(server, FIRST)), named(server, SECOND), watch={"max_bytes": 1000})
    with pytest.raises(ShoalError, match=r"its files are [0-9,]+ bytes, more than watch.max_bytes \(1,000\)"):
        find_judges(client(server), few)
