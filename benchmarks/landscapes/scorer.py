"""The item results of merges of tiny Llamas, as the project's engine gives them, at a fraction of the time.

The project's live model merges. All questions of a split are then read in one pass along a tree of their prefixes: an
answer is right if each of its tokens is the likeliest one behind those before it, which is what greedy decoding and
lm-eval's `acc` of one continuation say. Sums are in another order than the engine's, so that an item could differ where
two tokens are equally likely in all but the last bits; tests compare item by item with the engine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import merging
from benchmarks.landscapes import prefix_tree
from benchmarks.landscapes.prefix_tree import PrefixTree, TokenQuestion
from bot.hub.resolver import open_sources
from bot.scoring.worker import NOT_SCORING
from bot.scoring.worker_spec import WorkerSpec
from evaluation.fingerprint import sources_digest
from evaluation.harness.eval_set import ItemRequests, LmEvalSet, TaskRequests
from evaluation.harness.suite import LmEvalSuite
from evaluation.splits import Split
from merging.kinds import kind_of
from merging.models.live import LiveModel
from merging.recipes.recipe import Recipe

BLOCK = 512
"""Nodes whose states are computed at once."""

Rotations = tuple[Tensor, Tensor]

ItemAnswers = NDArray[np.bool_]
"""Whether each item of a split is answered rightly, in the order of the evaluation set."""


class FastScorer:
    """Item results of merges by a worker's spec."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._config: dict[str, Any] = json.loads((spec.config_folder / "config.json").read_text("utf-8"))
        self._live = LiveModel(spec.config_folder, open_sources(spec.sources, dict(spec.checkpoints)), dtype=spec.dtype)
        self._weights = dict(self._live.model.named_parameters())
        self._epsilon, self._heads = float(self._config["rms_norm_eps"]), int(self._config["num_attention_heads"])
        self._layers = [self._layer(number) for number in range(int(self._config["num_hidden_layers"]))]
        self._eval_sets: dict[Split, LmEvalSet] = {}
        self._trees: dict[Split, PrefixTree] = {}

    @torch.inference_mode()
    def __call__(self, recipe: Recipe, split: Split) -> ItemAnswers:
        """Merge, and answer all items of a split; MergingError as the live model raises it."""
        (merge,) = recipe.parts
        self._live.become(merge)
        tree = self._tree(split)
        return tree.judge(self._logits(tree).argmax(-1).numpy())

    def _layer(self, number: int) -> Mapping[str, Tensor]:
        """A layer's weights by their names inside it; the live model rewrites them in place."""
        prefix = f"model.layers.{number}."
        return {name.removeprefix(prefix): one for name, one in self._weights.items() if name.startswith(prefix)}

    def digest(self, split: Split) -> str:
        """Digest of everything that decides the results, except the recipe."""
        return self._eval_set(split).digest

    def skills(self, split: Split) -> NDArray[np.int64]:
        """The skill of each item, by its place among the skills."""
        places = {skill.name: place for place, skill in enumerate(self._spec.skills)}
        return np.array([places[item.skill] for item in self._eval_set(split).items])

    def _eval_set(self, split: Split) -> LmEvalSet:
        if split not in self._eval_sets:
            code = [sources_digest(Path(merging.__file__).parent, NOT_SCORING)]
            code += [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in (__file__, prefix_tree.__file__)]
            self._eval_sets[split] = self._suite.build(split, self._tokenizer, code)
        return self._eval_sets[split]

    def _tree(self, split: Split) -> PrefixTree:
        if split not in self._trees:
            tasks = self._eval_set(split).tasks
            self._trees[split] = PrefixTree.plant([one for task in tasks for one in self._questions(task)])
        return self._trees[split]

    def _questions(self, task: TaskRequests) -> list[TokenQuestion]:
        return [self._question(task, item) for item in task.items]

    def _question(self, task: TaskRequests, item: ItemRequests) -> TokenQuestion:
        (request,) = item.requests
        prompt, other = request.args
        if request.request_type == "loglikelihood":
            return TokenQuestion(self._ids(prompt), self._ids(other))
        answer = self._ids(task.loaded.expected(item.doc))
        return TokenQuestion(
            self._ids(prompt), answer, tuple(token for text in other["until"] for token in self._ids(text))
        )

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _logits(self, tree: PrefixTree) -> Tensor:
        """The logits at the nodes that are asked."""
        weights = self._weights
        rotations = self._rotations(tree.places)
        states = functional.embedding(tree.tokens, weights["model.embed_tokens.weight"])
        for part in self._layers[:-1]:
            attended = self._attend(part, states, rotations, tree)
            states = self._think(part, states, attended[tree.first])
        # Behind the last layer nobody looks at the other nodes.
        attended = self._attend(self._layers[-1], states, rotations, tree)
        states = self._think(self._layers[-1], states[tree.asked], attended[tree.first[tree.asked]])
        normed = self._norm(states, weights["model.norm.weight"])
        return functional.linear(normed, weights["lm_head.weight"])

    def _attend(self, part: Mapping[str, Tensor], states: Tensor, rotations: Rotations, tree: PrefixTree) -> Tensor:
        """A layer's causal attention at all positions of the batches, one after the other, before its projection."""
        normed = self._norm(states, part["input_layernorm.weight"])
        # One product of three matrices is faster than three products.
        matrix = torch.cat([part[f"self_attn.{name}_proj.weight"] for name in "qkv"])
        mixed = functional.linear(normed, matrix).unflatten(-1, (3, self._heads, -1))
        _rotate(mixed[:, :2], *rotations)
        attended = []
        for batch in tree.batches:
            query, key, value = mixed[batch].permute(2, 0, 3, 1, 4)
            one = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            attended.append(one.transpose(1, 2).flatten(2).flatten(0, 1))
        return torch.cat(attended)

    def _think(self, part: Mapping[str, Tensor], states: Tensor, attended: Tensor) -> Tensor:
        """What a layer makes of states and of what they attended to, block by block, so that caches hold a block."""
        done = torch.empty_like(states)
        for begin in range(0, len(states), BLOCK):
            rows = slice(begin, begin + BLOCK)
            block = states[rows] + functional.linear(attended[rows], part["self_attn.o_proj.weight"])
            normed = functional.rms_norm(
                block, block.shape[-1:], part["post_attention_layernorm.weight"], self._epsilon
            )
            gate, up = (functional.linear(normed, part[f"mlp.{name}_proj.weight"]) for name in ("gate", "up"))
            done[rows] = block + functional.linear(
                functional.silu(gate, inplace=True).mul_(up), part["mlp.down_proj.weight"]
            )
        return done

    def _norm(self, states: Tensor, weight: Tensor) -> Tensor:
        return functional.rms_norm(states, states.shape[-1:], weight, self._epsilon)

    def _rotations(self, places: Tensor) -> Rotations:
        """Cosines and sines of rotary position embeddings (Su et al. 2021): [nodes, 1, 1, half of a head's size]."""
        size = int(self._config["head_dim"])
        theta = float(self._config["rope_parameters"]["rope_theta"])
        angles = torch.outer(places.float(), theta ** -(torch.arange(0, size, 2).float() / size))
        return angles.cos()[:, None, None], angles.sin()[:, None, None]

    @cached_property
    def _suite(self) -> LmEvalSuite:
        spec = self._spec
        return LmEvalSuite.load(spec.skills, spec.task_folders, spec.sizes, spec.seed)

    @cached_property
    def _tokenizer(self) -> Any:
        return kind_of(self._config).load_source_processor(self._spec.config_folder, None)


def _rotate(states: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate queries and keys in place."""
    one, other = states.chunk(2, -1)
    turned = one * cosines - other * sines
    other.mul_(cosines).addcmul_(one, sines)
    one.copy_(turned)
