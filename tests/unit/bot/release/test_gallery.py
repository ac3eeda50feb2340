"""The grid of pictures on a card: rows and columns chosen by rule, equal bytes, and files that are not too large."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from bot.cycle.context import CycleContext
from bot.cycle.steps import draw_galleries
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger
from bot.release.card.gallery import (
    CELL_SIDE,
    GALLERY_ROWS,
    MOST_SOURCES,
    OWN_SIDE,
    choose_gallery_items,
    choose_gallery_models,
    draw_gallery,
    gallery_files,
    grid_facts,
    is_of,
)
from bot.release.plots import grid
from bot.release.plots.grid import grid_plot
from bot.release.plots.palette import GRID, STYLES
from bot.release.results import Gallery, SplitResults
from bot.scoring.evaluator import Evaluation, Failure
from bot.search.baselines import Baseline
from bot.search.results import BaselineKind
from bot.search.selection import Chosen
from evaluation.answers.degenerate import FINE, FLAT
from evaluation.eval_set import (
    DrawingSettings,
    DrawnTask,
    EvalItem,
    EvalSetFacts,
    JudgeDescription,
    Question,
    Sample,
    TaskDescription,
)
from evaluation.picture import encode_png
from evaluation.skills import Skill, SkillTask
from fixtures.cycles import Listener, small_watchlist
from fixtures.png import HOSTILE, chunks
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge

JUDGE = JudgeDescription("rule a.b", None, None)
DRAWN = DrawnTask({"num_inference_steps": 2}, None, JUDGE, JUDGE)
SKILLS = tuple(Skill(name, (SkillTask(task, "score"),)) for name, task in [("form", "a"), ("hue", "a"), ("words", "t")])
PARTITION = Partition.even(2, 1, False, False)


def describe(skill: Skill, drawn: DrawnTask | None) -> TaskDescription:
    (use,) = skill.tasks
    return TaskDescription(skill.name, use.key, use.task, use.metric, "", True, 0, "", "", {}, False, None, drawn=drawn)


def items_of(*numbers: Sequence[int]) -> tuple[EvalItem, ...]:
    """Items by number, a list for each skill."""
    pairs = zip(SKILLS, numbers, strict=False)
    return tuple(EvalItem(skill.name, skill.tasks[0].key, "d", str(number)) for skill, own in pairs for number in own)


def evaluation(name: str, items: Sequence[EvalItem], value: float = 0.5, flag: str = FINE) -> Evaluation:
    return Evaluation(alone(name), tuple(item.scored(value, flag) for item in items), None, 1.0)


def alone(name: str) -> WeightMerge:
    return WeightMerge.single(ModelId(name, "0" * 40), PARTITION, "float32")


def report_of(items: tuple[EvalItem, ...], own: Recipe, *others: tuple[BaselineKind, str, float]) -> SplitResults:
    tasks = tuple(describe(skill, DRAWN if skill.name != "words" else None) for skill in SKILLS)
    facts = EvalSetFacts("set", items, (("a:score", True), ("t:score", True)), tasks, "a prompt")
    baselines = tuple(
        (Baseline(name, kind, alone(name)), evaluation(name, items, value, FLAT)) for kind, name, value in others
    )
    scored = Evaluation(own, tuple(item.scored(1.0, FINE) for item in items), None, 1.0)
    return SplitResults(facts, SKILLS, {own.digest: scored}, baselines, (), 0.95)


def numbers(items: Sequence[EvalItem]) -> list[tuple[str, str]]:
    return [(item.skill, item.item) for item in items]


def test_rows_are_the_first_items_of_each_skill_by_turns_and_a_picture_is_there_once() -> None:
    report = report_of(items_of([5, 1, 2], [1, 9], [7]), alone("own"))
    chosen = choose_gallery_items(report)
    assert numbers(chosen) == [("form", "5"), ("hue", "1"), ("hue", "9"), ("form", "2")]
    apart = replace(report.eval_set, tasks=tuple(replace(task, task=task.skill) for task in report.eval_set.tasks))
    assert choose_gallery_items(replace(report, eval_set=apart)) == chosen  # two tasks that draw the same pictures
    many = report_of(items_of(range(90), range(100, 190), []), alone("own"))
    expected = [(skill, str(number + 100 * (skill == "hue"))) for number, skill in product(range(3), ("form", "hue"))]
    assert numbers(choose_gallery_items(many)) == expected and len(expected) == GALLERY_ROWS
    assert choose_gallery_items(report_of(items_of([], [], [1, 2]), alone("own"))) == ()


def test_columns_are_the_base_the_merge_s_sources_and_the_plain_merge_that_ranks_best() -> None:
    sources = [f"a/{number}" for number in range(MOST_SOURCES + 2)]
    groups = PARTITION
    merge = WeightMerge.single(ModelId(sources[0], "0" * 40), groups, "float32")
    merge = replace(
        merge,
        method="linear",
        sources=tuple(ModelId(name, "0" * 40) for name in sources),
        parameters=(("weight", tuple((1.0,) * len(groups.labels) for _ in sources)),),
    )
    report = report_of(
        items_of([1], [2], [7]),
        merge,
        (BaselineKind.PLAIN, "linear", 0.2),
        (BaselineKind.PLAIN, "slerp", 0.4),
        (BaselineKind.PLAIN, "ties", 0.4),
        *((BaselineKind.SOURCE, name, 0.9) for name in ["a/other", *sources]),
        (BaselineKind.BASE, "a/base", 0.1),
    )
    names = [one.name for one in choose_gallery_models(report, merge)]
    assert names == ["a/base", *sources[:MOST_SOURCES], "slerp"]


class Painters:
    """An evaluator whose models draw squares of one colour, 600 pixels wide; one of them cannot."""

    def __init__(self, broken: str = "") -> None:
        self.broken, self.asked = broken, list[tuple[str, str]]()

    def ask_candidate(self, recipe: Recipe, item: EvalItem) -> Sample | Failure:
        (name,) = {model.name for model in recipe.merged_models}
        self.asked.append((name, item.item))
        if name == self.broken:
            return Failure("out of memory")
        drawing = DrawingSettings(int(item.item), {"negative_prompt": "blur"}, None)
        question = Question(item.skill, "a", f"prompt {item.item}", "", 0, False, 0, drawing=drawing)
        return Sample(question, "", (encode_png(Image.new("RGB", (600, 300), (len(name) * 20, 0, 99))),))


def drawn(broken: str = "") -> tuple[Gallery | Failure, SplitResults, Painters]:
    report = report_of(
        items_of([1, 2], [3], [7]), alone("own"), (BaselineKind.BASE, "a/base", 0.25), (BaselineKind.PLAIN, "mean", 0.5)
    )
    painters = Painters(broken)
    return draw_gallery(painters, report, alone("own")), report, painters  # type: ignore[arg-type]


def test_a_gallery_has_small_pictures_scores_and_faults_and_is_kept_as_it_is() -> None:
    gallery, report, painters = drawn(broken="a/base")
    assert isinstance(gallery, Gallery)
    assert painters.asked == list(product(["own", "a/base", "mean"], ["1", "3", "2"]))  # a model is made once
    kept = TypeAdapter(Gallery).validate_json(TypeAdapter(Gallery).dump_json(gallery))
    assert kept == gallery and is_of(kept, report, alone("own")) and not is_of(kept, report, alone("other"))
    first = gallery.rows[0]
    assert Image.open(io.BytesIO(first.own)).size == (OWN_SIDE, OWN_SIDE // 2)
    assert first.pictures[0] is None and Image.open(io.BytesIO(first.pictures[1] or b"")).width == CELL_SIDE
    facts = grid_facts(gallery, report)
    assert [column.repo for column in facts.columns] == ["a/base", None, None]
    assert [(cell.scores, cell.fault, cell.drawn) for cell in facts.rows[0].cells] == [
        ((0.25,), "flat", False),
        ((0.5,), "flat", True),
        ((1.0,), "", True),
    ]
    assert [(row.prompt, row.seed, row.negative) for row in facts.rows][1] == ("prompt 3", 3, "blur")
    files = dict(gallery_files(gallery, "me/release"))
    assert files.keys() == {facts.picture, *(row.picture for row in facts.rows)}
    assert files == dict(gallery_files(kept, "me/release"))


def test_a_picture_that_two_skills_judge_has_both_scores() -> None:
    items = items_of([1, 2], [2, 1], [7])
    report = report_of(items, alone("own"), (BaselineKind.BASE, "a/base", 0.25))
    mixed = tuple(item.scored(float(item.skill == "form"), FINE) for item in items)
    report = replace(report, merges={alone("own").digest: replace(evaluation("own", items), scores=mixed)})
    gallery = draw_gallery(Painters(), report, alone("own"))  # type: ignore[arg-type]
    assert isinstance(gallery, Gallery)
    facts = grid_facts(gallery, report)
    assert [row.asked for row in facts.rows] == [(("form", "score"), ("hue", "score"))] * 2
    assert [cell.scores for cell in facts.rows[0].cells] == [(0.25, 0.25), (1.0, 0.0)]
    assert facts.skills == ("form", "hue") and facts.several and facts.rows[0].graded


def test_a_cycle_that_is_resumed_draws_nothing_again(tmp_path: Path) -> None:
    own, home = alone("own"), Home(tmp_path)
    _, report, painters = drawn()
    ledger, watchlist = Ledger(home.ledger), small_watchlist()
    cycle = ledger.begin("small", watchlist.digest, datetime(2026, 11, 27, tzinfo=UTC))
    listener = Listener()
    context = CycleContext(watchlist, home, Hub("http://127.0.0.1:9", None), ledger, listener, cycle)
    chosen = [Chosen("balanced", own.digest)]

    def draw(broken: str) -> Mapping[str, Gallery]:
        painters.broken = broken
        return draw_galleries(context, painters, chosen, report)  # type: ignore[arg-type]

    assert draw("own") == {} and listener.said == ["balanced: could not draw the pictures of its card: out of memory"]
    first = draw("")
    assert first.keys() == {own.digest} and draw("own") == first  # a second time it would fail
    hidden = small_watchlist(publish={"tasks": False})
    assert draw_galleries(replace(context, watchlist=hidden), painters, chosen, report) == {}  # type: ignore[arg-type]


def test_a_release_that_cannot_draw_has_no_gallery() -> None:
    gallery, _, _ = drawn(broken="own")
    assert gallery == Failure("out of memory")


def picture(width: int, height: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode_png(Image.fromarray(noise))


COLUMNS = (
    (HOSTILE, BaselineKind.BASE),
    ("a/" + "long-name" * 9, BaselineKind.SOURCE),
    ("me/own", BaselineKind.RELEASE),
)


def test_pictures_are_enlarged_pixel_by_pixel_and_a_missing_one_leaves_its_place() -> None:
    small = picture(4, 2)
    made = Image.open(io.BytesIO(grid_plot(COLUMNS, [[small, None, small]] * 2)))
    assert made.width <= grid.WIDTH
    pixels = np.asarray(made)
    side = min(grid.WIDEST_CELL, (grid.WIDTH - grid._NUMBERS) // 3 - grid._GAP)
    enlarged = np.asarray(Image.open(io.BytesIO(small))).repeat(side // 4, axis=0).repeat(side // 4, axis=1)
    places = np.lib.stride_tricks.sliding_window_view(pixels, enlarged.shape)[:, :, 0]
    corners = {tuple(place) for place in np.argwhere((places[:, ::1, 0, 0] == enlarged[0, 0]).all(axis=2))}
    assert any((places[row, column] == enlarged).all() for row, column in corners)
    colours = {tuple(colour) for colour in pixels.reshape(-1, 3)}
    assert {tuple(bytes.fromhex(text[1:])) for text in (GRID, STYLES[BaselineKind.RELEASE].colour)} <= colours


def test_equal_pictures_give_equal_bytes_and_the_file_is_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [[picture(96, 96, seed) for seed in range(3)] for _ in range(2)]
    made = grid_plot(COLUMNS, rows)
    assert made == grid_plot(COLUMNS, rows)
    assert not {b"tEXt", b"iTXt", b"zTXt", b"tIME"} & set(chunks(made))
    monkeypatch.setattr(grid, "MOST_BYTES", len(made) // 3)
    smaller = grid_plot(COLUMNS, rows)
    assert len(smaller) <= len(made) // 3 and Image.open(io.BytesIO(smaller)).width < Image.open(io.BytesIO(made)).width
