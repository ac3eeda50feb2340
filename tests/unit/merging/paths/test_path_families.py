from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM

from fixtures.tiny_models import FAMILIES, ON_PATHS, WITHOUT_PATHS, pool, tiny_model
from merging.identity import ModelId
from merging.models.building import build_from_config
from merging.models.layer_config import is_tied
from merging.partition import Partition
from merging.paths.folding import RULES, fold_scale
from merging.paths.layout import lay_out, path_config
from merging.paths.live import PathModels
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.json_object import read_json_object
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

LAYERS = 3
PROMPT = torch.arange(3, 23).reshape(2, 10)
HOPS = (Hop(0, 0, 0.8), Hop(1, 1, 1.3), Hop(1, 0, 1.0), Hop(0, 1, 0.75), Hop(0, 2, 1.2))


def path_over(checkpoints: Mapping[ModelId, Checkpoint], dtype: str = "float32") -> PathRecipe:
    """A path whose embedding comes from one model and whose head, where it is not tied, from another."""
    groups = Partition.even(LAYERS, 1, False, False)
    parts = tuple(WeightMerge.single(source, groups, dtype) for source in checkpoints)
    tied = is_tied(read_json_object(next(iter(checkpoints.values())).folder / "config.json"))
    return PathRecipe(parts, HOPS, 0, 0 if tied else 1)


def blocks(model: Any) -> Any:
    """The list of a model's layers, and its name."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)]
    return next((name, module) for name, module in lists if len(module) in (LAYERS, len(HOPS)))


def scaled_by_hooks(model: Any) -> Any:
    """The model with its residual stream multiplied before every layer, as the method's paper has it."""
    for layer, hop in zip(blocks(model)[1], HOPS, strict=True):

        def scale(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], by: float = hop.scale) -> Any:
            if args:
                return (args[0] * by, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": kwargs["hidden_states"] * by}

        layer.register_forward_pre_hook(scale, with_kwargs=True)
    return model


def without_epsilon(model: Any) -> Any:
    """The same function with norms that divide by the norm itself: then folding is exact."""
    for module in model.modules():
        for name in ("eps", "variance_epsilon"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 1e-30)
    return model


class InDouble(TorchFunctionMode):
    """Where a model asks for single precision in the midst of its sums, it stays with double.

    And where its code has an epsilon for a norm (OLMo's), `without_epsilon` cannot reach it: it goes here.
    """

    def __torch_function__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        if function is Tensor.float and arguments[0].is_floating_point():
            return arguments[0]
        wide = {torch.float32: torch.float64}
        arguments = tuple(wide.get(one, one) if isinstance(one, torch.dtype) else one for one in arguments)
        named = {key: wide.get(one, one) if key == "dtype" else one for key, one in (named or {}).items()}
        if function is torch.nn.functional.layer_norm and "eps" in named:
            named["eps"] = 1e-30
        return function(*arguments, **named)


def logits_in_double(model: Any) -> Tensor:
    with InDouble():
        return logits(model)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        answer: Tensor = model(PROMPT, use_cache=False).logits
    return answer


def stacked(path: PathRecipe, config: dict[str, Any], states: list[dict[str, Tensor]], *, fold: bool) -> Any:
    """The path's model in float64 from the parts' state dicts, with or without the scales in its weights."""
    layout = lay_out(path, states[0], config)
    model = AutoModelForCausalLM.from_config(
        build_from_config(path_config(path, config), "path").config,
        attn_implementation="eager",
        experts_implementation="eager",
    ).double()
    state = {
        name: fold_scale(states[taken.part][taken.name].double(), taken.fold if fold else None, taken.stream)
        for name, taken in layout.items()
    }
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    return model.eval()


def test_every_family_with_a_rule_is_tried_here_and_no_other() -> None:
    # The decoders of Qwen's models that see have qwen2's weights and rule, and no causal language model of their own.
    inside = {"qwen2_vl_text", "qwen2_5_vl_text"}
    assert all(RULES[decoder] == RULES["qwen2"] for decoder in inside)
    assert {config_class.model_type for config_class, _ in ON_PATHS.values()} == set(RULES) - inside


@pytest.mark.parametrize("kind", ON_PATHS)
def test_scales_in_the_weights_do_what_scales_of_the_stream_do(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS, kinds=ON_PATHS)
    path = path_over(checkpoints)
    config = read_json_object(tmp_path / "model-0" / "config.json")
    states = [
        {name: weight for name, weight in model.state_dict().items() if name not in model.all_tied_weights_keys}
        for model in (tiny_model(kind, seed=seed, layers=LAYERS, kinds=ON_PATHS) for seed in range(2))
    ]
    folded_in = logits_in_double(without_epsilon(stacked(path, config, states, fold=True)))
    unscaled = logits_in_double(without_epsilon(stacked(path, config, states, fold=False)))
    by_hooks = logits_in_double(without_epsilon(scaled_by_hooks(stacked(path, config, states, fold=False))))
    torch.testing.assert_close(folded_in, by_hooks, rtol=1e-9, atol=1e-9)
    assert (by_hooks - unscaled).abs().max() > 1e-3  # the scales do something


def by_hand(sources: Sequence[Any]) -> Any:
    """The path of HOPS out of the sources' own blocks, with the ends of the first source; nothing of shoal in it."""
    values = sources[0].config.to_dict() | {"num_hidden_layers": len(HOPS)}
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers"):
        if values.get(name):
            values[name] = [values[name][hop.layer] for hop in HOPS]
    model = AutoModelForCausalLM.from_config(type(sources[0].config)(**values)).eval()
    stack, layers = blocks(model)
    ends = {name: weight for name, weight in sources[0].state_dict().items() if not name.startswith(f"{stack}.")}
    model.load_state_dict(ends, strict=False)
    for number, hop in enumerate(HOPS):
        layers[number] = copy.deepcopy(blocks(sources[hop.part])[1][hop.layer])
    return scaled_by_hooks(model)


UNLIKE_BY_HAND = {
    *WITHOUT_PATHS,
    *("deepseek-v2", "deepseek-v3"),  # their first layers are dense
    "phi-moe",  # a token is nearly as close to one expert as to another: the norms' epsilon decides
}


@pytest.mark.parametrize("kind", sorted(FAMILIES.keys() - UNLIKE_BY_HAND))
def test_a_candidate_answers_as_its_sources_blocks_do_with_a_scaled_stream(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS)
    path = replace(path_over(checkpoints), head=0)
    live = PathModels(tmp_path / "model-0", checkpoints, dtype="float32").model(path)
    expected = logits(by_hand([AutoModelForCausalLM.from_pretrained(one.folder) for one in checkpoints.values()]))
    # The norms' epsilon meets a stream of another size; these streams are small, so it shows. Up to 1.1e-3 were seen.
    torch.testing.assert_close(logits(live), expected, rtol=0, atol=2e-3 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ON_PATHS)
def test_a_path_in_memory_is_the_path_in_files_that_load_plainly(kind: str, tmp_path: Path) -> None:
    checkpoints = pool(tmp_path, kind, sources=2, layers=LAYERS, kinds=ON_PATHS)
    path = path_over(checkpoints)
    live = PathModels(tmp_path / "model-0", checkpoints, dtype="float32").model(path)
    write_release(path, checkpoints, tmp_path / "release", {})
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "release", trust_remote_code=False).eval()
    for name, weight in written.state_dict().items():
        assert torch.equal(live.state_dict()[name], weight), name
    assert len(blocks(written)[1]) == len(HOPS)
    torch.testing.assert_close(logits(live), logits(written), rtol=0, atol=2e-6)
    with torch.no_grad():  # the cache must know each hop, even where a layer is there twice
        torch.testing.assert_close(
            live.generate(PROMPT, max_new_tokens=8, do_sample=False, min_new_tokens=8),
            live.generate(PROMPT, max_new_tokens=8, do_sample=False, min_new_tokens=8, use_cache=False),
        )
    assert not re.search("auto_map", (tmp_path / "release" / "config.json").read_text())
