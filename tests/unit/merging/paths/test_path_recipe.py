from __future__ import annotations

import json

import pytest

from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe, path_recipe
from merging.recipes.recipe import read_recipe
from merging.recipes.weight_merge import WeightMerge

GROUPS = Partition.even(4, 1, False, False)
A, B, C = (WeightMerge.single(ModelId(f"tiny/{name}", name * 40), GROUPS, "float32") for name in "abc")


def whole(part: int) -> list[Hop]:
    return [Hop(part, layer, 1.0) for layer in range(4)]


def test_the_path_through_one_unchanged_model_is_that_model() -> None:
    assert path_recipe([A, B], whole(1), 1, 1) is B
    assert isinstance(path_recipe([A, B], whole(1), 0, 1), PathRecipe)
    assert isinstance(path_recipe([A, B], whole(1)[:3], 1, 1), PathRecipe)
    assert isinstance(path_recipe([A, B], [*whole(1)[:3], Hop(1, 3, 0.9)], 1, 1), PathRecipe)


def test_one_path_has_one_digest_whatever_the_order_of_the_models() -> None:
    hops = [Hop(0, 1, 0.5), Hop(2, 3, 1)]
    path = path_recipe([A, B, C], hops, 2, 0)
    assert path == path_recipe([C, A], [Hop(1, 1, 0.5), Hop(0, 3, 1.0)], 0, 1)
    assert isinstance(path, PathRecipe)
    assert path.parts == (C, A)
    assert path.origins == (*C.origins, *A.origins)
    assert path.digest == path_recipe([A, C, B], [Hop(0, 1, 0.5), Hop(1, 3, 1.0)], 1, 0).digest
    assert path.digest != path_recipe([A, B, C], hops, 0, 0).digest


def test_a_path_is_read_back_from_its_json() -> None:
    path = path_recipe([A, B], [Hop(0, 0, 0.8), Hop(1, 2, 1.25)], 0, 1)
    again = read_recipe(json.loads(json.dumps(path.to_json())))
    assert again == path
    assert again.digest == path.digest
    assert read_recipe(json.loads(json.dumps(A.to_json()))) == A
    with pytest.raises(MergingError, match="path: not as shoal writes it"):
        read_recipe({**path.to_json(), "hops": [{"part": 0}]})
    with pytest.raises(MergingError, match=r"recipe\.kind: got 'stew': use one of weight_merge, path"):
        read_recipe({**path.to_json(), "kind": "stew"})


def test_the_json_of_older_versions_is_still_read() -> None:
    groups = {"layers": 4, "bands": [[0, 4]], "modules_apart": False, "ends_apart": False}
    groups["attention"] = ["self_attn", "attn", "attention", "self_attention"]
    old = {key: value for key, value in A.to_json().items() if key != "kind"} | {"groups": groups}
    assert read_recipe(old) == A


def test_a_path_and_a_merge_answer_for_themselves() -> None:
    path = path_recipe([A, B], [Hop(0, 0, 1.0), Hop(1, 2, 1.25)], 0, 1)
    assert (path.depth, path.layers, path.method) == (2, (0, 2), "passthrough")
    assert (A.depth, A.layers, A.parts, A.hops, A.describe()) == (4, (0, 1, 2, 3), (A,), (), "linear")


def test_the_stream_before_a_hop_is_scaled_by_all_scales_so_far() -> None:
    path = path_recipe([A, B], [Hop(0, 0, 0.5), Hop(1, 1, 3.0), Hop(1, 2, 0.5)], 0, 1)
    assert isinstance(path, PathRecipe)
    assert path.streams == (0.5, 1.5, 0.75)


@pytest.mark.parametrize(
    ("hops", "ends", "words"),
    [
        ([], (0, 0), "got no hops: at least one layer is needed"),
        ([Hop(0, 0, 0.0)], (0, 1), r"path\.hops\[0\]\.scale: got 0\.0: give a finite number above 0"),
        ([Hop(0, 1, 1.0), Hop(1, 0, -1.0)], (0, 1), r"path\.hops\[1\]\.scale: got -1\.0"),
        ([Hop(0, 0, float("nan"))], (0, 1), r"scale: got nan"),
        ([Hop(1, 4, 1.0)], (0, 1), r"path\.hops\[0\]\.layer: got 4: the part has 4 layers"),
        ([Hop(2, 0, 1.0)], (0, 1), r"path\.hop: got part 2: there are 2"),
        ([Hop(0, 0, 1.0)], (0, 5), r"path\.head: got part 5: there are 2"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(hops: list[Hop], ends: tuple[int, int], words: str) -> None:
    with pytest.raises(MergingError, match=words):
        path_recipe([A, B], hops, *ends)


def test_the_parts_of_a_path_have_one_dtype() -> None:
    half = WeightMerge.single(ModelId("tiny/b", "b" * 40), GROUPS, "bfloat16")
    with pytest.raises(MergingError, match=r"path\.parts: got parts in float32, bfloat16: give all of them one dtype"):
        path_recipe([A, half], [Hop(0, 0, 1.0)], 0, 1)
