"""The work of a run, stage by stage, and the time that it takes at a known speed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bot.cycle.probe.layers import choose_depths
from bot.cycle.probe.timing import LinearTime
from bot.cycle.workload import StageWork, cost_stages, list_stages
from evaluation.splits import Split
from fixtures.small_repos import watchlist
from fixtures.tiny_models import tiny_model
from merging.models.building import stored_weights

ITEMS = {Split.SEARCH: 10, Split.VALIDATION: 20, Split.REPORT: 30}


@dataclass(frozen=True)
class Steady:
    """A second for the model, a tenth for each item; half as much for each item of a candidate if these are quick."""

    quick: bool = False

    def model_seconds(self, split: Split, items: int, *, is_candidate: bool) -> float:
        assert items == ITEMS[split]
        return 1 + (0.05 if self.quick and is_candidate else 0.1) * items


def stages(*, staged: bool = False, minutes: float | None = None) -> dict[str, StageWork]:
    search = {"population": 6, "budget": {"candidates": 40, "minutes": minutes}}
    asked = watchlist(search=search, publish={"mode": "off", "max_releases": 2})
    return {one.stage: one for one in list_stages(asked, ITEMS, 5, staged=staged)}


def test_every_stage_that_scores_is_listed_with_all_its_item_scores() -> None:
    assert {name: (stage.models, stage.item_scores) for name, stage in stages().items()} == {
        "baselines, search split": (5, 50),
        "search": (40, 400),
        "front, validation split": (6, 120),
        "baselines, validation split": (5, 100),
        "written releases, validation split": (2, 40),
        "releases and baselines, report split": (7, 210),
    }
    assert stages(staged=True)["choice between the stages"].item_scores == 120


def test_the_time_of_a_stage_follows_from_its_turns_on_all_workers() -> None:
    costs = {cost.stage: cost for cost in cost_stages(list(stages().values()), 2, Steady())}
    assert costs["search"].seconds == pytest.approx(20 * 2)
    assert costs["baselines, search split"].seconds == pytest.approx(3 * 2)  # two, two, and one alone
    assert costs["written releases, validation split"].seconds == pytest.approx(2 * 3)  # one after the other
    assert not any(cost.limited for cost in costs.values())


def test_candidates_that_draw_in_fewer_steps_take_less_than_the_baselines_beside_them() -> None:
    costs = {cost.stage: cost for cost in cost_stages(list(stages(staged=True).values()), 2, Steady(quick=True))}
    assert costs["search"].seconds == pytest.approx(20 * 1.5)
    assert costs["baselines, search split"].seconds == pytest.approx(3 * 2)
    assert costs["front, validation split"].seconds == pytest.approx(3 * 2)
    assert costs["choice between the stages"].seconds == pytest.approx(3 * 2)
    assert costs["written releases, validation split"].seconds == pytest.approx(2 * 2)
    assert costs["releases and baselines, report split"].seconds == pytest.approx(4 * (2 * 2.5 + 5 * 4) / 7)


def test_the_watchlist_s_minutes_end_the_search_alone() -> None:
    costs = {cost.stage: cost for cost in cost_stages(list(stages(minutes=0.5).values()), 2, Steady())}
    assert (costs["search"].seconds, costs["search"].limited) == (30, True)
    assert [name for name, cost in costs.items() if cost.limited] == ["search"]
    (roomy,) = cost_stages([stages(minutes=1)["search"]], 2, Steady())
    assert (roomy.seconds, roomy.limited) == (pytest.approx(40), False)


def test_a_machine_that_was_not_measured_has_counts_and_no_time() -> None:
    costs = cost_stages(list(stages().values()), 2, None)
    assert [cost.seconds for cost in costs] == [None] * 6
    assert sum(cost.item_scores for cost in costs) == 920


@pytest.mark.parametrize(
    ("measured", "layers", "seconds"),
    [({1: 2.0, 3: 3.0}, 30, 16.5), ({1: 2.0}, 1, 2.0), ({1: 2.0, 3: 1.9}, 30, 2.0)],
)
def test_two_depths_give_the_time_of_any(measured: dict[int, float], layers: int, seconds: float) -> None:
    """A deeper model that was faster by chance does not make a deep one take no time."""
    assert LinearTime.through(measured).at(layers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("kind", "layers", "depths"),
    [
        ("llama", 6, [1, 3]),
        ("llama", 2, [1, 2]),
        ("mixtral", 6, [1, 3]),
        ("deepseek-v3", 6, [2, 4]),  # the first layer is dense
        ("jamba", 6, [2, 4]),  # the second has attention
        ("jamba", 2, [2]),
    ],
)
def test_a_layer_of_each_make_is_measured(kind: str, layers: int, depths: list[int]) -> None:
    shapes = {name: tuple(one.shape) for name, one in stored_weights(tiny_model(kind, seed=0, layers=layers)).items()}
    assert choose_depths(shapes, layers) == depths
