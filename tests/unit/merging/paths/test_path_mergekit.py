from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from mergekit.scripts import multimerge, run_yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from fixtures.tiny_models import ON_PATHS, pool, recipe_of
from merging.identity import ModelId
from merging.models.layer_config import is_tied
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.json_object import read_json_object
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

LAYERS = 3
WHOLE = Partition.even(LAYERS, 1, False, False)
HOPS = (Hop(1, 0, 0.8), Hop(0, 1, 1.3), Hop(0, 1, 1.0), Hop(1, 2, 0.75), Hop(0, 2, 1.2))


def mergekit(command: Any, *arguments: str) -> Result:
    """Run one of mergekit's own commands, as people do."""
    return CliRunner().invoke(command, [*arguments, "--no-copy-tokenizer"])


def with_folders(text: str, checkpoints: Mapping[ModelId, Checkpoint], target: Path) -> Path:
    """A release's YAML with folders in place of repos."""
    for source, checkpoint in checkpoints.items():
        text = text.replace(str(source), str(checkpoint.folder))
    target.write_text(text)
    return target


ODD = {
    "without its scales": r"post_(attention|feedforward)_layernorm",
    "even the head": r"^lm_head\.|^[a-z]+\.norm(_f)?\.",
    "leaves out tensors": r"_proj\.bias$|query_key_value\.bias$|dense(_4h_to_h|_h_to_4h)?\.bias$|[qk]_layernorm",
}
"""What a recipe says of mergekit → the weights in which its model differs then."""


def layers_in(folder: Path) -> Any:
    """All that a folder's config.json says layer by layer; None if there is no config.json."""
    if not (folder / "config.json").is_file():
        return None
    config = AutoConfig.from_pretrained(folder)
    return config.num_hidden_layers, getattr(config, "layer_types", None), getattr(config, "no_rope_layers", None)


def odd_weights(ours: Path, theirs: Path) -> set[str]:
    """The weights that differ, as transformers reads them with our config.json: it may fuse and rename."""
    shutil.copy(ours / "config.json", theirs / "config.json")
    one, other = (AutoModelForCausalLM.from_pretrained(folder, dtype="auto").state_dict() for folder in (ours, theirs))
    return {name for name, weight in one.items() if not torch.equal(weight, other[name])}


@pytest.mark.parametrize("kind", ON_PATHS)
def test_mergekit_makes_our_weights_of_our_recipe_but_where_it_says_so(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS, dtype=torch.bfloat16, kinds=ON_PATHS)
    parts = tuple(WeightMerge.single(source, WHOLE, "bfloat16") for source in checkpoints)
    tied = is_tied(read_json_object(tmp_path / "model-0" / "config.json"))
    path = PathRecipe(parts, HOPS, 0, 0 if tied else 1)  # ends that are not the first and last hop's models
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_release(path, checkpoints, ours, {})
    text = (ours / RECIPE_NAME).read_text()
    notes = re.sub("\n# ", " ", "".join(line for line in text.splitlines(keepends=True) if line.startswith("#")))
    done = mergekit(run_yaml.main, str(with_folders(text, checkpoints, tmp_path / "recipe.yml")), str(theirs))
    if "stops unless" in notes:
        assert "required but not present in model" in str(done.exception)
        return
    assert ("no config.json that fits these" in notes) == (layers_in(ours) != layers_in(theirs))
    odd = odd_weights(ours, theirs)
    for said, which in ODD.items():
        found = {name for name in odd if re.search(which, name)}
        assert bool(found) == (said in notes)
        odd -= found
    assert not odd


def test_a_path_through_a_merge_is_a_recipe_of_several_stages(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "llama", sources=3, layers=LAYERS)
    merge = recipe_of("task_arithmetic", list(checkpoints), WHOLE)
    path = PathRecipe((WeightMerge.single(list(checkpoints)[1], WHOLE, "float32"), merge), HOPS, 0, 1)
    write_release(path, checkpoints, tmp_path / "ours", {})
    text = (tmp_path / "ours" / RECIPE_NAME).read_text()
    assert [stage.get("name") for stage in yaml.safe_load_all(text)] == ["merge-1", None]
    config = with_folders(text, checkpoints, tmp_path / "recipe.yml")
    between, theirs = tmp_path / "between", tmp_path / "theirs"
    done = mergekit(multimerge.main, str(config), "--out-path", str(theirs), "-I", str(between))
    assert done.exit_code == 0, done.output
    ours, found = load_file(tmp_path / "ours" / "model.safetensors"), load_file(theirs / "model.safetensors")
    assert ours.keys() == found.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, found[name], rtol=1e-6, atol=1e-7)


def test_what_mergekit_cannot_express_is_said_in_a_comment(tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, "gemma2", sources=2, layers=LAYERS)
    parts = tuple(WeightMerge.single(source, WHOLE, "float32") for source in checkpoints)
    write_release(PathRecipe(parts, HOPS, 0, 0), checkpoints, tmp_path / "scaled", {})
    text = (tmp_path / "scaled" / RECIPE_NAME).read_text()
    assert text.startswith("# The norms after this family's layers multiply by 1 + weight")
    assert "scale:" not in text
    plain = tuple(Hop(hop.part, hop.layer, 1.0) for hop in HOPS)
    write_release(PathRecipe(parts, plain, 0, 0), checkpoints, tmp_path / "plain", {})
    assert "scales" not in (tmp_path / "plain" / RECIPE_NAME).read_text()
    in_place = tuple(Hop(layer % 2, layer, 1.0) for layer in range(LAYERS))
    write_release(PathRecipe(parts, in_place, 0, 0), checkpoints, tmp_path / "in-place", {})
    assert not re.search("^#", (tmp_path / "in-place" / RECIPE_NAME).read_text(), re.M)
