"""The search against problems whose answer is known, its budgets, its failures, and its resumption."""

import math
import random
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from merging.errors import MergingError
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.evolution.pareto import hypervolume, nondominated
from merging.identity import ModelId
from merging.partition import Partition
from merging.spaces.weight_merges import WeightMergeSpace

pytestmark = pytest.mark.slow

MATH, LANGUAGE, CODE = (ModelId(f"org/{name}", "0" * 40) for name in ("math", "language", "code"))
BASE = ModelId("org/base", "f" * 40)
ONE_GROUP = Partition.even(4, 1, modules_apart=False, ends_apart=False)
SIX_GROUPS = Partition.even(4, 2, modules_apart=True, ends_apart=True)


def space_of(method="task_arithmetic", groups=SIX_GROUPS, sources=(MATH, LANGUAGE), step=0.05):
    return WeightMergeSpace.build(
        method=method, sources=sources, base=BASE, groups=groups, dtype="float32", seed=0, step=step
    )


def settings_of(population=12, candidates=60, minutes=None, seed=0):
    return SearchSettings(population, candidates, minutes, seed)


def weights(space, recipe):
    """Weight per source and group, read from a recipe alone; those of a linear merge are its shares."""
    table = np.zeros((len(space.sources), len(space.groups.labels)))
    for source, row in zip(recipe.sources, dict(recipe.parameters)["weight"], strict=True):
        if source in space.sources:  # not the base alone
            table[space.sources.index(source)] = row
    return (table / table.sum(axis=0)).round(9) if recipe.method == "linear" and table.any() else table


def closeness(space, *targets):
    """A problem with a known answer: each objective is minus the squared distance of the weights to a target.

    Its front is the straight line from target to target.
    """

    def evaluate(recipes):
        tables = [weights(space, recipe) for recipe in recipes]
        return [
            Outcome(tuple(-float(((table - target) ** 2).sum()) for target in targets), None, 1.0) for table in tables
        ]

    return evaluate


def random_targets(space, seed, count=2):
    return np.random.default_rng(seed).uniform(0, 1.5, (count, len(space.sources), len(space.groups.labels)))


def always(*scores, seconds=1.0):
    """A problem in which everything scores the same, or fails where no scores are given."""
    return lambda recipes: [Outcome(scores or None, None, seconds) for _ in recipes]


def spoiled(evaluate, outcome, share=0.3):
    """The same problem with some recipes, given by their digests, answered by `outcome`."""

    def is_spoiled(recipe):
        return int(recipe.digest[:8], 16) / 16**8 < share

    def answer(recipes):
        scored = zip(recipes, evaluate(recipes), strict=True)
        return [outcome if is_spoiled(recipe) else good for recipe, good in scored]

    return answer


def digests(result):
    return [one.recipe.digest for one in result.scored]


def points(scored):
    return [one.outcome.objectives for one in scored if one.outcome.objectives is not None]


class Recorder:
    """Counts and checks what the search sends, and remembers outcomes as a ledger would."""

    def __init__(self, evaluate, fail_at=None):
        self.evaluate, self.fail_at = evaluate, fail_at
        self.sent, self.batches, self.known = [], [], {}

    def __call__(self, recipes):
        if len(self.batches) == self.fail_at:
            # A batch is interrupted halfway: what was scored so far is in the record.
            self.remember(recipes[: len(recipes) // 2])
            raise KeyboardInterrupt
        self.batches.append(len(recipes))
        self.sent += [recipe.digest for recipe in recipes]
        self.remember([recipe for recipe in recipes if recipe.digest not in self.known])
        return [self.known[recipe.digest] for recipe in recipes]

    def remember(self, recipes):
        self.known |= {r.digest: o for r, o in zip(recipes, self.evaluate(recipes), strict=True)}


def test_a_small_space_is_searched_through_and_its_front_is_the_known_one():
    space = space_of(groups=ONE_GROUP, step=0.1)
    # From (0.5, 0.5) to (1, 0.5): the six grid points between them and no others are optimal.
    evaluate = closeness(space, np.array([[0.5], [0.5]]), np.array([[1.0], [0.5]]))
    result = evolve(space, settings_of(20, 5000), evaluate, objectives=2)
    found = sorted(tuple(weights(space, one.recipe).ravel()) for one in result.front)
    assert found == [(0.5, 0.5), (0.6, 0.5), (0.7, 0.5), (0.8, 0.5), (0.9, 0.5), (1.0, 0.5)]
    assert len(result.scored) == space.size == 16 * 16
    assert result.stopped == "all 256 recipes of the space are scored"


def test_a_few_hundred_candidates_give_most_of_the_known_front_of_a_large_space():
    space = space_of(groups=Partition.even(4, 4, modules_apart=False, ends_apart=False))
    assert space.size > 1e11
    start, end = np.full((2, 4), 0.5), np.full((2, 4), 1.0)
    ideal = [(-8 * (t / 2) ** 2, -8 * ((1 - t) / 2) ** 2) for t in np.linspace(0, 1, 2001)]
    reference, shares = (-2.0, -2.0), []
    for seed in range(4):
        result = evolve(space, settings_of(20, 600, seed=seed), closeness(space, start, end), objectives=2)
        shares.append(hypervolume(points(result.front), reference) / hypervolume(ideal, reference))
    assert min(shares) > 0.85 and np.mean(shares) > 0.88 and max(shares) <= 1


def test_it_beats_random_search_at_the_same_budget():
    space, wins, shares = space_of(), 0, []
    for seed in range(8):
        evaluate = closeness(space, *random_targets(space, seed))
        result = evolve(space, settings_of(16, 160, seed=seed), evaluate, objectives=2)
        draw = np.random.default_rng(1000 + seed)
        drawn = [space.decode(draw.integers([gene.levels for gene in space.genes])) for _ in range(160)]
        chance = [outcome.objectives for outcome in evaluate(drawn)]
        reference = np.min([*chance, *points(result.scored)], axis=0)
        ours, theirs = (hypervolume(scores, reference) for scores in (points(result.scored), chance))
        wins += ours > theirs
        shares.append(ours / theirs)
    assert wins == 8
    assert np.mean(shares) > 1.1


def test_the_first_generation_has_the_sources_the_base_the_plain_merges_and_random_ones_of_both_kinds():
    for method in ("linear", "slerp", "task_arithmetic", "ties", "dare_ties", "della", "breadcrumbs_ties"):
        space = space_of(method)
        first = evolve(space, settings_of(24, 24), always(0.0, 1.0), objectives=2).scored
        recipes = [one.recipe for one in first]
        singles = list(space.singles())
        assert recipes[: len(singles)] == singles
        assert space.plain_recipes()[-1][1] in recipes
        drawn = recipes[len(space.seeds()) :]
        shared = sum(len(recipe.groups.labels) == 1 for recipe in drawn)
        assert 5 <= shared <= len(drawn) - 5
        assert {one.generation for one in first} == {0}


def test_no_recipe_is_sent_twice_although_many_genomes_mean_the_same():
    space = space_of("linear", groups=Partition.even(4, 2, modules_apart=False, ends_apart=False), step=0.25)
    recorder = Recorder(closeness(space, *random_targets(space, 3)))
    result = evolve(space, settings_of(10, 5000), recorder, objectives=2)
    distinct = {space.decode(np.unravel_index(i, (5, 5, 5, 5))).digest for i in range(space.size)}
    assert len(recorder.sent) == len(set(recorder.sent)) == len(distinct) < space.size
    assert result.stopped == f"all {len(distinct)} recipes of the space are scored"


def test_a_space_too_large_to_list_is_given_up_when_nothing_new_comes(monkeypatch):
    monkeypatch.setattr("merging.evolution.optimizer._PATIENCE", 150)
    space = space_of("linear", groups=Partition.even(4, 2, modules_apart=False, ends_apart=False), step=0.25)
    result = evolve(space, settings_of(10, 5000), closeness(space, *random_targets(space, 3)), objectives=2)
    ratios = {Fraction(a, a + b) for a, b in np.ndindex(5, 5) if a + b}
    assert 0.9 * len(ratios) ** 2 < len(result.scored) <= len(ratios) ** 2
    assert result.stopped == "no new recipe in 150 draws: the space is all but searched through"


@pytest.mark.parametrize("candidates", [1, 5, 12, 30])
def test_the_budget_of_candidates_is_kept_to_the_letter(candidates):
    space = space_of()
    recorder = Recorder(closeness(space, *random_targets(space, 0)))
    result = evolve(space, settings_of(12, candidates), recorder, objectives=2)
    assert len(result.scored) == sum(recorder.batches) == candidates
    assert all(batch == 12 for batch in recorder.batches[:-1])
    assert result.stopped == f"the budget of {candidates} candidates is spent"


def estimating(evaluate, doubtful, *, waiting=False):
    """As `evaluate`, but recipes of which `doubtful` says so take a quarter of the scoring and flattering estimates."""

    def estimated(recipes):
        outcomes = zip(recipes, evaluate(recipes), strict=True)
        return [
            Outcome(tuple(score + 5.0 for score in one.objectives), None, 0.25, 0.25, estimated=True, waiting=waiting)
            if doubtful(recipe)
            else one
            for recipe, one in outcomes
        ]

    return estimated


def test_estimates_guide_the_search_but_are_never_on_a_front_and_leave_budget_for_more_candidates():
    space = space_of()
    seen = []
    evaluate = estimating(closeness(space, *random_targets(space, 1)), lambda recipe: int(recipe.digest, 16) % 4)
    result = evolve(space, settings_of(12, 60), evaluate, objectives=2, on_generation=seen.append)
    assert not any(one.outcome.estimated for generation in seen for one in generation.front)
    assert len(result.scored) > 90
    assert seen[-1].spent == sum(one.outcome.share for one in result.scored)
    assert 58 <= seen[-1].spent <= 63  # the last batch is cut by what candidates took so far
    measured = [one for one in result.scored if not one.outcome.estimated]
    assert {one.recipe for one in result.front} == {measured[i].recipe for i in nondominated(points(measured))}


def test_a_waiting_candidate_is_sent_again_with_each_generation_until_it_is_measured_or_stopped():
    space = space_of()
    exact, sent = closeness(space, *random_targets(space, 1)), Counter()

    def evaluate(recipes):
        sent.update(recipe.digest for recipe in recipes)
        return estimating(exact, lambda recipe: sent[recipe.digest] < 3, waiting=True)(recipes)

    result = evolve(space, settings_of(12, 60), evaluate, objectives=2)
    assert len(set(digests(result))) == len(result.scored)
    assert set(sent.values()) == {1, 2, 3}
    for one in result.scored:
        assert one.outcome.estimated == (sent[one.recipe.digest] < 3)
    assert evolve(space, settings_of(12, 60), Forgetful(exact), objectives=2) == result


class Forgetful:
    """The same outcomes from a process that begins anew."""

    def __init__(self, exact):
        self.exact, self.sent = exact, Counter()

    def __call__(self, recipes):
        self.sent.update(recipe.digest for recipe in recipes)
        return estimating(self.exact, lambda recipe: self.sent[recipe.digest] < 3, waiting=True)(recipes)


def test_once_nothing_new_can_be_bred_those_that_wait_are_asked_for_alone():
    space = space_of("slerp", groups=ONE_GROUP, step=0.25)  # five recipes
    batches = []

    def evaluate(recipes):
        known = {recipe for batch in batches for recipe in batch}
        batches.append(recipes)
        return [Outcome((1.0,), None, 1.0, 0.5, not set(recipes) <= known, not set(recipes) <= known) for _ in recipes]

    result = evolve(space, settings_of(12, 60), evaluate, objectives=1)
    assert [len(batch) for batch in batches] == [5, 5]
    assert not any(one.outcome.estimated for one in result.scored) and len(result.front) == 5


def test_candidates_that_still_wait_after_they_were_sent_alone_are_given_up():
    space = space_of("slerp", groups=ONE_GROUP, step=0.25)  # five recipes
    batches = []

    def evaluate(recipes):
        batches.append(len(recipes))
        assert batches in ([5], [5, 5])
        return [Outcome((1.0,), None, 1.0, 0.5, estimated=True, waiting=True) for _ in recipes]

    result = evolve(space, settings_of(12, 60), evaluate, objectives=1)
    assert batches == [5, 5] and result.front == ()
    assert not any(one.outcome.waiting for one in result.scored)


def test_only_the_most_promising_waiting_candidates_are_sent_if_the_budget_is_not_enough_for_all():
    space = space_of("slerp", groups=ONE_GROUP, step=0.25)  # five recipes
    ranks = {digest: rank for rank, digest in enumerate(sorted(space.decode((level,)).digest for level in range(5)))}
    sent = []

    def evaluate(recipes):
        asked = [ranks[recipe.digest] for recipe in recipes]
        alone = {rank for batch in sent for rank in batch} >= {*asked}
        sent.append(asked)
        full = [Outcome((float(rank),), None, 1.0) for rank in asked]
        half = [replace(one, share=0.5, estimated=True, waiting=True) for one in full]
        return [full[place] if alone or rank == 2 else half[place] for place, rank in enumerate(asked)]

    result = evolve(space, settings_of(12, 4), evaluate, objectives=1)
    assert len({*result.scored}) == 5 and sorted(sent[-1]) == [3, 4]
    assert result.generations[-1].spent == 4
    assert result.stopped == "the budget of 4 candidates is spent"


@pytest.mark.parametrize("candidates", [10, 20, 40, 60])
def test_waiting_candidates_do_not_overrun_the_budget_together_with_a_new_generation(candidates):
    space = space_of()
    exact, sent = closeness(space, *random_targets(space, 1)), Counter()

    def evaluate(recipes):
        sent.update(recipe.digest for recipe in recipes)
        return estimating(exact, lambda recipe: sent[recipe.digest] < 2, waiting=True)(recipes)

    result = evolve(space, settings_of(12, candidates), evaluate, objectives=2)
    assert candidates - 1 < result.generations[-1].spent <= candidates


def test_what_a_forecast_cut_comes_next_until_the_budget_is_spent():
    """The first generation takes all of the scoring, later ones an eighth: the mean so far tells too much of them."""
    space = space_of()
    recorder = Recorder(closeness(space, *random_targets(space, 2)))

    def evaluate(recipes):
        share = 1.0 if not recorder.batches else 0.125
        return [replace(one, share=share) for one in recorder(recipes)]

    result = evolve(space, settings_of(12, 20), evaluate, objectives=2)
    assert recorder.batches[:3] == [12, 8, 4]
    assert len(recorder.sent) == len(set(recorder.sent)) == len(result.scored) > 60
    assert 19.5 <= result.generations[-1].spent <= 20
    assert result.stopped == "the budget of 20 candidates is spent"


def test_what_an_earlier_search_measured_takes_no_place_in_the_budget():
    space = space_of()
    evaluate = closeness(space, *random_targets(space, 2))
    first = evolve(space, settings_of(12, 12), evaluate, objectives=2)
    recorder = Recorder(evaluate)
    second = evolve(space, settings_of(12, 7), recorder, objectives=2, earlier=first)
    assert len(recorder.sent) == 7 and not {*recorder.sent} & {*digests(first)}
    assert len(second.scored) == 12 + 7


def test_waiting_candidates_are_not_sent_alone_because_an_earlier_search_knows_a_whole_generation():
    space = space_of(groups=ONE_GROUP, step=0.1)
    exact = closeness(space, np.array([[0.5], [0.5]]), np.array([[1.0], [0.5]]))
    first = evolve(space, settings_of(12, 200), exact, objectives=2)
    sent = set()

    def evaluate(recipes):
        assert not {recipe.digest for recipe in recipes} <= sent
        sent.update(recipe.digest for recipe in recipes)
        return estimating(exact, lambda _: True, waiting=True)(recipes)

    result = evolve(space, settings_of(2, 5), evaluate, objectives=2, earlier=first)
    assert len(result.scored) == 200 + len(sent) == 220


def test_the_budget_of_minutes_counts_the_recorded_seconds_and_cuts_the_last_batch():
    space = space_of()

    def slowly(recipes):
        return [Outcome(one.objectives, None, 6.0) for one in evaluate(recipes)]

    evaluate = closeness(space, *random_targets(space, 0))
    result = evolve(space, settings_of(12, 1000, minutes=5), slowly, objectives=2)
    assert len(result.scored) == 50
    assert result.stopped == "the budget of 5 minutes is spent"
    first_only = evolve(space, settings_of(12, 1000, minutes=0.01), slowly, objectives=2)
    assert len(first_only.scored) == 12
    assert first_only.stopped == "the budget of 0.01 minutes is spent"


def test_each_generation_reports_the_front_and_hypervolume_of_all_that_was_scored():
    space, seen = space_of(), []
    evaluate = closeness(space, *random_targets(space, 4))
    result = evolve(
        space, settings_of(12, 90), evaluate, objectives=2, reference=(-9.0, -9.0), on_generation=seen.append
    )
    assert tuple(seen) == result.generations and [one.index for one in seen] == list(range(8))
    for generation in seen:
        so_far = result.scored[: generation.scored]
        assert {one.generation for one in so_far} == set(range(generation.index + 1))
        expected = {so_far[index] for index in nondominated(points(so_far))}
        assert set(generation.front) == expected
        assert generation.hypervolume == pytest.approx(hypervolume(points(so_far), (-9.0, -9.0)))
    volumes = [generation.hypervolume for generation in seen]
    assert volumes == sorted(volumes) and volumes[-1] > volumes[0] > 0
    assert result.front == seen[-1].front


def test_the_reference_point_is_a_tenth_of_their_spread_below_the_single_models():
    space = space_of()
    scores = {space.alone(MATH): (0.8, 0.1), space.alone(LANGUAGE): (0.2, 0.7), space.alone(BASE): (0.1, 0.1)}

    def evaluate(recipes):
        return [Outcome(scores.get(recipe, (-5.0, -5.0)), None, 1.0) for recipe in recipes]

    first = evolve(space, settings_of(12, 12), evaluate, objectives=2).generations[0]
    # Below them: 0.1 - 0.07 in the first objective and 0.1 - 0.06 in the second.
    assert first.hypervolume == pytest.approx(hypervolume(list(scores.values()), (0.03, 0.04)))


def test_the_reference_point_is_fixed_by_the_first_success_where_no_single_model_succeeds():
    space = space_of()
    singles = set(space.singles())
    good = closeness(space, *random_targets(space, 4))

    def evaluate(recipes):
        scored = zip(recipes, good(recipes), strict=True)
        return [Outcome(None, "failed", 1.0) if one in singles else outcome for one, outcome in scored]

    volumes = [g.hypervolume for g in evolve(space, settings_of(), evaluate, objectives=2).generations]
    assert volumes == sorted(volumes) and volumes[-1] > volumes[0] > 0


def test_equal_scores_are_all_on_the_front_in_the_order_of_their_digests():
    space = space_of()
    result = evolve(space, settings_of(12, 40), always(1.0, 1.0), objectives=2)
    assert [one.recipe.digest for one in result.front] == sorted(digests(result))


@pytest.mark.parametrize("objectives", [1, 3, 4])
def test_other_numbers_of_objectives_are_searched_too(objectives):
    space = space_of()
    evaluate = closeness(space, *random_targets(space, 6, objectives))
    result = evolve(space, settings_of(12, 240), evaluate, objectives=objectives)
    assert len(result.scored) == 240
    assert set(points(result.front)) == {points(result.scored)[i] for i in nondominated(points(result.scored))}
    assert result.generations[-1].hypervolume > 1.1 * result.generations[0].hypervolume


def test_failed_candidates_count_but_are_never_on_the_front():
    space = space_of()
    failed = Outcome(None, "the worker died", 2.0)
    evaluate = spoiled(closeness(space, *random_targets(space, 1)), failed)
    result = evolve(space, settings_of(12, 120), evaluate, objectives=2)
    failures = [one for one in result.scored if one.outcome.objectives is None]
    assert len(result.scored) == 120 and 20 < len(failures) < 60
    assert {one.outcome for one in failures} == {failed}
    assert result.front and not set(failures) & set(result.front)


def test_the_search_leaves_the_part_of_a_space_where_candidates_fail():
    space = space_of()

    def evaluate(recipes):
        # Nothing but failing or not tells candidates apart: half of the random ones fail.
        fails = [weights(space, recipe).mean() > 0.75 for recipe in recipes]
        return [Outcome(None, "failed", 1.0) if fail else Outcome((1.0, 1.0), None, 1.0) for fail in fails]

    result = evolve(space, settings_of(20, 200), evaluate, objectives=2)
    failed = [one.outcome.objectives is None for one in result.scored]
    assert sum(failed[:20]) > 4 > sum(failed[-40:])


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_a_number_is_a_failure_like_any_other(odd):
    space = space_of()
    clean = closeness(space, *random_targets(space, 1))
    result = evolve(
        space, settings_of(12, 96), spoiled(clean, Outcome((0.5, odd), None, 1.0, errors=(0.1, odd))), objectives=2
    )
    as_failure = spoiled(clean, Outcome(None, "failed", 1.0))
    assert digests(result) == digests(evolve(space, settings_of(12, 96), as_failure, objectives=2))
    reasons = {one.outcome.failure for one in result.scored if one.outcome.objectives is None}
    assert reasons == {f"score 1 is {odd}"}


def test_a_search_in_which_everything_fails_ends_with_an_empty_front():
    space = space_of()
    result = evolve(space, settings_of(12, 50), always(), objectives=2)
    assert len(set(digests(result))) == 50 and result.front == ()
    assert {generation.hypervolume for generation in result.generations} == {0.0}
    assert result.scored[0].outcome.failure == "no scores, and no reason given"


def test_a_search_interrupted_at_any_batch_resumes_to_the_same_end():
    space = space_of()
    evaluate = spoiled(closeness(space, *random_targets(space, 2)), Outcome((0.0, math.nan), None, 1.5), 0.1)
    settings = settings_of(12, 100, minutes=2.5)
    undisturbed = Recorder(evaluate)
    expected = evolve(space, settings, undisturbed, objectives=2)
    assert len(undisturbed.batches) > 6
    for batch in range(len(undisturbed.batches)):
        killed = Recorder(evaluate, fail_at=batch)
        with pytest.raises(KeyboardInterrupt):
            evolve(space, settings, killed, objectives=2)
        resumed = Recorder(evaluate)
        resumed.known = killed.known
        assert evolve(space, settings, resumed, objectives=2) == expected


def test_a_run_depends_on_its_seed_and_on_no_global_random_state():
    space = space_of("dare_ties")
    evaluate = closeness(space, *random_targets(space, 2))

    def restless(recipes):
        random.seed(len(recipes))
        np.random.seed(int(np.random.randint(1000)))
        return evaluate(recipes)

    first = evolve(space, settings_of(seed=5), evaluate, objectives=2)
    random.seed(99)
    np.random.seed(99)
    assert evolve(space, settings_of(seed=5), restless, objectives=2) == first
    other = evolve(space, settings_of(seed=6), evaluate, objectives=2)
    assert digests(other) != digests(first)


def test_scores_steer_the_search():
    space = space_of()
    here, there = (closeness(space, *random_targets(space, seed)) for seed in (1, 2))
    first, second = (digests(evolve(space, settings_of(), e, objectives=2)) for e in (here, there))
    assert first[:12] == second[:12] and not set(first[24:]) & set(second[24:])


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        (lambda recipes: always(1.0, 1.0)(recipes[1:]), "got 11 outcomes for 12 recipes"),
        (always(1.0), "got 1 scores: give one for each of 2"),
        (always(1.0, 1.0, seconds=math.nan), "got nan seconds"),
    ],
)
def test_answers_that_break_the_agreement_are_refused(evaluate, message):
    with pytest.raises(MergingError, match=message):
        evolve(space_of(), settings_of(), evaluate, objectives=2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"population": 1}, "population: got 1"),
        ({"candidates": 0}, "candidates: got 0"),
        ({"minutes": 0}, "minutes: got 0"),
        ({"minutes": math.nan}, "minutes: got nan"),
        ({"seed": -1}, "seed: got -1"),
    ],
)
def test_settings_that_cannot_be_searched_with_are_refused(wrong, message):
    with pytest.raises(MergingError, match=message):
        settings_of(**wrong)
