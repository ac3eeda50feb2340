"""mergekit is the reference: both run the same YAML on the same folders; tensors, config and logits are compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import FAMILIES, pool, tiny_model
from merging.errors import MergingError
from merging.mergekit.reader import parse_merge_config
from merging.models.layer_config import stack_config
from merging.models.stored_model import read_stored_model
from merging.sources.checkpoint import Checkpoint
from merging.writing.assembly import Assembly, assemble
from merging.writing.companions import read_companions
from merging.writing.release import Contents, render_config, write_folder

pytestmark = pytest.mark.slow

LAYERS = 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sibling models of two families, m0 to m2 in float32."""
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        tiny_model("llama", seed=seed, layers=LAYERS).save_pretrained(folder / f"m{seed}")
        tiny_model("gpt2", seed=seed, layers=LAYERS).save_pretrained(folder / f"g{seed}")
        tiny_model("llama", seed=seed, layers=LAYERS).to(torch.bfloat16).save_pretrained(folder / f"h{seed}")
    return folder


def shoal(text: str, folder: Path, target: Path) -> Path:
    """What shoal makes of a YAML, the models' names taken as folders below `folder`."""
    config = parse_merge_config(yaml.safe_load(text))
    checkpoints = {name: Checkpoint.open(folder / name.location) for name in config.models}
    assembly = assemble(config, {name: read_stored_model(checkpoint) for name, checkpoint in checkpoints.items()})
    make = assembly.maker(checkpoints, {name: name for name in checkpoints}, 0)
    files = read_companions(checkpoints[config.config_source].folder) | {"config.json": render_config(assembly.config)}
    write_folder(target, Contents(assembly.shapes, assembly.dtype, make, files))
    return target


def mergekit(text: str, target: Path) -> Path:
    """What mergekit makes of it, from the same place."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    # Slices that repeat a layer need it: mergekit would save tensors that share memory.
    options = MergeOptions(
        device="cpu", copy_tokenizer=False, write_model_card=False, quiet=True, clone_tensors=True, allow_crimes=True
    )
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(target), options=options)
    return target


RECIPES = {
    "linear with per-model gradients": """
        merge_method: linear
        models:
          - {model: m0, parameters: {weight: 0.3}}
          - model: m1
            parameters:
              weight: [{filter: mlp, value: [0.1, 0.9]}, {filter: lm_head, value: 0.7}, {value: 0.5}]
        dtype: float32
    """,
    "slerp with gradients and filters": """
        slices:
          - sources: [{model: m0, layer_range: [0, 4]}, {model: m1, layer_range: [0, 4]}]
        merge_method: slerp
        base_model: m1
        parameters:
          t:
            - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
            - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
            - value: 0.4
        dtype: float32
        out_dtype: bfloat16
    """,
    "ties with defaults": """
        merge_method: ties
        base_model: m0
        models:
          - {model: m1, parameters: {density: [{filter: layers, value: [1, 0.7, 0.1]}, {value: 0.6}], weight: 1.0}}
          - {model: m2, parameters: {density: 0.33, weight: [{filter: mlp, value: 0.5}, {value: 0}]}}
        parameters: {normalize: true, int8_mask: true}
        dtype: float32
    """,
    "task arithmetic in two slices with values of their own": """
        merge_method: task_arithmetic
        base_model: m2
        slices:
          - sources:
              - {model: m0, layer_range: [0, 3], parameters: {weight: 0.5}}
              - {model: m2, layer_range: [1, 4]}
            parameters: {lambda: 0.5}
          - sources:
              - model: m1
                layer_range: [1, 3]
                parameters: {weight: [{filter: layers, value: [0.2, 0.8]}, {value: 0.4}]}
              - {model: m2, layer_range: [2, 4]}
        parameters: {lambda: 2}
        dtype: float32
    """,
    "passthrough with scaled projections": """
        merge_method: passthrough
        slices:
          - sources: [{model: h0, layer_range: [0, 3]}]
          - sources:
              - model: h1
                layer_range: [1, 4]
                parameters:
                  scale: [{filter: o_proj, value: 0.5}, {filter: down_proj, value: 0.0}, {value: 1.0}]
          - sources: [{model: h0, layer_range: [3, 4]}]
        dtype: bfloat16
    """,
    "tied weights, layers under another name": """
        merge_method: passthrough
        slices:
          - sources: [{model: g0, layer_range: [0, 3]}]
          - sources: [{model: g1, layer_range: [1, 4]}]
        dtype: float32
    """,
    "modules": """
        merge_method: linear
        modules:
          default:
            slices:
              - sources:
                  - {model: m0, layer_range: [0, 2], parameters: {weight: 1}}
                  - {model: m1, layer_range: [2, 4]}
            parameters: {weight: 3}
        parameters: {weight: 2}
        dtype: float32
    """,
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_the_same_yaml_gives_the_same_model_as_with_mergekit(
    text: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(models)
    ours, theirs = shoal(text, models, tmp_path / "ours"), mergekit(text, tmp_path / "theirs")
    found, expected = Checkpoint.open(ours), Checkpoint.open(theirs)
    assert set(found.names) == set(expected.names) - {"lm_head.weight"} | {"lm_head.weight"} & set(found.names)
    loose = {"rtol": 1e-2, "atol": 1e-3} if "bfloat16" in text else {"rtol": 1e-5, "atol": 1e-6}
    for name in found.names:
        torch.testing.assert_close(
            found.tensor(name), expected.tensor(name), **loose, msg=lambda why, name=name: f"{name}: {why}"
        )
    one, other = (json.loads((folder / "config.json").read_text()) for folder in (ours, theirs))
    assert {key: one.get(key) for key in other if key != "transformers_version"} == {
        key: value for key, value in other.items() if key != "transformers_version"
    }
    tokens = torch.arange(24).view(2, 12)
    logits = [AutoModelForCausalLM.from_pretrained(folder)(tokens).logits.float() for folder in (ours, theirs)]
    torch.testing.assert_close(
        *logits, rtol=3e-2 if "bfloat16" in text else 1e-4, atol=3e-2 if "bfloat16" in text else 1e-5
    )


def plan(text: str, folder: Path) -> Assembly:
    """The assembly of a YAML."""
    config = parse_merge_config(yaml.safe_load(text))
    return assemble(
        config, {name: read_stored_model(Checkpoint.open(folder / name.location)) for name in config.models}
    )


def test_a_model_gives_a_tensor_once_however_often_the_method_asks_for_it(models: Path) -> None:
    config = parse_merge_config(yaml.safe_load(RECIPES["ties with defaults"]))
    checkpoints = {name: Checkpoint.open(models / name.location) for name in config.models}
    assembly = assemble(config, {name: read_stored_model(checkpoint) for name, checkpoint in checkpoints.items()})
    given = []

    class Counted(Checkpoint):
        def tensor(self, name: str) -> Tensor:
            given.append(self.folder.name)
            return super().tensor(name)

    counted = {name: Counted.open(models / name.location) for name in config.models}
    name = "model.layers.1.mlp.up_proj.weight"
    make = assembly.maker(counted, {model: model for model in checkpoints}, 0)
    make(name, torch.empty(assembly.shapes[name]))
    assert sorted(given) == ["m0", "m1", "m2"]


def made(text: str, folder: Path) -> dict[str, Tensor]:
    """All tensors that shoal makes of a YAML."""
    config = parse_merge_config(yaml.safe_load(text))
    checkpoints = {name: Checkpoint.open(folder / name.location) for name in config.models}
    assembly = plan(text, folder)
    make = assembly.maker(checkpoints, {name: name for name in checkpoints}, 0)
    return {name: make(name, torch.empty(task.shape)) for name, task in assembly.tasks.items()}


LINEAR = """
merge_method: linear
models: [{model: model-0, parameters: {weight: 1}}, {model: model-1, parameters: {weight: 3}}]
"""
SWAPPED = """
merge_method: passthrough
slices:
  - sources: [{model: model-0, layer_range: [1, 2]}]
  - sources: [{model: model-1, layer_range: [0, 1], parameters: {scale: 2}}]
"""


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_is_assembled_by_the_formula(kind: str, tmp_path: Path) -> None:
    pool(tmp_path, kind, sources=2)
    one, other = (load_file(tmp_path / f"model-{seed}" / "model.safetensors") for seed in range(2))
    linear = made(LINEAR, tmp_path)
    assert linear.keys() == one.keys()
    for name, tensor in linear.items():
        torch.testing.assert_close(tensor, 0.25 * one[name] + 0.75 * other[name], rtol=1e-5, atol=1e-6)
    if kind in ("deepseek-v2", "deepseek-v3", "jamba"):
        with pytest.raises(MergingError, match=r"model-0: its layer 1 is taken for layer 0, but has no .*\.down_"):
            made(SWAPPED, tmp_path)
        return
    swapped = made(SWAPPED, tmp_path)
    assert swapped.keys() == one.keys()
    for name, tensor in swapped.items():
        layer = re.search(r"\.(\d+)\.", name)
        if layer:
            swap = {"0": (one, 1, ".1."), "1": (other, 2, ".0.")}
            source, scale, number = swap[layer[1]]
            assert torch.equal(tensor, scale * source[re.sub(r"\.\d+\.", number, name, count=1)]), name
        else:  # tensors before the layers are of the first slice, tensors after them of the last
            assert torch.equal(tensor, one[name]) or torch.equal(tensor, 2 * other[name]), name


def test_a_gradient_s_end_holds_for_the_head_where_mergekit_starts_it_anew(models: Path) -> None:
    found = plan(
        """
        merge_method: slerp
        base_model: m0
        slices: [{sources: [{model: m0, layer_range: [0, 4]}, {model: m1, layer_range: [0, 4]}]}]
        parameters: {t: [0.2, 0.8]}
        """,
        models,
    )
    values = {name: task.values["t"][0] for name, task in found.tasks.items()}
    assert values["model.embed_tokens.weight"] == values["model.layers.0.mlp.up_proj.weight"] == 0.2
    assert values["model.layers.1.mlp.up_proj.weight"] == pytest.approx(0.4)
    assert values["model.norm.weight"] == values["lm_head.weight"] == values["model.layers.3.mlp.up_proj.weight"] == 0.8


def test_a_file_without_a_dtype_gives_the_one_that_holds_all_models(models: Path) -> None:
    mean = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: %s}, {model: %s}]"
    assert plan(mean % ("h0", "h1"), models).dtype == "bfloat16"
    assert plan(mean % ("h0", "m1"), models).dtype == "float32"


def test_layer_types_go_along_with_their_layers() -> None:
    config = tiny_model("gemma2", seed=0, layers=4).config.to_dict()
    sliding, full = config["layer_types"][:2]
    taken = (0, 1, 2, 0, 1)
    for given in (config, {key: value for key, value in config.items() if key != "layer_types"}):
        found = stack_config(given, [[(given, layer)] for layer in taken], "gemma")
        assert found["layer_types"] == [sliding, full, sliding, sliding, full]
        assert found["num_hidden_layers"] == 5
    with pytest.raises(MergingError, match=r"^layer 0: layer_types is 'sliding_attention' in one model and 'full_"):
        stack_config(config, [[(config, 0), (config, 1)]], "gemma")


def test_only_lists_that_follow_the_depth_go_along_with_layers() -> None:
    config = {**tiny_model("mamba2", seed=0).config.to_dict(), "time_step_limit": [0.0, 1.0]}  # two layers, two limits
    assert stack_config(config, [[(config, 1)], [(config, 1)]], "mamba")["time_step_limit"] == [0.0, 1.0]
    assert stack_config(config, [[(config, layer)] for layer in (1, 0, 1)], "mamba")["time_step_limit"] == [0.0, 1.0]
    config = tiny_model("llama", seed=0).config.to_dict() | {"eos_token_id": [2, 3]}
    assert stack_config(config, [[(config, 1)], [(config, 0)]], "llama")["eos_token_id"] == [2, 3]


WRONG = {
    "merge_method: task_arithmetic\nbase_model: m0\nmodels: [{model: m1}]": r"^models\[0\]\.parameters\.weight: "
    r"got nothing: task_arithmetic needs it for lm_head\.weight$",
    "merge_method: linear\nparameters: {weight: [{filter: mlp, value: 1}, {value: 0}]}\nmodels: [{model: m1}]": (
        r"^models\.parameters\.weight: got \[0\.0\] for lm_head\.weight: their sum must not be 0$"
    ),
    "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: m1}, {model: g1}]": r"^g1: it has no tensor ",
    "merge_method: passthrough\nslices: [{sources: [{model: m0, layer_range: [2, 9]}]}]": (
        r"^slices\[0\]\.sources\[0\]\.layer_range: got \[2, 9\]: m0 has 4 layers; the end is not included"
    ),
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_does_not_fit_the_models_is_refused_before_their_weights_are_read(text: str, models: Path) -> None:
    with pytest.raises(MergingError, match=WRONG[text]):
        plan(text, models)
