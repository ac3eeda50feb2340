import pytest

from evaluation.errors import EvaluationError
from evaluation.scores import ItemScore, make_strata, skill_scores, standard_error
from evaluation.skills import Skill, SkillTask
from evaluation.statistics.values import Stratum

ACCURACY, ERROR = SkillTask("sums", "acc", weight=3.0), SkillTask("words", "error")
MIXED = Skill("mixed", (ACCURACY, ERROR))
DIRECTIONS = {ACCURACY.key: True, ERROR.key: False}


def item(task: SkillTask, name: str, value: float, skill: str = "mixed") -> ItemScore:
    return ItemScore(skill, task.key, name, value, None)


SCORES = (
    item(ACCURACY, "b", 1.0),
    item(ACCURACY, "a", 0.0),
    item(ERROR, "a", 0.2),
    item(ERROR, "c", 0.6),
    item(ERROR, "d", 0.4),
    item(ACCURACY, "a", 1.0, skill="other"),
)


def test_a_skill_is_the_weighted_mean_of_its_tasks_with_higher_better() -> None:
    assert skill_scores([MIXED], DIRECTIONS, SCORES) == {"mixed": pytest.approx(0.75 * 0.5 + 0.25 * -0.4)}
    other = Skill("other", (ACCURACY,))
    assert skill_scores([MIXED, other], DIRECTIONS, SCORES)["other"] == 1.0


def test_strata_of_two_models_have_the_same_order() -> None:
    found = make_strata(MIXED, DIRECTIONS, SCORES)
    assert found == make_strata(MIXED, DIRECTIONS, SCORES[::-1])
    assert [s.items for s in found] == [("a", "b"), ("a", "c", "d")]
    assert found[1].values == (-0.2, -0.6, -0.4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (SCORES[:2], "skill mixed: no item of words:error was scored"),
        ([*SCORES, SCORES[0]], "sums:acc: item b was scored twice"),
        ([*SCORES, item(ERROR, "e", float("nan"))], "words:error: item e has the score nan"),
        ([*SCORES, item(ERROR, "e", float("inf"))], "words:error: item e has the score inf"),
    ],
)
def test_missing_double_and_infinite_scores_are_refused(scores: list[ItemScore], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        skill_scores([MIXED], DIRECTIONS, scores)


def test_two_uses_of_a_task_have_keys_of_their_own() -> None:
    uses = [
        SkillTask("gsm8k", "exact_match"),
        SkillTask("gsm8k", "exact_match", "strict-match"),
        SkillTask("gsm8k", "exact_match", "strict-match", num_fewshot=0),
        SkillTask("gsm8k", "exact_match", "strict-match", num_fewshot=5),
    ]
    assert len({use.key for use in uses}) == 4
    assert uses[3].key == "gsm8k:exact_match:strict-match:5-shot"
    with pytest.raises(EvaluationError, match="skill math: gsm8k:exact_match is listed twice"):
        Skill("math", (uses[0], SkillTask("gsm8k", "exact_match", weight=2.0)))


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_a_weight_that_is_not_a_positive_number_is_refused(weight: float) -> None:
    with pytest.raises(EvaluationError, match="task gsm8k: weight is"):
        SkillTask("gsm8k", "acc", weight=weight)


def test_a_skill_without_tasks_and_a_negative_number_of_examples_are_refused() -> None:
    with pytest.raises(EvaluationError, match="skill math: it has no tasks"):
        Skill("math", ())
    with pytest.raises(EvaluationError, match="task gsm8k: num_fewshot is -1"):
        SkillTask("gsm8k", "acc", num_fewshot=-1)


def test_the_standard_error_of_a_skill_is_that_of_its_weighted_rates() -> None:
    strata = [
        Stratum(0.75, tuple("abcd"), (1.0, 1.0, 1.0, 0.0)),
        Stratum(0.25, tuple("efghij"), (0.0, 0.0, 1.0, 1.0, 1.0, 0.0)),
    ]
    expected = (0.75**2 * 0.75 * 0.25 / 4 + 0.25**2 * 0.5 * 0.5 / 6) ** 0.5
    assert standard_error(strata) == pytest.approx(expected)
    assert standard_error([Stratum(1.0, ("a", "b"), (0.5, 0.5))]) == 0
