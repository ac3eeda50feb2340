from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from merging.errors import MergingError
from merging.identity import ModelId
from merging.merge_tensor import merge_tensor
from merging.methods import METHODS
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

pytestmark = pytest.mark.slow

BASE, A, B, C = (ModelId(f"tiny/{name}", name) for name in ("base", "a", "b", "c"))
NAME = "model.layers.0.mlp.up_proj.weight"
WHOLE = Partition.even(1, 1, False, False)

Load = Callable[[ModelId, str], Tensor]


def recipe(method: str, *, dtype: str = "float32", seed: int = 7, **values: tuple[float, ...]) -> WeightMerge:
    """One group; `values` are a parameter's values, one per source (or one that all share). As a search normalises."""
    rule = METHODS[method]
    fixed = {
        name: (parameter.searched_as,) for name, parameter in rule.parameters.items() if parameter.searched_as == 0
    }
    rows = tuple((name, tuple((value,) for value in row)) for name, row in {**fixed, **values}.items())
    sources = (A, B, C)[: len(values["weight"]) if "weight" in values else rule.max_sources]
    return WeightMerge(method, sources, BASE if rule.needs_base else None, WHOLE, rows, dtype, seed)


def tensors(*shape: int, dtype: torch.dtype = torch.float32) -> Load:
    """A load function over random tensors: siblings of one base."""
    generator = torch.Generator().manual_seed(1)
    base = torch.randn(shape, generator=generator)
    found = {BASE: base, **{ref: base + 0.3 * torch.randn(shape, generator=generator) for ref in (A, B, C)}}
    return lambda source, _: found[source].to(dtype)


WEIGHTS = (0.7, 0.4, 0.35)
DENSITIES = (0.3, 0.6, 0.8)
RECIPES = [
    recipe("linear", weight=WEIGHTS),
    recipe("slerp", t=(0.35,)),
    recipe("nuslerp", weight=(0.7, 0.4)),
    recipe("multislerp", weight=WEIGHTS),
    recipe("karcher"),
    recipe("task_arithmetic", weight=WEIGHTS),
    recipe("ties", weight=(0.7, 0.4, 1.35), density=(0.3, 0.6, 1.0)),
    recipe("dare_linear", weight=WEIGHTS, density=DENSITIES),
    recipe("dare_ties", weight=WEIGHTS, density=DENSITIES),
    recipe("della", weight=WEIGHTS, density=DENSITIES),
    recipe("della_linear", weight=WEIGHTS, density=DENSITIES),
    recipe("breadcrumbs", weight=WEIGHTS, density=DENSITIES),
    recipe("breadcrumbs_ties", weight=WEIGHTS, density=DENSITIES, gamma=(0.1, 0.2, 0.3)),
    recipe("sce", select_topk=(0.3,)),
    recipe("model_stock"),
    recipe("nearswap", t=(0.1,)),
    recipe("arcee_fusion"),
    recipe("ram", epsilon=(0.1,)),
    recipe("ramplus_tl", epsilon=(0.1,)),
    recipe("passthrough", scale=(0.7,)),
]
BY_METHOD = {example.method: example for example in RECIPES}


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_every_method_that_a_recipe_may_name_is_there() -> None:
    assert [example.method for example in RECIPES] == list(METHODS)


def test_linear_is_the_weighted_mean() -> None:
    load = tensors(30, 20)
    merged = merge_tensor(BY_METHOD["linear"], NAME, load)
    expected = np.average([load(ref, NAME).numpy() for ref in (A, B, C)], axis=0, weights=(0.7, 0.4, 0.35))
    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_slerp_keeps_the_length_and_shares_the_angle_out() -> None:
    x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    merged = merge_tensor(recipe("slerp", t=(1 / 3,)), NAME, lambda source, _: x if source == A else y)
    expected = [2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]
    torch.testing.assert_close(merged, torch.tensor(expected))


@pytest.mark.parametrize("y", [[1.0, 2.0, 3.001], [-1.0, -2.0, -3.0], [0.0, 0.0, 0.0]])
def test_slerp_of_what_has_no_angle_between_stays_finite(y: list[float]) -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    merged = merge_tensor(recipe("slerp", t=(0.25,)), NAME, lambda source, _: x if source == A else torch.tensor(y))
    if any(y):
        torch.testing.assert_close(merged, 0.75 * x + 0.25 * torch.tensor(y))
    else:
        torch.testing.assert_close(merged, math.sin(0.75 * math.pi / 2) * x)


BY_VECTOR = [
    recipe("nuslerp", weight=(0.7, 0.4), nuslerp_flatten=(0,)),
    recipe("nuslerp", weight=(0.7, 0.4), nuslerp_flatten=(0,), nuslerp_row_wise=(1,)),
    replace(BY_METHOD["model_stock"], sources=(A, B, C), parameters=(("filter_wise", ((1.0,),)),)),
]


@pytest.mark.parametrize("example", [*RECIPES, *BY_VECTOR], ids=lambda example: example.method)
def test_a_single_number_is_a_vector_of_one_and_nothing_merges_into_nothing(example: WeightMerge) -> None:
    number, vector = tensors(), tensors(1)
    assert number(A, NAME) == vector(A, NAME)[0]
    assert torch.equal(merge_tensor(example, NAME, number), merge_tensor(example, NAME, vector)[0])
    for shape in ((0,), (0, 3), (3, 0)):
        assert merge_tensor(example, NAME, tensors(*shape)).shape == shape


def test_multislerp_without_any_weight_leaves_the_base_or_nothing() -> None:
    unweighted = recipe("multislerp", weight=(0.0, 0.0), normalize_weights=(0,))
    load = tensors(5, 8)
    assert not merge_tensor(unweighted, NAME, load).any()
    assert torch.equal(merge_tensor(replace(unweighted, base=BASE), NAME, load), load(BASE, NAME))


def test_multislerp_of_what_no_model_has_changed_is_the_base() -> None:
    frozen = torch.randn(5, 8)
    unchanged = merge_tensor(replace(BY_METHOD["multislerp"], base=BASE), NAME, lambda *_: frozen)
    assert torch.equal(unchanged, frozen)


def test_task_arithmetic_adds_differences() -> None:
    load = tensors(30, 20)
    base, *sources = (load(ref, NAME).numpy() for ref in (BASE, A, B, C))
    weighted = [weight * (x - base) for weight, x in zip((0.7, 0.4, 0.35), sources, strict=True)]
    expected = base + np.sum(weighted, axis=0)
    np.testing.assert_allclose(
        merge_tensor(BY_METHOD["task_arithmetic"], NAME, load).numpy(), expected, rtol=1e-5, atol=1e-6
    )


def ties_by_hand(base: float, differences: list[float], weights: list[float]) -> float:
    """TIES' election for one element whose differences are trimmed already."""
    weighted = [weight * difference for weight, difference in zip(weights, differences, strict=True)]
    sign = 1 if sum(weighted) >= 0 else -1
    return base + sum(value for value in weighted if value * sign > 0)


def test_ties_trims_and_elects_element_by_element() -> None:
    load = tensors(5, 8)
    base = load(BASE, NAME).flatten().tolist()
    trimmed = []
    for ref, density in ((A, 0.3), (B, 0.6), (C, 1.0)):
        difference = (load(ref, NAME) - load(BASE, NAME)).flatten().tolist()
        smallest = sorted(map(abs, difference), reverse=True)[int(density * 40) - 1]
        trimmed.append([value if abs(value) >= smallest else 0.0 for value in difference])
    expected = [ties_by_hand(b, list(row), [0.7, 0.4, 1.35]) for b, *row in zip(base, *trimmed, strict=True)]
    torch.testing.assert_close(merge_tensor(BY_METHOD["ties"], NAME, load).flatten(), torch.tensor(expected))


def test_trimming_among_equals_keeps_exactly_the_share_asked_for() -> None:
    values = {BASE: torch.zeros(10), A: torch.tensor([1.0, -1.0] * 5)}
    merged = merge_tensor(recipe("ties", weight=(1.0,), density=(0.3,)), NAME, lambda source, _: values[source])
    assert merged.tolist() == [1.0, -1.0, 1.0] + [0.0] * 7


def test_a_long_tensor_is_trimmed_as_a_whole() -> None:
    generator = torch.Generator().manual_seed(1)
    difference = torch.randint(-9, 10, (300_001,), generator=generator).float()
    values = {BASE: torch.zeros(300_001), A: difference}
    merged = merge_tensor(recipe("ties", weight=(1.0,), density=(0.37,)), NAME, lambda source, _: values[source])
    largest = np.argsort(-np.abs(difference.numpy()), stable=True)[: int(0.37 * 300_001)]
    expected = np.zeros(300_001, dtype=np.float32)
    expected[largest] = difference.numpy()[largest]
    np.testing.assert_array_equal(merged.numpy(), expected)


def test_a_density_too_small_for_a_tensor_keeps_its_largest_element() -> None:
    values = {BASE: torch.zeros(4), A: torch.tensor([1.0, -3.0, 2.0, 0.0])}
    merged = merge_tensor(recipe("ties", weight=(1.0,), density=(0.1,)), NAME, lambda source, _: values[source])
    assert merged.tolist() == [0.0, -3.0, 0.0, 0.0]


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_dare_keeps_the_share_asked_for_and_scales_it_up(method: str) -> None:
    values = {BASE: torch.zeros(100, 100), A: torch.ones(100, 100)}
    merged = merge_tensor(recipe(method, weight=(0.5,), density=(0.4,)), NAME, lambda source, _: values[source])
    # The density is a number of sixteen bits, and what it became is what survivors are scaled by.
    density = round(0.4 * 2**16) / 2**16
    assert merged.unique().tolist() == pytest.approx([0.0, 0.5 / density])
    # 10,000 draws: four standard deviations are 0.02.
    assert (merged > 0).float().mean().item() == pytest.approx(0.4, abs=0.02)


def test_dare_with_density_one_is_the_method_without_it() -> None:
    load = tensors(30, 20)
    for method, plain in (("dare_linear", "task_arithmetic"), ("dare_ties", "ties")):
        density = {"density": (1.0, 1.0, 1.0)}
        drawn = merge_tensor(recipe(method, weight=(0.7, 0.4, 0.35), **density), NAME, load)
        values = {} if plain == "task_arithmetic" else density
        assert torch.equal(drawn, merge_tensor(recipe(plain, weight=(0.7, 0.4, 0.35), **values), NAME, load))


def test_dare_draws_anew_for_each_seed_tensor_and_source() -> None:
    load = tensors(50, 50)

    def kept(name: str = NAME, *, seed: int = 7, source: int = 0) -> Tensor:
        weights = [0.0, 0.0]
        weights[source] = 1.0
        thin = recipe("dare_linear", seed=seed, weight=(weights[0], weights[1]), density=(0.5, 0.5))
        return merge_tensor(thin, name, load) != load(BASE, name)

    draws = [kept(), kept(NAME.replace("up", "down")), kept(seed=8), kept(source=1)]
    for index, draw in enumerate(draws):
        for other in draws[:index]:
            assert (draw == other).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(draws[0], kept())


def test_della_keeps_an_element_by_the_rank_of_its_magnitude_and_its_value_on_average() -> None:
    rows, width = 4000, 50
    generator = torch.Generator().manual_seed(3)
    ranks = torch.argsort(torch.rand(rows, width, generator=generator), dim=1)
    signs = torch.where(torch.rand(rows, width, generator=generator) < 0.5, -1.0, 1.0)
    values = {BASE: torch.zeros(rows, width), A: (1.0 + ranks) * signs}
    thin = recipe("della_linear", weight=(1.0,), density=(0.5,), epsilon=(0.3,))
    merged = merge_tensor(thin, NAME, lambda source, _: values[source])
    of_rank = merged.gather(1, torch.argsort(ranks, dim=1))
    expected = torch.linspace(0.2, 0.8, width)
    # 4,000 draws: four standard deviations are 0.032, and of the mean value 4 sqrt((1 - p) / p / 4000) at most 0.13.
    torch.testing.assert_close((of_rank != 0).float().mean(dim=0), expected, rtol=0, atol=0.032)
    means = of_rank.abs().mean(dim=0) / (1 + torch.arange(width))
    torch.testing.assert_close(means, torch.ones(width), rtol=0, atol=0.13)
    kept = of_rank.abs()[of_rank != 0] * expected.expand(rows, width)[of_rank != 0]
    torch.testing.assert_close(kept, kept.round(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("size", "digest"), [(64, "3bcb01c9e5889a36"), (300_001, "bfed6919cb0cffcb")])
def test_the_draw_is_pinned_for_releases_are_rebuilt_from_it(size: int, digest: str) -> None:
    values = {BASE: torch.zeros(size), A: torch.ones(size)}
    thin = recipe("dare_linear", weight=(0.5,), density=(0.5,))
    survives = merge_tensor(thin, NAME, lambda source, _: values[source]) > 0
    assert hashlib.sha256(survives.numpy().tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("example", RECIPES, ids=lambda example: example.method)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_bits_do_not_depend_on_the_number_of_threads(
    example: WeightMerge, dtype: torch.dtype, threads: Callable[[int], None]
) -> None:
    load = tensors(370_003, dtype=dtype)
    results = []
    for count in (1, 2):
        threads(count)
        results.append(merge_tensor(example, NAME, load))
    assert torch.equal(*results)


@pytest.mark.parametrize("example", RECIPES, ids=lambda example: example.method)
def test_sources_are_never_written_to_and_never_handed_out(example: WeightMerge) -> None:
    load = tensors(20, 30)
    held = {ref: load(ref, NAME) for ref in (BASE, A, B, C)}
    before = {ref: tensor.clone() for ref, tensor in held.items()}
    merge_tensor(example, NAME, lambda source, _: held[source]).fill_(9)
    assert all(torch.equal(held[ref], before[ref]) for ref in held)


@pytest.mark.parametrize(
    "example",
    [
        recipe("linear", weight=(0.3,)),
        recipe("linear", weight=(0.3, 0.0)),
        recipe("slerp", t=(0.0,)),
        recipe("slerp", t=(1.0,)),
    ],
)
def test_a_source_alone_comes_back_bit_for_bit_and_the_other_is_not_read(example: WeightMerge) -> None:
    wanted = B if example.parameters == (("t", ((1.0,),)),) else A
    tensor = torch.tensor([0.1, -0.0, 3e-40, -7.5])
    read = []

    def load(source: ModelId, _: str) -> Tensor:
        read.append(source)
        return tensor

    merged = merge_tensor(example, NAME, load)
    assert torch.equal(merged.view(torch.int32), tensor.view(torch.int32))
    assert read == [wanted]
    merged.fill_(1)
    assert tensor[3] == -7.5


def test_equal_bfloat16_tensors_merge_into_themselves() -> None:
    tensor = tensors(1000, dtype=torch.bfloat16)(A, NAME)
    merged = merge_tensor(recipe("linear", dtype="bfloat16", weight=(0.3, 0.3, 0.4)), NAME, lambda *_: tensor)
    assert torch.equal(merged, tensor)


def test_without_any_weight_there_is_the_base() -> None:
    load = tensors(20)
    for method in ("task_arithmetic", "ties", "dare_linear", "dare_ties", "della", "breadcrumbs"):
        values = {
            name: (0.0 if name == "weight" else 0.5,) * 2
            for name in {"weight", "density"} & {*METHODS[method].parameters}
        }
        assert torch.equal(merge_tensor(recipe(method, **values), NAME, load), load(BASE, NAME))


@pytest.mark.parametrize("broken", [BASE, B])
@pytest.mark.parametrize("elements", [1, 300 * 40, 300 * 600])
@pytest.mark.parametrize("method", [name for name, rule in METHODS.items() if rule.max_sources != 1])
def test_what_is_no_number_is_refused_by_the_tensor_s_name(method: str, elements: int, broken: ModelId) -> None:
    load = tensors(300, 600)
    load(broken, NAME).view(-1)[:elements] = torch.nan
    if broken == BASE and not METHODS[method].needs_base:
        merge_tensor(BY_METHOD[method], NAME, load)
    else:
        with pytest.raises(MergingError, match=f"^tensor {NAME}: "), np.errstate(invalid="ignore"):
            merge_tensor(BY_METHOD[method], NAME, load)
