"""Reads adapter_config.json: the modules that an adapter changes, and how strongly, by the rules of peft."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import regex

from merging.errors import MergingError
from merging.sources.patterns import PatternMatcher

_Number = TypeVar("_Number", int, float)

_REMEDY = "save it with plain LoRA weights, or merge it with peft and name the result"
_REFUSED = {
    "target_parameters": "it changes parameters, such as fused experts, instead of modules",
    "layer_replication": "it repeats layers of its base",
    "trainable_token_indices": "it trains single tokens' embeddings",
    "alora_invocation_tokens": "it works only after certain tokens, so no weights equal it",
    "megatron_config": "its weights are spread over machines",
    "use_qalora": "its weights are grouped as QA-LoRA has them",
    "use_bdlora": "its weights are block-diagonal",
    "arrow_config": "it chooses among adapters by token",
    "kasa_config": "its weights are not those of plain LoRA",
    "monteclora_config": "its weights are drawn at random",
}
"""Settings under which the formula of plain LoRA is wrong → why; none of them may be set."""

_SHIFTING_STARTS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that subtract the adapter's first value from the base: the adapter belongs to that changed base."""

_EVERY_LINEAR = "all-linear"


@dataclass(frozen=True)
class AdapterConfig:
    """A LoRA adapter's settings.

    label: name of the adapter in errors. targets, excluded: endings of module names, or a pattern for whole names.
    ranks, alphas: pattern → value for modules whose name ends with it. layers: layer numbers; None for all.
    layer_stacks: names in front of a layer's number; empty for any. saved: names of modules that are replaced whole.
    """

    label: str
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    rank_stabilised: bool
    dora: bool
    targets: str | tuple[str, ...]
    excluded: str | tuple[str, ...]
    layers: tuple[int, ...] | None
    layer_stacks: tuple[str, ...]
    saved: tuple[str, ...]
    matcher: PatternMatcher = field(compare=False, repr=False)

    def rank_of(self, module: str) -> int:
        """The rank of a module's two matrices."""
        return self.ranks.get(self._pattern_for(module, self.ranks), self.rank)

    def scaling_of(self, module: str) -> float:
        """The factor of a module's product of matrices: α/r, or α/√r (rsLoRA, arXiv:2312.03732)."""
        rank = self.rank_of(module)
        alpha = self.alphas.get(self._pattern_for(module, self.alphas), self.alpha)
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def targets_module(self, module: str) -> bool | None:
        """Whether the adapter changes a module of this name; None if names alone do not decide it."""
        match = self.matcher.match
        if self._named(self.excluded, module) or any(match(rf"(^|.*\.){name}($|\..*)", module) for name in self.saved):
            return False
        if self.targets == _EVERY_LINEAR:
            return None
        if not self._named(self.targets, module):
            return False
        # Given a pattern, peft does not look at the layers.
        return isinstance(self.targets, str) or self.layers is None or self._layer_of(module) in self.layers

    def _layer_of(self, module: str) -> int | None:
        stacks = [rf"(?:^|.*?\.){stack}" for stack in self.layer_stacks] or [r".*?\.[^.]*"]
        patterns = [rf"{stack}\.(?P<layer>\d+)\." for stack in stacks]
        found = next(filter(None, (self.matcher.match(pattern, module) for pattern in patterns)), None)
        return int(found["layer"]) if found else None

    def _pattern_for(self, module: str, patterns: Collection[str]) -> str:
        """The first pattern that a module's name ends with, at a dot; else the name itself."""
        match = self.matcher.match
        return next((pattern for pattern in patterns if match(rf"(.*\.)?({pattern})$", module)), module)

    def _named(self, names: str | tuple[str, ...], module: str) -> bool:
        if isinstance(names, str):
            return bool(names) and self.matcher.match(names, module, whole=True) is not None
        return any(module == name or module.endswith(f".{name}") for name in names)


def read_adapter_config(label: str, config: Mapping[str, object]) -> AdapterConfig:
    """Read a parsed adapter_config.json; MergingError names the key that cannot be followed.

    label: name of the adapter in errors.
    """
    kind = config.get("peft_type")
    if kind != "LORA":
        raise MergingError(f"{label}: peft_type: got {kind!r}: only LORA can be merged")
    for key, why in _REFUSED.items():
        if config.get(key):
            raise MergingError(f"{label}: {key}: got {_short(config[key])}: {why}; {_REMEDY}")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_SHIFTING_STARTS):
        remedy = "save it with path_initial_model_for_weight_conversion"
        raise MergingError(f"{label}: init_lora_weights: got {start!r}: its weights belong to a changed base; {remedy}")
    reader = _Reader(label, config)
    found = AdapterConfig(
        label=label,
        rank=reader.whole("r", config.get("r", 8)),
        alpha=reader.finite("lora_alpha", config.get("lora_alpha", 8)),
        ranks=reader.by_pattern("rank_pattern", reader.whole),
        alphas=reader.by_pattern("alpha_pattern", reader.finite),
        rank_stabilised=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
        targets=reader.names("target_modules"),
        excluded=reader.names("exclude_modules"),
        layers=reader.layers(),
        layer_stacks=reader.listed("layers_pattern"),
        saved=reader.listed("modules_to_save"),
        matcher=PatternMatcher(label),
    )
    reader.check_patterns(found)
    return found


@dataclass(frozen=True)
class _Reader:
    """Reads values of the right kind from untrusted JSON."""

    label: str
    config: Mapping[str, object]

    def whole(self, key: str, value: object) -> int:
        if type(value) is not int or value < 1:
            raise self.wrong(key, value, "a whole number above 0")
        return value

    def finite(self, key: str, value: object) -> float:
        try:
            found = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:  # a whole number of hundreds of digits
            found = math.inf
        if not math.isfinite(found):
            raise self.wrong(key, value, "a finite number")
        return found

    def by_pattern(self, key: str, read: Callable[[str, object], _Number]) -> dict[str, _Number]:
        values = self.config.get(key) or {}
        if not isinstance(values, dict):
            raise self.wrong(key, values, "a mapping of patterns to numbers")
        return {pattern: read(f"{key}.{pattern}", value) for pattern, value in values.items()}

    def names(self, key: str) -> str | tuple[str, ...]:
        value = self.config.get(key)
        return value if isinstance(value, str) else self.listed(key)

    def listed(self, key: str) -> tuple[str, ...]:
        value = self.config.get(key) or ()
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, value, "a list of module names")
        return tuple(sorted(value))

    def layers(self) -> tuple[int, ...] | None:
        value = self.config.get("layers_to_transform")
        numbers = [value] if type(value) is int else value
        if numbers is not None and not (isinstance(numbers, list) and all(type(layer) is int for layer in numbers)):
            raise self.wrong("layers_to_transform", value, "a list of layer numbers")
        return tuple(numbers) if numbers else None

    def check_patterns(self, config: AdapterConfig) -> None:
        whole = [names for names in (config.targets, config.excluded) if isinstance(names, str)]
        parts = [*config.ranks, *config.alphas, *config.saved, *config.layer_stacks]
        # As they are used: some patterns are none within another.
        used = [(pattern, pattern) for pattern in whole] + [(part, rf"(.*\.)?({part})(?P<layer>\d+)") for part in parts]
        for pattern, wrapped in used:
            try:
                re.compile(wrapped)
                regex.compile(wrapped)
            except (re.error, regex.error, OverflowError, RecursionError) as error:
                why = f"no regular expression ({error})"
                raise MergingError(f"{self.label}: pattern {_short(pattern)}: {why}") from error

    def wrong(self, key: str, value: object, wanted: str) -> MergingError:
        return MergingError(f"{self.label}: {key}: got {_short(value)}: it must be {wanted}")


def _short(value: object) -> str:
    return repr(value)[:60]
