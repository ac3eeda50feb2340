from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import CONFIGS, pool, recipe_of, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.merge_tensor import merge_tensor
from merging.methods import METHODS
from merging.models.live import LiveModel
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

PROMPT = torch.arange(3, 23).reshape(2, 10)
TWO = Partition.even(2, 2, modules_apart=True, ends_apart=True)


def logits(model: AutoModelForCausalLM) -> torch.Tensor:
    with torch.no_grad():
        return model(PROMPT).logits


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_live_model_is_the_source_itself_when_the_recipe_says_so(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2)
    first, second = checkpoints
    live = LiveModel(checkpoints[first].folder, checkpoints, dtype="float32")
    for source in (second, first):
        live.become(WeightMerge.single(source, TWO, "float32"))
        plain = AutoModelForCausalLM.from_pretrained(checkpoints[source].folder)
        assert torch.equal(logits(live.model), logits(plain))
    assert not torch.equal(logits(plain), logits(tiny_model(kind, seed=1)))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_release_answers_as_the_live_model_does(kind: str, dtype: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind)
    recipe = recipe_of("dare_ties", list(checkpoints), TWO, dtype=dtype)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype=dtype)
    live.become(recipe)
    write_release(recipe, checkpoints, tmp_path / "release", {})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "release")
    assert plain.dtype == getattr(torch, dtype)
    assert torch.equal(logits(live.model), logits(plain))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", METHODS)
def test_published_bytes_are_scored_bytes(method: str, dtype: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", dtype=torch.bfloat16)
    recipe = recipe_of(method, list(checkpoints), TWO, dtype=dtype)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype=dtype)
    live.become(WeightMerge.single(recipe.sources[0], TWO, dtype))  # what it was before must not matter
    live.become(recipe)
    reopened = {source: Checkpoint.open(checkpoint.folder) for source, checkpoint in checkpoints.items()}
    write_release(recipe, reopened, tmp_path / "release", {}, max_shard_bytes=9_000)
    written = Checkpoint.open(tmp_path / "release")
    state = live.model.state_dict()
    assert set(written.names) == set(state)
    for name, weight in state.items():
        assert weight.dtype == written.tensor(name).dtype == getattr(torch, dtype)
        assert torch.equal(weight.view(torch.uint8), written.tensor(name).view(torch.uint8)), name


@pytest.mark.parametrize("kind", ["llama", "llama-tied", "gpt2"])
def test_weights_are_rewritten_in_place_and_tied_ones_stay_tied(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind)
    origins = list(checkpoints)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    addresses = {name: weight.data_ptr() for name, weight in live.model.state_dict().items()}
    buffers = {name: buffer.clone() for name, buffer in live.model.named_buffers()}
    for method in METHODS:
        live.become(recipe_of(method, origins, TWO))
    assert {name: weight.data_ptr() for name, weight in live.model.state_dict().items()} == addresses
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in live.model.named_buffers())
    head, embedding = live.model.get_output_embeddings(), live.model.get_input_embeddings()
    assert (head.weight is embedding.weight) == (kind != "llama")


@pytest.mark.parametrize("kind", ["llama-tied", "gpt2", "gemma2"])
def test_a_checkpoint_saved_without_its_head_finds_its_places(kind: str, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for seed, folder in enumerate(folders):
        tiny_model(kind, seed=seed).base_model.save_pretrained(folder)
    checkpoints = {ModelId("tiny/bare", str(index)): Checkpoint.open(at) for index, at in enumerate(folders)}
    recipe = recipe_of("linear", list(checkpoints), TWO)
    live = LiveModel(folders[0], checkpoints, dtype="float32")
    live.become(recipe)
    write_release(recipe, checkpoints, tmp_path / "release", {})
    assert torch.equal(logits(live.model), logits(AutoModelForCausalLM.from_pretrained(tmp_path / "release")))


def alter(folder: Path, changes: dict[str, torch.Tensor | None]) -> Checkpoint:
    """Rewrite a checkpoint with some tensors replaced, added or (None) removed."""
    weights = {**load_file(folder / "model.safetensors"), **changes}
    save_file(
        {name: weight.clone() for name, weight in weights.items() if weight is not None},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    return Checkpoint.open(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.layers.1.mlp.gate.weight": torch.ones(2)},
            r"model\.layers\.1\.mlp\.gate\.weight has no place in Llama",
        ),
        ({"model.norm.weight": None}, r"the model's model\.norm\.weight is missing"),
        ({"model.norm.weight": torch.ones(31)}, r"model\.norm\.weight is \[31\], the config says \[32\]"),
        ({"model.norm.weight": torch.ones(32, dtype=torch.int8)}, r"model\.norm\.weight is of dtype I8"),
        ({"lm_head.weight": torch.ones(50, 32)}, r"lm_head\.weight and model.embed_tokens.weight are tied|are tied"),
    ],
)
def test_a_tensor_that_does_not_fit_the_model_is_named(
    changes: dict[str, torch.Tensor | None], message: str, tmp_path: Path
) -> None:
    checkpoints = pool(tmp_path, "llama-tied", sources=2)
    second = list(checkpoints)[1]
    checkpoints[second] = alter(checkpoints[second].folder, changes)
    with pytest.raises(MergingError, match=rf"model-1: .*({message})"):
        LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")


def test_a_tied_weight_stored_twice_and_a_buffer_of_old_are_passed_over(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama-tied", sources=2)
    first, second = checkpoints
    extra = {
        "lm_head.weight": checkpoints[second].tensor("model.embed_tokens.weight"),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
    }
    checkpoints[second] = alter(checkpoints[second].folder, extra)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    recipe = recipe_of("linear", [second, first], TWO)
    live.become(recipe)
    write_release(recipe, checkpoints, tmp_path / "release", {})
    assert Checkpoint.open(tmp_path / "release").names == checkpoints[first].names
    assert torch.equal(logits(live.model), logits(AutoModelForCausalLM.from_pretrained(tmp_path / "release")))


def test_recipes_that_this_live_model_cannot_become_are_refused(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=2)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    with pytest.raises(MergingError, match="dtype: got bfloat16"):
        live.become(WeightMerge.single(next(iter(checkpoints)), TWO, "bfloat16"))
    with pytest.raises(MergingError, match="got tiny/stranger@1: its checkpoint was not given"):
        live.become(WeightMerge.single(ModelId("tiny/stranger", "1"), TWO, "float32"))


def test_a_merge_out_of_the_dtype_s_range_is_refused_by_name(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=2)
    base, source = checkpoints
    whole = Partition.even(2, 1, False, False)
    recipe = WeightMerge("task_arithmetic", (source,), base, whole, (("weight", ((1e7,),)),), "float16", 0)
    with pytest.raises(MergingError, match=r"tensor model\.norm\.weight: the merge is not finite in float16"):
        merge_tensor(recipe, "model.norm.weight", lambda origin, name: checkpoints[origin].tensor(name))


def test_a_config_that_transformers_cannot_build_is_refused(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=1)
    (tmp_path / "model-0" / "config.json").write_text('{"model_type": "unheard-of"}')
    with pytest.raises(MergingError, match=r"model-0/config\.json: transformers cannot build this model"):
        LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")


def wandering(checkpoints: dict[ModelId, Checkpoint]) -> Iterator[WeightMerge]:
    """Recipes as a search makes them: mostly one gene changes, now and then the method, the seed or the base."""
    draw, origins = random.Random(0), list(checkpoints)
    recipe = recipe_of("ties", origins, TWO, dtype="bfloat16")
    for step in range(40):
        if step % 8 == 7:
            method = draw.choice(["linear", "dare_ties", "slerp", "breadcrumbs", "sce", "task_arithmetic", "ties"])
            recipe = recipe_of(method, draw.sample(origins, 3), TWO, dtype="bfloat16", seed=step)
        elif step % 8 == 3:
            recipe = replace(recipe, seed=step)
        else:
            searched = [entry for entry in recipe.parameters if entry[0] in ("weight", "density", "t", "select_topk")]
            name, rows = draw.choice(searched)
            values = [list(row) for row in rows]
            values[draw.randrange(len(rows))][draw.randrange(len(rows[0]))] = draw.randrange(1, 8) / 8
            changed = (name, tuple(map(tuple, values)))
            others = tuple(other for other in recipe.parameters if other[0] != name)
            recipe = replace(recipe, parameters=(*others, changed))
        yield recipe


@pytest.mark.parametrize("threads", [1, 3])
def test_one_candidate_after_another_has_the_bits_of_a_model_made_anew(threads: int, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama-tied", dtype=torch.bfloat16)
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="bfloat16")
    before = torch.get_num_threads()
    rewritten = []
    try:
        for recipe in wandering(checkpoints):
            torch.set_num_threads(threads)
            rewritten.append(len(live.become(recipe)))
            assert torch.get_num_threads() == threads
            torch.set_num_threads(1)
            anew = LiveModel(tmp_path / "model-0", checkpoints, dtype="bfloat16")
            anew.become(recipe)
            for name, weight in anew.model.state_dict().items():
                assert torch.equal(live.model.state_dict()[name], weight), name
    finally:
        torch.set_num_threads(before)
    assert sum(rewritten) < len(rewritten) * rewritten[0] / 2


def test_a_candidate_touches_only_what_its_genes_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = pool(tmp_path, "llama")
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float32")
    merged: list[str] = []

    def counted(recipe: WeightMerge, name: str, *rest: Any, **named: Any) -> torch.Tensor:
        merged.append(name)
        return merge_tensor(recipe, name, *rest, **named)

    monkeypatch.setattr("merging.models.live.merge_tensor", counted)
    recipe = recipe_of("ties", list(checkpoints), TWO)

    def becomes(recipe: WeightMerge) -> set[str]:
        merged.clear()
        assert set(live.become(recipe)) == set(merged)
        return set(merged)

    every = set(checkpoints[recipe.sources[0]].names)
    assert becomes(recipe) == every
    assert becomes(replace(recipe, seed=99)) == set(), "ties draws nothing"
    (density, rows), *others = recipe.parameters
    head = TWO.labels.index("head")
    last_changed = (*rows[0][:head], rows[0][head] / 2)
    assert becomes(replace(recipe, parameters=((density, (last_changed, *rows[1:])), *others))) == {
        "lm_head.weight",
        "model.norm.weight",
    }
    assert becomes(recipe_of("dare_ties", list(checkpoints), TWO)) == every
    assert becomes(recipe_of("dare_ties", list(checkpoints), TWO, seed=8)) == every, "another draw"
    assert becomes(recipe_of("dare_ties", [*checkpoints][::-1], TWO, seed=8)) == every, "another base"


@pytest.mark.parametrize("method", [name for name, method in METHODS.items() if method.skips_unweighted])
def test_a_source_that_comes_rewrites_only_what_it_has_weight_in(method: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=3, dtype=torch.bfloat16)
    whole = recipe_of(method, list(checkpoints), TWO, dtype="bfloat16")
    *_, newcomer = whole.sources
    rows = {name: (*table[:-1], (*[0.0] * (len(TWO.labels) - 1), 0.3)) for name, table in whole.parameters[-1:]}
    assert list(rows) == ["weight"]
    after = replace(whole, parameters=(*whole.parameters[:-1], *rows.items()))
    per_source = {name for name, parameter in METHODS[method].parameters.items() if parameter.per_source}
    fewer = ((name, table[:-1] if name in per_source else table) for name, table in after.parameters)
    before = replace(after, sources=after.sources[:-1], parameters=tuple(fewer))
    live, anew = (LiveModel(tmp_path / "model-0", checkpoints, dtype="bfloat16") for _ in range(2))
    live.become(before)
    anew.become(after)
    assert newcomer not in before.sources
    assert set(live.become(after)) == {"lm_head.weight", "model.norm.weight"}
    assert all(torch.equal(weight, live.model.state_dict()[name]) for name, weight in anew.model.state_dict().items())


def test_after_a_merge_that_failed_every_weight_is_written_anew(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=2)
    base, source = checkpoints
    live = LiveModel(tmp_path / "model-0", checkpoints, dtype="float16")

    def recipe(weight: float) -> WeightMerge:
        weights = (*[0.5] * (len(TWO.labels) - 1), weight)
        return WeightMerge("task_arithmetic", (source,), base, TWO, (("weight", (weights,)),), "float16", 0)

    every = live.become(recipe(0.5))
    with pytest.raises(MergingError, match="is not finite in float16"):
        live.become(recipe(1e7))
    assert live.become(recipe(0.5)) == every
    assert live.become(recipe(0.5)) == ()
