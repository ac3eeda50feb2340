"""Models of paths, whose layers come from several others, must be answered for as lm-eval answers for them."""

from pathlib import Path

import pytest
from lm_eval.models.huggingface import HFLM

from fixtures.engine import (
    TIGHT,
    Words,
    assert_same_likelihoods,
    assert_same_texts,
    make_model,
    make_tokenizer,
    wrap_both_ways,
)
from merging.identity import ModelId
from merging.partition import Partition
from merging.paths.live import PathModels
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

LAYERS = 3
HOPS = [(0, 0, 1.0), (1, 1, 0.8), (1, 1, 1.1), (0, 1, 1.0), (0, 2, 1.3), (1, 2, 0.9)]
"""Layers of two sources, one of them twice, so that their kinds of attention come in another order."""


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gemma3_text"])
def test_paths_through_two_models_are_answered_as_lm_eval_does(family: str, tmp_path: Path) -> None:
    sources = [make_model(family, layers=LAYERS, seed=seed) for seed in (0, 1)]
    checkpoints = {}
    for number, source in enumerate(sources):
        source.save_pretrained(tmp_path / str(number))
        checkpoints[ModelId(f"tiny/{number}", f"{number:040x}")] = Checkpoint.open(tmp_path / str(number))
    whole = Partition.even(LAYERS, 1, modules_apart=False, ends_apart=False)
    parts = tuple(WeightMerge.single(source, whole, "float32") for source in checkpoints)
    models = PathModels(tmp_path / "0", checkpoints, dtype="float32")
    words = Words(seed=14)
    choices, prompts = words.choices(6), words.prompts(6, {"until": ["?"], "max_gen_toks": 7})
    _, own = wrap_both_ways(sources[0], limits=TIGHT)
    seen = {tuple(own.loglikelihood(choices))}
    for hops in (HOPS, HOPS[:5]):
        path = models.model(PathRecipe(parts, tuple(Hop(*hop) for hop in hops), 0, 0))
        own.put(path)
        own.engine.limits = TIGHT
        plain = HFLM(pretrained=path, tokenizer=make_tokenizer("bytes"), batch_size=1)
        assert_same_likelihoods(plain, own, choices)
        assert_same_texts(plain, own, prompts)
        seen.add(tuple(own.loglikelihood(choices)))
    assert len(seen) == 3
