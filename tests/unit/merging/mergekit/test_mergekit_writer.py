"""mergekit is the independent reference: it runs our YAML on the same folders, and each tensor is compared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import pool, recipe_of, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.merge_tensor import merge_tensor
from merging.mergekit.writer import to_mergekit_yaml
from merging.methods import METHODS
from merging.partition import Partition, find_routers
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

mergekit_config = pytest.importorskip("mergekit.config")

GROUPS = {
    "whole model": Partition.even(4, 1, False, False),
    "ends apart in one band": Partition.even(4, 1, False, True),
    "two bands": Partition.even(4, 2, False, False),
    "two bands, modules apart": Partition.even(4, 2, True, False),
    "three bands, ends apart": Partition.even(4, 3, False, True),
    "three bands, all apart": Partition.even(4, 3, True, True),
    "one band, all apart": Partition.even(4, 1, True, True),
}


def run_mergekit(recipe: WeightMerge, checkpoints: dict[ModelId, Checkpoint], target: Path) -> Checkpoint:
    """What mergekit makes of our YAML, with folders in place of repos."""
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    folders = {source: str(checkpoint.folder) for source, checkpoint in checkpoints.items()}
    names = next(iter(checkpoints.values())).names
    config = yaml.safe_load(to_mergekit_yaml(recipe, names, folders))
    options = MergeOptions(device="cpu", copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(mergekit_config.MergeConfiguration.model_validate(config), str(target), options=options)
    return Checkpoint.open(target)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("method", ["linear", "slerp", "ties"])
def test_mergekit_makes_the_same_weights_from_our_yaml(method: str, groups: Partition, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4)
    recipe = recipe_of(method, list(checkpoints), groups)
    theirs = run_mergekit(recipe, checkpoints, tmp_path / "theirs")
    assert theirs.names == next(iter(checkpoints.values())).names
    for name in theirs.names:
        ours = merge_tensor(recipe, name, lambda source, name: checkpoints[source].tensor(name))
        torch.testing.assert_close(
            ours, theirs.tensor(name), rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("kind", ["mixtral", "qwen3-moe"])
def test_mergekit_makes_the_same_mixture_with_routers_apart(kind: str, tmp_path: Path) -> None:
    """By a method that goes value by value: mergekit merges the experts of a layer as transformers fuses them."""
    checkpoints = pool(tmp_path, kind, layers=2)
    groups = Partition.even(2, 2, True, True, find_routers(next(iter(checkpoints.values())).names))
    assert "layer 1 routers" in groups.labels
    recipe = recipe_of("task_arithmetic", list(checkpoints), groups)
    run_mergekit(recipe, checkpoints, tmp_path / "theirs")
    write_release(recipe, checkpoints, tmp_path / "ours", {})
    ours, theirs = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("ours", "theirs"))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("method", [name for name, rule in METHODS.items() if not rule.draws])
def test_mergekit_makes_the_same_weights_by_every_method_that_draws_nothing(method: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4)
    recipe = recipe_of(method, list(checkpoints), GROUPS["two bands, modules apart"])
    theirs = run_mergekit(recipe, checkpoints, tmp_path / "theirs")
    for name in theirs.names:
        ours = merge_tensor(recipe, name, lambda source, name: checkpoints[source].tensor(name))
        torch.testing.assert_close(
            ours, theirs.tensor(name), rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_mergekit_rounds_to_our_dtype(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", layers=4, dtype=torch.bfloat16)
    recipe = recipe_of("linear", list(checkpoints), GROUPS["three bands, all apart"], dtype="bfloat16")
    theirs = run_mergekit(recipe, checkpoints, tmp_path / "theirs")
    for name in theirs.names:
        ours = merge_tensor(recipe, name, lambda source, name: checkpoints[source].tensor(name))
        assert theirs.tensor(name).dtype == torch.bfloat16
        torch.testing.assert_close(ours, theirs.tensor(name), rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_other_architectures_are_distinguished_by_their_own_names(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, layers=4)
    recipe = recipe_of("slerp", list(checkpoints), GROUPS["three bands, all apart"])
    theirs = run_mergekit(recipe, checkpoints, tmp_path / "theirs")
    for name in theirs.names:
        ours = merge_tensor(recipe, name, lambda source, name: checkpoints[source].tensor(name))
        torch.testing.assert_close(ours, theirs.tensor(name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("method", METHODS)
def test_mergekit_accepts_the_yaml_of_every_method(method: str, groups: Partition) -> None:
    origins = [ModelId(f"tiny/model-{number}", f"{number:040x}") for number in range(3)]
    recipe = recipe_of(method, origins, groups)
    text = to_mergekit_yaml(recipe, tiny_model("llama", seed=0, layers=4).state_dict())
    config = mergekit_config.MergeConfiguration.model_validate(yaml.safe_load(text))
    models = {(model.model.path, model.model.revision) for model in config.referenced_models()}
    assert models == {(origin.location, origin.revision) for origin in recipe.origins}
    assert text.startswith("# mergekit draws") == METHODS[method].draws


def test_names_that_filters_cannot_tell_apart_are_refused() -> None:
    sources = [ModelId("tiny/a", "1"), ModelId("tiny/b", "2")]
    names = ["model.embed_tokens.weight", "model.layers.0.mlp.up.weight", "model.extra_layers.weight"]
    recipe = recipe_of("linear", sources, Partition.even(1, 1, False, True))
    assert "layers." in to_mergekit_yaml(recipe, names[:2])
    with pytest.raises(MergingError, match=r"tensor model\.extra_layers\.weight: mergekit's filters"):
        to_mergekit_yaml(recipe, names)
