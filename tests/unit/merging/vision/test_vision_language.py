"""Merges of vision-language models and of language models into them: in memory, and written as anyone loads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from fixtures.tiny_models import recipe_of
from fixtures.tiny_vision_models import (
    llava_config,
    logits,
    older_name,
    read_config,
    save,
    tiny_decoder,
    tiny_vision_model,
)
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.kinds.kind import LANGUAGE, PROJECTOR, VISION_TOWER
from merging.models.building import build_schema
from merging.models.components import read_components
from merging.models.live import LiveModel
from merging.models.schema import ModelSchema
from merging.models.stored_model import stored_model_from_headers
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.header_names import name_headers
from merging.sources.weights import Weights
from merging.spaces.components import merge_space
from merging.writing.release import write_release

CARRIER, OTHER, TEXT, TEXT_BASE = (ModelId(f"tiny/{name}", "1" * 40) for name in ("eye", "eye-2", "text", "base"))


@dataclass(frozen=True)
class Pool:
    """Two LLaVAs, of which the carrier's files have the older names, and two Llamas of their decoder's family."""

    folder: Path
    weights: Mapping[ModelId, Weights]
    groups: Partition

    def state(self, model: ModelId) -> dict[str, torch.Tensor]:
        """A model's weights by the carrier's names in memory, as transformers loads them."""
        auto = AutoModelForImageTextToText if model in (CARRIER, OTHER) else None
        if auto is not None:
            return dict(auto.from_pretrained(self.weights[model].folder).state_dict())
        stored = self.weights[model]
        return {
            name if name.startswith("lm_head") else name.replace("model.", "model.language_model.", 1): stored.tensor(
                name
            )
            for name in stored.names
        }

    def live(self) -> LiveModel:
        return LiveModel(self.weights[CARRIER].folder, self.weights, dtype="float32")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder, config = tmp_path_factory.mktemp("pool"), llava_config()
    weights = {
        CARRIER: save(tiny_vision_model(config, 1), folder / "eye", older=True),
        OTHER: save(tiny_vision_model(config, 2), folder / "eye-2"),
        TEXT: save(tiny_decoder(config, 3), folder / "text"),
        TEXT_BASE: save(tiny_decoder(config, 4), folder / "base"),
    }
    read = read_config(folder / "eye")
    groups = kind_of(read).partition(
        weights[CARRIER].names, bands=2, modules_apart=True, ends_apart=True, components=read_components(read, "eye")
    )
    return Pool(folder, weights, groups.lacking((TEXT, TEXT_BASE)))


def written(pool: Pool, recipe: WeightMerge, target: Path) -> torch.nn.Module:
    """Write a merge and load it as anyone would; nothing may be missing, left over or newly initialised."""
    write_release(recipe, pool.weights, target, {}, config_source=pool.weights[CARRIER].folder)
    model, report = AutoModelForImageTextToText.from_pretrained(target, output_loading_info=True)
    assert not any(report.values())
    return model.eval()


def check(pool: Pool, recipe: WeightMerge, target: Path, expected: Mapping[str, torch.Tensor]) -> None:
    """Hold a merge, written and in memory, against the formula of each of its tensors."""
    live = pool.live()
    live.become(recipe)
    loaded = written(pool, recipe, target)
    found = loaded.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in live.model.state_dict().items():
        assert torch.equal(found[name], tensor), name
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    assert torch.equal(logits(loaded), logits(live.model))
    assert set(Checkpoint.open(target).names) == {older_name("llava", name) for name in found}


def values(*rows: float, groups: Partition) -> tuple[tuple[float, ...], ...]:
    return tuple((row,) * len(groups.labels) for row in rows)


def test_components_are_found_by_asking_the_model(pool: Pool) -> None:
    components = read_components(read_config(pool.folder / "eye"), "eye")
    assert dict(components) == {
        LANGUAGE: ("model.language_model", "lm_head"),
        VISION_TOWER: ("model.vision_tower",),
        PROJECTOR: ("model.multi_modal_projector",),
    }
    assert pool.groups.layers == 2
    assert pool.groups.labels[:2] == ("language embed", "language layer 0 attention")
    assert pool.groups.labels[-2:] == ("vision tower all", "projector all")


def test_both_layouts_of_names_are_the_same_names_in_a_merge(pool: Pool) -> None:
    one, other = pool.weights[CARRIER], pool.weights[OTHER]
    assert one.names == other.names and set(one.names) == pool.state(CARRIER).keys()
    assert one.stored_name("lm_head.weight") == "language_model.lm_head.weight"
    stored = Checkpoint.open(one.folder)
    headers = name_headers(read_config(one.folder), stored.headers, "eye")
    assert headers == one.headers
    assert stored_model_from_headers("eye", read_config(one.folder), headers).stored.keys() == headers.keys()


def test_two_vision_language_models_are_merged_in_all_components(pool: Pool, tmp_path: Path) -> None:
    weight = recipe_of("linear", [CARRIER, OTHER], pool.groups).rows("weight")
    recipe = WeightMerge(
        "linear", (CARRIER, OTHER), None, pool.groups, (("weight", weight),), "float32", 0, (), CARRIER
    )
    states = pool.state(CARRIER), pool.state(OTHER)
    expected = {}
    for name in states[0]:
        one, two = (row[pool.groups.group(name)] for row in weight)
        expected[name] = (one * states[0][name] + two * states[1][name]) / (one + two)
    check(pool, recipe, tmp_path / "merged", expected)


def test_a_language_model_is_merged_into_the_language_part_and_nothing_else(pool: Pool, tmp_path: Path) -> None:
    groups = pool.groups.taking({VISION_TOWER: CARRIER, PROJECTOR: CARRIER})
    recipe = WeightMerge(
        "task_arithmetic",
        (CARRIER, TEXT),
        TEXT_BASE,
        groups,
        (("weight", values(0.7, 0.4, groups=groups)),),
        "float32",
        0,
        (),
        CARRIER,
    )
    eye, text, base = map(pool.state, (CARRIER, TEXT, TEXT_BASE))
    merged = {name: base[name] + 0.7 * (eye[name] - base[name]) + 0.4 * (text[name] - base[name]) for name in base}
    check(pool, recipe, tmp_path / "merged", {**eye, **merged})


@pytest.mark.parametrize(("method", "base"), [("linear", None), ("ties", TEXT_BASE), ("ties", CARRIER)])
def test_a_component_that_some_lack_is_merged_by_those_that_have_it(
    pool: Pool, method: str, base: ModelId | None
) -> None:
    recipe = recipe_of(method, [*([base] if base else []), OTHER, TEXT, *([] if base else [CARRIER])], pool.groups)
    recipe = WeightMerge(method, recipe.sources, base, pool.groups, recipe.parameters, "float32", 0, (), CARRIER)
    merge = recipe.tensor_merge("model.vision_tower.post_layernorm.weight")
    expected = {None: (OTHER, CARRIER), TEXT_BASE: (OTHER,), CARRIER: (OTHER,)}[base]
    assert merge.sources == expected and len(merge.values["weight"]) == len(expected)
    # A base that lacks it gives no differences: the only model that has it gives it whole.
    assert (merge.method, merge.base) == (("linear", None) if base in (None, TEXT_BASE) else ("ties", CARRIER))
    assert recipe.tensor_merge("lm_head.weight").sources == recipe.sources
    assert WeightMerge.from_json(recipe.to_json()) == recipe


def test_a_source_alone_has_the_carrier_around_it(pool: Pool, tmp_path: Path) -> None:
    groups = pool.groups.taking({VISION_TOWER: None, PROJECTOR: CARRIER})
    space = merge_space(
        method="task_arithmetic",
        sources=(CARRIER, TEXT),
        base=TEXT_BASE,
        groups=groups,
        dtype="float32",
        seed=0,
        carrier=CARRIER,
    )
    alone = space.alone(TEXT)
    assert alone.is_single and alone.merged_models == (TEXT, CARRIER)
    check(pool, alone, tmp_path / "alone", {**pool.state(CARRIER), **pool.state(TEXT)})
    assert space.levels[-1] == 1, "the tower is the carrier's, whatever the gene: no other model has one"
    for genome in space.seeds():
        recipe = space.decode(genome)
        again = space.encode(recipe)
        assert again is not None and space.decode(again) == recipe
    assert alone in map(space.decode, space.seeds())


def test_the_live_model_rewrites_only_what_another_recipe_changes(pool: Pool) -> None:
    live = pool.live()
    groups = pool.groups.taking({VISION_TOWER: CARRIER, PROJECTOR: CARRIER})

    def recipe(weight: float) -> WeightMerge:
        row = values(1.0, weight, groups=groups)
        return WeightMerge("linear", (CARRIER, TEXT), None, groups, (("weight", row),), "float32", 0, (), CARRIER)

    assert len(live.become(recipe(0.2))) == len(live.model.state_dict())
    assert all(name.startswith(("model.language_model.", "lm_head.")) for name in live.become(recipe(0.3)))


def test_a_language_model_of_another_family_has_no_place(pool: Pool, tmp_path: Path) -> None:
    strange = save(tiny_decoder(llava_config(), 5, model_type="qwen2"), tmp_path / "qwen2")
    with pytest.raises(
        MergingError, match=r"its model\.layers\.0\.self_attn\.k_proj\.bias has no place in the language"
    ):
        LiveModel(pool.weights[CARRIER].folder, {CARRIER: pool.weights[CARRIER], TEXT: strange}, dtype="float32")


def test_without_a_model_that_has_every_component_there_is_no_merge(pool: Pool) -> None:
    with pytest.raises(MergingError, match="none of the models is a whole LlavaForConditionalGeneration"):
        LiveModel(pool.weights[CARRIER].folder, {TEXT: pool.weights[TEXT]}, dtype="float32")
    with pytest.raises(MergingError, match=r"^tensor model\.vision_tower\.x: no merged model has it, and there is no"):
        WeightMerge.single(TEXT, pool.groups, "float32").tensor_merge("model.vision_tower.x")


def test_a_schema_is_the_same_after_json(pool: Pool) -> None:
    schema = build_schema(read_config(pool.folder / "eye"), "eye")
    assert ModelSchema.from_json(schema.as_json()) == schema


def test_a_model_alone_is_one_recipe_whatever_others_its_pool_has(pool: Pool) -> None:
    """So scores of an audition are those of the search."""
    few = pool.groups.lacking((TEXT,))
    for model in (CARRIER, TEXT):
        one, two = (WeightMerge.single(model, groups, "float32", carrier=CARRIER) for groups in (few, pool.groups))
        assert one == two and one.digest == two.digest and one.is_single
    space = merge_space(
        method="task_arithmetic",
        sources=[CARRIER, TEXT],
        base=TEXT_BASE,
        groups=pool.groups.taking(dict.fromkeys((VISION_TOWER, PROJECTOR), CARRIER)),
        dtype="float32",
        seed=0,
        carrier=CARRIER,
    )
    for genome in space.seeds():
        assert space.encode(space.decode(genome)) == genome
    for single in space.singles():
        encoded = space.encode(single)
        assert encoded is not None and space.decode(encoded) == single
