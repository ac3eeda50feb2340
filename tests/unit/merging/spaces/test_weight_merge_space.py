"""The grid of genes: what a genome means, and that one merge has one name."""

import itertools
import random
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from fractions import Fraction

import pytest
import torch

from merging.errors import MergingError
from merging.identity import ModelId
from merging.merge_tensor import merge_tensor
from merging.methods import METHODS, searched_methods
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace
from merging.specs.genes import INCLUDED

pytestmark = pytest.mark.slow

MATH, LANGUAGE, CODE = (ModelId(f"org/{name}", "0" * 40) for name in ("math", "language", "code"))
BASE = ModelId("org/base", "f" * 40)
TWO_BANDS = Partition.even(4, 2, modules_apart=False, ends_apart=False)
ENDS_APART = Partition.even(4, 2, modules_apart=True, ends_apart=True)
SEARCHED = searched_methods()
TASK_METHODS = tuple(name for name in SEARCHED if METHODS[name].needs_base and "weight" in METHODS[name].parameters)
BY_ELEMENT = ("sce", "ram", "ramplus_tl")


def space_of(method, sources=(MATH, LANGUAGE), groups=TWO_BANDS, step=0.05, base=BASE, seed=7):
    return WeightMergeSpace.build(
        method=method, sources=sources, base=base, groups=groups, dtype="float32", seed=seed, step=step
    )


def all_genomes(space):
    return itertools.product(*(range(gene.levels) for gene in space.genes))


def random_genomes(space, count, seed=0):
    draw = random.Random(seed)
    return [tuple(draw.randrange(gene.levels) for gene in space.genes) for _ in range(count)]


def values_of(space, genome):
    """(parameter, source, group) → value."""
    genes = zip(space.genes, genome, strict=True)
    return {(gene.parameter, gene.source, gene.group): gene.value(index) for gene, index in genes}


def literal_recipe(space, genome):
    """What a genome says when read word for word, with nothing made canonical."""
    values = values_of(space, genome)
    columns = range(len(space.groups.labels))
    parameters = []
    for name, parameter in METHODS[space.method].parameters.items():
        rows = range(len(space.sources) if parameter.per_source else 1)
        if parameter.gene:
            parameters.append((name, tuple(tuple(values[name, row, col] for col in columns) for row in rows)))
        elif parameter.searched_as is not None:
            parameters.append((name, (tuple(parameter.searched_as for _ in columns),)))
    chosen = [source for row, source in enumerate(space.sources) if values.get((INCLUDED, row, None), 1)]
    return WeightMerge(
        space.method, tuple(chosen), space.base, space.groups, tuple(parameters), space.dtype, space.seed
    )


def is_a_merge(space, genome):
    """False for what a recipe refuses: no sources, weights to divide by that are all zero, too large an epsilon."""
    try:
        literal_recipe(space, genome)
    except MergingError:
        return False
    return True


def test_a_canonical_recipe_merges_to_the_tensors_that_its_genome_literally_says():
    generator = torch.Generator().manual_seed(1)
    names = ("model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight", "lm_head.weight")
    tensors = {
        (source, name): torch.randn(8, 16, generator=generator)
        for source in (BASE, MATH, LANGUAGE, CODE)
        for name in names
    }
    for method in SEARCHED:
        sources = (MATH, LANGUAGE) if METHODS[method].max_sources == 2 else (MATH, LANGUAGE, CODE)
        space = space_of(method, sources, groups=TWO_BANDS, step=0.5)
        genomes = [genome for genome in random_genomes(space, 120, seed=3) if is_a_merge(space, genome)]
        genomes += [
            one for one in space.seeds() if is_a_merge(space, one) or not METHODS[method].search.chooses_sources
        ]
        changed = 0
        for genome in genomes:
            canonical, literal = space.decode(genome), literal_recipe(space, genome)
            changed += canonical != literal
            for name in names:
                got = merge_tensor(canonical, name, lambda source, name: tensors[source, name])
                expected = merge_tensor(literal, name, lambda source, name: tensors[source, name])
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
        assert changed > 5, f"{method}: nothing was made canonical, so nothing was tested"


def test_linear_genomes_are_one_recipe_exactly_when_their_weight_ratios_are_equal():
    space = space_of("linear", sources=(MATH, LANGUAGE, CODE), step=0.25)
    digests = defaultdict(set)
    for genome in all_genomes(space):
        shares = []
        for group in range(2):
            weights = genome[group::2]
            weights = weights if any(weights) else (1, 1, 1)
            shares.append(tuple(Fraction(weight, sum(weights)) for weight in weights))
        digests[tuple(shares)].add(space.decode(genome).digest)
    assert all(len(names) == 1 for names in digests.values())
    assert len(set().union(*digests.values())) == len(digests) < space.size


@pytest.mark.parametrize("method", ["task_arithmetic", "ties"])
def test_task_vector_genomes_are_one_recipe_exactly_when_they_say_the_same(method):
    space = space_of(method, step=0.5)
    digests = defaultdict(set)
    for genome in all_genomes(space):
        values = values_of(space, genome)
        meaning = tuple(
            (weight, values.get(("density", source, group)) if weight else None)
            for (parameter, source, group), weight in values.items()
            if parameter == "weight"
        )
        digests[meaning].add(space.decode(genome).digest)
    assert all(len(names) == 1 for names in digests.values())
    assert len(set().union(*digests.values())) == len(digests)


@pytest.mark.parametrize("method", SEARCHED)
def test_a_model_alone_is_one_recipe_whatever_the_method_and_the_groups(method):
    spaces = [space_of(method), space_of(method, groups=ENDS_APART, step=0.1), space_of(method, seed=8)]
    expected = [MATH, LANGUAGE, *([BASE] if method in TASK_METHODS else [])]
    expected = [] if method in BY_ELEMENT else expected[:1] if method == "nearswap" else expected
    for space in spaces:
        decoded = [space.decode(genome) for genome in space.seeds()[: len(expected)]]
        assert decoded == [spaces[0].alone(source) for source in expected]
        assert set(decoded) <= set(space.singles())
        assert all(recipe.method == "linear" and recipe.base is None for recipe in decoded)


def test_the_plain_merges_are_on_the_grid_and_named_as_the_baselines_are():
    for method in SEARCHED:
        space = space_of(method, groups=ENDS_APART)
        plain = space.plain_recipes()
        decoded = [space.decode(genome) for genome in space.seeds()]
        assert plain[0][0] == "linear mean"
        assert plain[0][1] == space_of("linear").plain_recipes()[0][1]
        assert plain[-1][1] in decoded or method == "ram", "RAM's customary threshold is below the grid's first step"
        assert len(plain) == (1 if method == "linear" else 2)
    ties = dict(space_of("ties").plain_recipes())["ties, weight 1, density 0.2"]
    spelt = {"density": ((0.2,), (0.2,)), "normalize": ((0.0,),), "weight": ((1.0,), (1.0,))}
    assert dict(ties.parameters) == spelt


def test_a_mean_of_task_vectors_is_a_seed_where_the_grid_has_it():
    spaces = [space_of("task_arithmetic", sources) for sources in ((MATH, LANGUAGE), (MATH, LANGUAGE, CODE))]
    found = [{space.decode(genome) for genome in space.seeds()} for space in spaces]
    means = [dict(space.plain_recipes())["linear mean"] for space in spaces]
    assert means[0] in found[0], "over a base, half of each task vector is the mean of the sources"
    assert means[1] not in found[1], "a third is not on a grid of twentieths"
    assert len(found[1]) == len(spaces[1].singles()) + 1


UNTHINNED = {"dare_linear": "task_arithmetic", "della_linear": "task_arithmetic", "breadcrumbs": "task_arithmetic"}
UNTHINNED |= {"dare_ties": "ties", "della": "ties", "breadcrumbs_ties": "ties", "ties": "ties"}
UNTHINNED |= {"task_arithmetic": "task_arithmetic"}


@pytest.mark.parametrize(("method", "plain"), UNTHINNED.items())
def test_task_vectors_of_which_nothing_is_dropped_are_one_recipe_whatever_the_method(method, plain):
    trio = (MATH, LANGUAGE, CODE)
    spaces = [space_of(name, trio, groups=ENDS_APART, step=0.25) for name in (method, plain)]
    draw = random.Random(1)
    for _ in range(40):
        weights = {
            (source, group): draw.choice([0, 1, 2, 5]) for source in range(3) for group in range(len(ENDS_APART.labels))
        }
        genomes = [
            tuple(
                weights[gene.source, gene.group]
                if gene.parameter == "weight"
                else gene.levels - 1
                if gene.parameter == "density"
                else draw.randrange(gene.levels)
                for gene in space.genes
            )
            for space in spaces
        ]
        first, second = (space.decode(genome) for space, genome in zip(spaces, genomes, strict=True))
        assert first == second


@pytest.mark.parametrize("method", [name for name, plain in UNTHINNED.items() if plain == "task_arithmetic"])
def test_task_vectors_whose_weights_add_up_to_one_are_the_linear_merge(method):
    trio = (MATH, LANGUAGE, CODE)
    space, linear = space_of(method, trio, step=0.05), space_of("linear", trio, step=0.05)

    def point(space, *columns):
        def value(gene):
            if gene.parameter == "weight":
                return columns[gene.group][gene.source]
            return 1.0 if gene.parameter == "density" else gene.low

        return tuple(gene.index(value(gene)) for gene in space.genes)

    for columns in (((0.5, 0.5, 0.0),) * 2, ((0.75, 0.05, 0.2), (0.3, 0.0, 0.7)), ((0.4, 0.3, 0.3), (0.0, 0.0, 1.0))):
        merged = space.decode(point(space, *columns))
        assert merged == linear.decode(point(linear, *columns))
        assert (merged.method, merged.base) == ("linear", None)
    for columns in (((0.5, 0.5, 0.05),) * 2, ((0.5, 0.5, 0.0), (0.5, 0.45, 0.0))):
        assert space.decode(point(space, *columns)).method == "task_arithmetic"
    pair = space_of(method, (MATH, LANGUAGE))
    halves = pair.decode(point(pair, (0.5, 0.5), (0.5, 0.5)))
    assert halves == dict(pair.plain_recipes())["linear mean"]


def test_values_are_exact_decimals_of_the_grid():
    for method, step in itertools.product(SEARCHED, (0.05, 0.1, 0.02, 0.25, 0.125)):
        space = space_of(method, step=step)
        for gene in space.genes:
            values = [gene.value(index) for index in range(gene.levels)]
            assert values == sorted(set(values))
            if gene.parameter in (INCLUDED, "filter_wise"):
                assert values == [0, 1] and [gene.index(value) for value in values] == [0, 1]
                continue
            unit = Decimal(str(METHODS[method].genes[gene.parameter].unit))
            assert gene.low == values[0] and gene.high == values[-1]
            if gene.parameter != "epsilon" or method == "ram":
                assert float(unit) in values
            assert all((Decimal(str(value)) - unit) % (Decimal(str(step)) * unit) == 0 for value in values)
            assert [gene.index(value) for value in values] == list(range(gene.levels))
        recipe = space.decode(random_genomes(space, 1)[0])
        searched = dict(recipe.parameters).keys() & METHODS[method].genes
        numbers = {value for name in searched for row in recipe.rows(name) for value in row}
        numbers -= {parameter.default for parameter in METHODS[method].parameters.values()}
        assert numbers <= {gene.value(index) for gene in space.genes for index in range(gene.levels)}


def test_methods_without_weights_are_searched_by_which_sources_take_part():
    trio = (MATH, LANGUAGE, CODE)
    merges = {subset for size in (2, 3) for subset in itertools.combinations(trio, size)}
    for method, spellings in (("karcher", 1), ("model_stock", 4)):
        space = space_of(method, trio)
        assert space.size == 8 * spellings
        recipes = {space.decode(genome) for genome in all_genomes(space)}
        assert recipes - set(space.singles()) == {recipe for recipe in recipes if recipe.method == method}
        assert {recipe.sources for recipe in recipes if recipe.method == method} == merges
        assert len(recipes) == len(trio) + spellings * len(merges)
    fusion = space_of("arcee_fusion")
    recipes = {fusion.decode(genome) for genome in all_genomes(fusion)}
    assert {(recipe.method, recipe.sources) for recipe in recipes} == {
        ("linear", (MATH,)),
        ("linear", (LANGUAGE,)),
        ("arcee_fusion", (MATH, LANGUAGE)),
    }


def test_density_never_reaches_zero():
    low = {step: space_of("ties", step=step).genes[0].low for step in (0.05, 0.1, 0.25, 0.5, 1.0)}
    assert low == {0.05: 0.1, 0.1: 0.1, 0.25: 0.25, 0.5: 0.5, 1.0: 1.0}


def test_della_never_leaves_a_probability_outside_of_0_to_1():
    space = space_of("della", step=0.1)
    for genome in random_genomes(space, 300):
        recipe = space.decode(genome)
        densities, epsilons = (recipe.rows(name) for name in ("density", "epsilon")) if recipe.base else ((), ())
        for density, epsilon in zip(sum(densities, ()), sum(epsilons, ()), strict=True):
            assert density == 1 or 0 < density - epsilon <= density + epsilon < 1


def test_only_methods_that_draw_carry_the_seed():
    genome = {method: random_genomes(space_of(method), 1)[0] for method in SEARCHED}
    seeds = {method: space_of(method, seed=7).decode(genome[method]).seed for method in SEARCHED}
    assert {method for method, seed in seeds.items() if seed == 7} == {
        "dare_linear",
        "dare_ties",
        "della",
        "della_linear",
    }
    assert set(seeds.values()) == {0, 7}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "average"}, "method: got 'average'"),
        ({"method": "passthrough"}, "method: got 'passthrough': the layers of its one source are searched as paths"),
        ({"method": "linear", "step": 0.3}, "step: got 0.3"),
        ({"method": "linear", "step": 0}, "step: got 0"),
        ({"method": "linear", "step": 1 / 3}, "step: got 0.333"),
        ({"method": "slerp", "sources": (MATH, LANGUAGE, CODE)}, "sources: got 3: slerp needs exactly 2"),
        ({"method": "ties", "base": None}, "base: got none"),
        ({"method": "ties", "sources": (MATH, BASE)}, "name each model once"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_when_it_is_built(wrong, message):
    with pytest.raises(MergingError, match=message):
        space_of(**wrong)


@pytest.mark.parametrize(
    ("genome", "message"),
    [((0, 0, 0), "got 3 indices"), ((0, 0, 0, 21), "got 21"), ((0, -1, 0, 0), "got -1")],
)
def test_a_genome_off_the_grid_is_refused(genome, message):
    with pytest.raises(MergingError, match=message):
        space_of("linear").decode(genome)
    with pytest.raises(MergingError, match="got 2 for included of source 1: give 0 to 1"):
        space_of("karcher").decode((1, 2))


def test_the_space_is_imported_without_heavy_libraries():
    heavy = "{'torch', 'pymoo', 'numpy', 'transformers'}"
    code = f"import sys, merging.spaces.weight_merges; print(*{heavy} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""
