from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import pytest

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge

A, B, C = (ModelId(f"someone/{name}", name * 40) for name in "abc")
WHOLE = Partition.even(4, 1, False, False)


def linear(weights: tuple[tuple[float, ...], ...], groups: Partition = WHOLE) -> WeightMerge:
    return WeightMerge("linear", (A, B), None, groups, (("weight", weights),), "float32", 0)


def test_a_recipe_survives_json_with_its_digest() -> None:
    groups = Partition.even(4, 2, True, True)
    rows = tuple(tuple(0.1 * (1 + row + group) for group in range(6)) for row in range(2))
    recipe = WeightMerge("ties", (A, B), C, groups, (("weight", rows), ("density", rows)), "bfloat16", 3)
    again = WeightMerge.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again == recipe
    assert again.digest == recipe.digest
    assert [name for name, _ in recipe.parameters] == ["density", "weight"]
    assert recipe.values("weight", "model.layers.2.self_attn.k_proj.weight") == (rows[0][3], rows[1][3])


def test_the_digest_changes_with_everything_in_the_recipe_and_with_nothing_else() -> None:
    recipe = linear(((0.5,), (0.0,)))
    assert recipe.digest == linear(((0.5,), (-0.0,))).digest
    assert linear(((1,), (0,))).digest == linear(((1.0,), (0.0,))).digest
    others = [
        dataclasses.replace(recipe, sources=(B, A)),
        dataclasses.replace(recipe, dtype="bfloat16"),
        dataclasses.replace(recipe, seed=1),
        dataclasses.replace(recipe, groups=Partition.even(5, 1, False, False)),
        linear(((0.5,), (0.05,))),
    ]
    assert len({recipe.digest, *(other.digest for other in others)}) == 6


def test_a_default_that_is_spelt_out_is_the_same_recipe() -> None:
    spelt = WeightMerge(
        "linear", (A, B), None, WHOLE, (("normalize", ((1.0,),)), ("weight", ((0.5,), (0.5,)))), "float32", 0
    )
    assert spelt == linear(((0.5,), (0.5,)))
    assert spelt.digest == linear(((0.5,), (0.5,))).digest
    assert spelt.values("normalize", "lm_head.weight") == (1.0,)


def test_the_digest_is_pinned_for_ledgers_hold_it() -> None:
    assert (
        WeightMerge.single(A, WHOLE, "float32").digest
        == "1c454da19844890a333f7d72c83fe52557e29676d9ed0a96362b4457e27fab40"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "lineal"}, r"method: got 'lineal': use one of linear, slerp"),
        ({"dtype": "int8"}, r"dtype: got 'int8'"),
        ({"method": "task_arithmetic"}, r"base: got none: task_arithmetic"),
        ({"base": C}, r"base: got someone/c@c+: linear does not read one"),
        ({"sources": (A, A)}, r"name each model once"),
        ({"sources": (), "parameters": (("weight", ()),)}, r"sources: got 0: linear needs at least 1"),
        ({"method": "slerp", "sources": (A,)}, r"sources: got 1: slerp needs exactly 2"),
        ({"parameters": (("t", ((0.5,),)),)}, r"parameters: got t: linear takes normalize, weight"),
        ({"parameters": (("weight", ((0.5,),)),)}, r"parameters\.weight: .* 2 rows of 1 groups"),
        ({"parameters": (("weight", ((0.5,), (math.nan,))),)}, r"parameters\.weight: got nan"),
        ({"parameters": (("weight", ((0.5,), (-0.5,))),)}, r"for layers 0-3: their sum must not be 0"),
        (
            {"method": "ties", "base": C, "parameters": (("density", ((1.5,), (1.0,))), ("weight", ((1.0,), (1.0,))))},
            r"parameters\.density: got 1\.5: it must be between 0 and 1",
        ),
        (
            {"method": "della", "base": C, "parameters": (("density", ((0.1,), (1.0,))), ("weight", ((1.0,), (1.0,))))},
            r"parameters\.epsilon: got 0\.15 for layers 0-3: with density 0\.1 it must be below 0\.1",
        ),
        (
            {"parameters": (("normalize", ((0.5,),)), ("weight", ((0.5,), (0.5,))))},
            r"parameters\.normalize: got 0\.5: it must be 0 \(off\) or 1 \(on\)",
        ),
        (
            {"method": "karcher", "parameters": (("max_iter", ((2.5,),)),)},
            r"max_iter: got 2\.5: it must be a whole number",
        ),
        ({"method": "slerp", "parameters": (("t", ((1.5,),)),)}, r"parameters\.t: got 1\.5"),
    ],
)
def test_a_recipe_that_cannot_be_merged_is_refused_when_it_is_made(change: dict[str, object], message: str) -> None:
    with pytest.raises(MergingError, match=message):
        dataclasses.replace(linear(((0.5,), (0.5,))), **change)


@pytest.mark.parametrize("broken", [{}, {"method": "linear"}, {"sources": 3}])
def test_json_that_is_not_a_recipe_is_refused(broken: dict[str, object]) -> None:
    data = {**linear(((0.5,), (0.5,))).to_json(), **broken} if "sources" in broken else broken
    with pytest.raises(MergingError, match="recipe: not as shoal writes it"):
        WeightMerge.from_json(data)


def test_recipes_are_read_without_loading_torch() -> None:
    code = "import sys, merging.recipes.recipe, merging.sources.family; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
