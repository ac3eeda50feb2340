"""Which members are released, and under which names."""

from __future__ import annotations

from bot.search.results import Comparison, GateResult
from bot.search.selection import SMALLEST, choose_releases, list_roles, make_repo_name


def gate_result(recipe: str, scores: tuple[float, ...], passed: bool = True) -> GateResult:
    return GateResult(recipe, scores, passed, "", 0.01, 0.05, ())


FRONT = [gate_result("left", (1.0, 0.1)), gate_result("knee", (0.9, 0.9)), gate_result("right", (0.1, 1.0))]


def test_the_knee_and_the_extremes_are_chosen_with_their_roles() -> None:
    chosen = {(one.role, one.recipe) for one in choose_releases(FRONT, ["math", "language"], 3)}
    assert chosen == {("balanced", "knee"), ("best-math", "left"), ("best-language", "right")}


def test_a_limit_keeps_the_knee() -> None:
    assert [one.recipe for one in choose_releases(FRONT, ["math", "language"], 1)] == ["knee"]


def test_those_held_back_and_those_dominated_on_validation_are_not_chosen() -> None:
    others = [gate_result("star", (2.0, 2.0), passed=False), gate_result("dominated", (0.8, 0.8))]
    recipes = {one.recipe for one in choose_releases([*FRONT, *others], ["math", "language"], 9)}
    assert recipes == {"left", "knee", "right"}


def test_nobody_passed_means_nothing_is_chosen() -> None:
    assert choose_releases([gate_result("a", (1.0, 1.0), passed=False)], ["math", "language"], 3) == ()


def test_every_role_is_given_once_even_where_one_member_leads_in_several_skills() -> None:
    front = [gate_result("a", (1.0, 1.0, 0.0)), gate_result("b", (1.0, 0.0, 1.0)), gate_result("c", (0.9, 0.9, 0.9))]
    roles = [one.role for one in choose_releases(front, ["x", "y", "z"], 5)]
    assert len(roles) == len(set(roles)) and roles[0] == "balanced"


def test_with_a_single_skill_the_best_is_released_as_such() -> None:
    (one,) = choose_releases([gate_result("a", (0.3,)), gate_result("b", (0.7,))], ["math"], 3)
    assert (one.role, one.recipe) == ("best-math", "b")


def test_where_depth_is_an_objective_the_smallest_is_released_though_it_leads_in_no_skill() -> None:
    front = [*FRONT, gate_result("small", (0.7, 0.7)), gate_result("no smaller, no better", (0.6, 0.6))]
    depths = {"left": 9, "knee": 8, "right": 8, "small": 4, "no smaller, no better": 4}
    skills = ["math", "language"]
    chosen = {one.role: one.recipe for one in choose_releases(front, skills, 4, depths)}
    assert chosen == {"balanced": "small", "best-math": "left", "best-language": "right"}
    depths["knee"] = 5
    chosen = {one.role: one.recipe for one in choose_releases(front, skills, 4, depths)}
    assert chosen == {"balanced": "knee", "smallest": "small", "best-math": "left", "best-language": "right"}
    assert {one.role for one in choose_releases(front, skills, 2, depths)} == {"balanced", "smallest"}
    roles = set(list_roles(skills, SMALLEST))
    assert set(chosen) < roles > set(list_roles(skills, None))


def test_with_a_single_skill_depth_gives_two_more_roles() -> None:
    front = [gate_result("deep", (0.9,)), gate_result("middle", (0.85,)), gate_result("shallow", (0.2,))]
    chosen = choose_releases(front, ["math"], 3, {"deep": 6, "middle": 4, "shallow": 3})
    assert [(one.role, one.recipe) for one in chosen] == [
        ("balanced", "middle"),
        ("smallest", "shallow"),
        ("best-math", "deep"),
    ]


def test_a_member_is_called_the_best_only_where_no_baseline_is_better() -> None:
    def against(recipe: str, scores: tuple[float, float], math: float, language: float) -> GateResult:
        """A member, and how far it is from two baselines in each skill: one is much worse in both."""
        tests = [
            ("strong", "math", math),
            ("strong", "language", language),
            ("weak", "math", 0.5),
            ("weak", "language", 0.5),
        ]
        comparisons = tuple(
            Comparison(name, skill, found, found - 0.1, found + 0.1, 0.2) for name, skill, found in tests
        )
        return GateResult(recipe, scores, True, "", 0.01, 0.05, comparisons)

    front = [
        against("left", (0.53, 0.1), -0.47, 0.05),
        against("knee", (0.5, 0.9), -0.5, -0.1),
        against("right", (0.1, 1.0), -0.9, 0.0),
    ]
    skills = ["math", "language"]
    chosen = {one.role: one.recipe for one in choose_releases(front, skills, 3)}
    assert chosen == {"balanced": "knee", "towards-math": "left", "best-language": "right"}
    assert set(chosen) <= set(list_roles(skills, None))


def test_skills_may_be_called_as_roles_are() -> None:
    front = [gate_result("left", (1.0, 0.1)), gate_result("knee", (0.9, 0.9)), gate_result("right", (0.1, 1.0))]
    roles = {one.role for one in choose_releases(front, ["balanced", "smallest"], 3)}
    assert roles == {"balanced", "best-balanced", "best-smallest"}


def test_repo_names_follow_the_pattern_and_the_licence() -> None:
    assert make_repo_name("{watchlist}-{cycle}-{role}", "tiny", 3, "balanced", None) == "tiny-3-balanced"
    assert make_repo_name("{watchlist}-{role}", "tiny", 3, "balanced", "Llama") == "Llama-tiny-balanced"
    assert make_repo_name("Llama-x-{role}", "tiny", 3, "balanced", "Llama") == "Llama-x-balanced"
