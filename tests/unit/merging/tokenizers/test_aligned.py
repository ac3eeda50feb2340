"""Models in the vocabulary that some of them decide on: as views, kept on the disk, written, on paths, by mergekit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from fixtures.vocabularies import BY_TOKEN, read_tokens, revised
from merging.identity import ModelId
from merging.mergekit.writer import to_mergekit_yaml
from merging.models.live import LiveModels
from merging.partition import Partition
from merging.recipes.path import Hop, path_recipe
from merging.recipes.recipe import Recipe, read_recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.tokenizers.aligned import align_models, keep_aligned, open_kept
from merging.writing.release import write_release
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

OWN = read_tokens(MODELS[MATH])
GROUPS = Partition.even(2, 1, modules_apart=False, ends_apart=False)
REVISIONS = {
    MATH: revised(MATH),
    LANGUAGE: revised(LANGUAGE, tokens=[*OWN[:3], *OWN[:2:-1]], words=["ocean"], special=["<|note|>"]),
    BASE: revised(BASE, padding=7),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Mapping[ModelId, Checkpoint]:
    """The mathematician; the linguist with its tokens in another order and two more; the base with padded rows."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for repo, files in REVISIONS.items():
        at = folder / repo.partition("/")[2]
        at.mkdir()
        for name, content in files.items():
            (at / name).write_bytes(content)
        found[ModelId(repo, "0" * 40)] = Checkpoint.open(at)
    return found


@pytest.fixture
def names(models: Mapping[ModelId, Checkpoint]) -> tuple[ModelId, ModelId, ModelId]:
    math, language, base = models
    return math, language, base


def mean(sources: tuple[ModelId, ...], vocabulary: tuple[ModelId, ...]) -> WeightMerge:
    weights = (("weight", tuple((1.0,) for _ in sources)),)
    return WeightMerge("linear", sources, None, GROUPS, weights, "float32", 0, vocabulary)


def rows(folder: Path, name: str) -> dict[str, Tensor]:
    """Token → its row in a written model."""
    weights = load_file(folder / "model.safetensors")[name]
    tokens = AutoTokenizer.from_pretrained(folder).get_vocab()
    return {token: weights[row] for token, row in tokens.items()}


def test_kept_rows_are_those_of_the_views_and_padding_costs_no_copy(
    models: Mapping[ModelId, Checkpoint], names: tuple[ModelId, ModelId, ModelId], tmp_path: Path
) -> None:
    math, language, base = names
    aligned = align_models([math, language], models)
    keep_aligned(aligned, tmp_path / "kept")
    kept = open_kept(tmp_path / "kept", models)
    for model, view in aligned.views.items():
        assert kept[model].headers == view.headers
        for name in view.names:
            assert torch.equal(kept[model].tensor(name), view.tensor(name)), (str(model), name)
    padded = align_models([math], {math: models[math], base: models[base]}).views[base]
    for name in BY_TOKEN:
        assert padded.tensor(name).shape[0] == len(OWN)
        assert padded.tensor(name).data_ptr() == models[base].tensor(name).data_ptr()


def test_a_merge_has_the_same_rows_whichever_sources_it_leaves_out(
    models: Mapping[ModelId, Checkpoint], names: tuple[ModelId, ModelId, ModelId]
) -> None:
    math, language, base = names
    together = align_models(names, models)
    apart = align_models(names, {name: models[name] for name in (base, language, math)})
    assert together.files == apart.files
    for model in names:
        for name in BY_TOKEN:
            assert torch.equal(together.views[model].tensor(name), apart.views[model].tensor(name))
    assert mean((base,), names).origins == (base, math, language)


def recipes(math: ModelId, language: ModelId, base: ModelId) -> dict[str, Recipe]:
    united = (math, language)
    parts = [WeightMerge.single(model, GROUPS, "float32", united) for model in (math, language)]
    hops = [Hop(0, 0, 1.0), Hop(1, 0, 0.9), Hop(1, 1, 1.1)]
    return {
        "a merge": mean((math, language, base), united),
        "a merge without the leading model": mean((language, base), united),
        "a source alone": WeightMerge.single(base, GROUPS, "float32", united),
        "a path whose ends are of two models": path_recipe(parts, hops, embedding=1, head=0),
    }


@pytest.mark.parametrize("kind", recipes(*(ModelId(repo) for repo in REVISIONS)))
def test_the_live_model_is_the_one_that_is_written(
    kind: str, models: Mapping[ModelId, Checkpoint], names: tuple[ModelId, ModelId, ModelId], tmp_path: Path
) -> None:
    recipe = recipes(*names)[kind]
    assert read_recipe(recipe.to_json()) == recipe
    keep_aligned(align_models(recipe.vocabulary, models), tmp_path / "kept")
    live = recipe.live_model(LiveModels(tmp_path / "kept", open_kept(tmp_path / "kept", models), dtype="float32"))
    write_release(recipe, models, tmp_path / "written", {})
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "written").eval()
    ids = AutoTokenizer.from_pretrained(tmp_path / "written")("mia finds 3 ocean <|note|>", return_tensors="pt")
    assert written.config.vocab_size == len(OWN) + 2
    with torch.no_grad():
        assert torch.equal(live(**ids).logits, written(**ids).logits)
    assert all(torch.equal(tensor, live.state_dict()[name]) for name, tensor in written.state_dict().items())


def test_mergekit_makes_the_same_rows_where_it_unites_the_same_models(
    models: Mapping[ModelId, Checkpoint], names: tuple[ModelId, ModelId, ModelId], tmp_path: Path
) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    recipe = mean(names[:2], names[:2])
    write_release(recipe, models, tmp_path / "ours", {})
    folders = {model: str(models[model].folder) for model in recipe.origins}
    tensors = load_file(tmp_path / "ours" / "model.safetensors")
    config = yaml.safe_load(to_mergekit_yaml(recipe, tensors, folders))
    options = MergeOptions(device="cpu", write_model_card=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(config), str(tmp_path / "theirs"), options=options)
    for name in BY_TOKEN:
        ours, theirs = rows(tmp_path / "ours", name), rows(tmp_path / "theirs", name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(row, theirs[token]) for token, row in ours.items())
    others = load_file(tmp_path / "theirs" / "model.safetensors")
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items() if name not in BY_TOKEN)
