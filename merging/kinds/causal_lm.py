"""Causal language models: one stack of layers between embeddings and a head, as transformers builds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging.kinds.kind import MIB, NO_COMPONENTS, CompanionFile, Components, read_architectures
from merging.kinds.transformers_kind import TransformersKind
from merging.partition import Partition, find_routers
from merging.tensor_names import count_layers

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_ENDINGS = ("ForCausalLM", "LMHeadModel")

TOKENIZER_FILES = (
    CompanionFile("generation_config.json", may_point_to_code=True),
    CompanionFile("tokenizer.json", 64 * MIB),
    CompanionFile("tokenizer_config.json", 16 * MIB, may_point_to_code=True),
    CompanionFile("tokenizer.model", 64 * MIB),
    CompanionFile("special_tokens_map.json", may_point_to_code=True),
    CompanionFile("added_tokens.json", 16 * MIB),
    CompanionFile("vocab.json", 64 * MIB),
    CompanionFile("vocab.txt", 64 * MIB),
    CompanionFile("merges.txt", 64 * MIB),
    CompanionFile("spiece.model", 64 * MIB),
    CompanionFile("chat_template.jinja"),
    CompanionFile("chat_template.json", may_point_to_code=True),
)
"""The files of a model that reads text: how it generates, its tokenizer, its chat template."""


class CausalLM(TransformersKind):
    """The kind of causal language models."""

    name = "language"
    pipeline_tag = "text-generation"
    inner_kinds: tuple[str, ...] = ()
    other_components: tuple[str, ...] = ()
    processor_files: tuple[str, ...] = ()
    auto_classes = ("AutoModelForCausalLM", "AutoTokenizer")
    files = TOKENIZER_FILES

    def find_refusal(self, config: Mapping[str, Any]) -> str | None:
        """Refuse a config with an architecture whose name is not that of a causal language model in transformers."""
        names = read_architectures(config)
        if not names:
            return "its config names no architecture"
        odd = [name for name in names if not name.endswith(_ENDINGS)]
        return f"its architecture {odd[0][:60]} is not a causal language model" if odd else None

    def partition(
        self,
        tensor_names: Iterable[str],
        *,
        bands: int,
        modules_apart: bool,
        ends_apart: bool,
        components: Components = NO_COMPONENTS,  # noqa: ARG002 - it has none
    ) -> Partition:
        """One stack of layers in even bands."""
        names = tuple(tensor_names)
        return Partition.even(count_layers(names), bands, modules_apart, ends_apart, find_routers(names))

    def name_tensors(self, model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Name tensors as `save_pretrained` would."""
        from merging.models.transformers_names import as_saved

        return as_saved(model, state)

    def name_stored(
        self,
        config: Mapping[str, object],  # noqa: ARG002 - merges use the names in the files
        label: str,  # noqa: ARG002
        names: Iterable[str],
    ) -> dict[str, str]:
        """The names in the files."""
        return {name: name for name in names}

    def components(self, model: PreTrainedModel) -> Components:  # noqa: ARG002
        """None: the model is a language model and nothing else."""
        return NO_COMPONENTS

    def build(self, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
        """Build the model by transformers' own class for its config."""
        from transformers import AutoModelForCausalLM

        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
        return model

    def load(self, folder: Path) -> PreTrainedModel:
        """Load a written model in its own dtype."""
        from transformers import AutoModelForCausalLM

        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
        return model.eval()

    def load_processor(self, folder: Path) -> PreTrainedTokenizerBase:
        """Load the tokenizer."""
        from transformers import AutoTokenizer

        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return tokenizer

    def load_source_processor(self, folder: Path, template: Path | None = None) -> PreTrainedTokenizerBase:
        """Load the tokenizer of a source as its release will have it: that of its tokenizer.json wherever possible."""
        from merging.tokenizers.release_files import in_release_form

        with in_release_form(folder) as released:
            tokenizer = self.load_processor(released)
        if template is not None and tokenizer.chat_template is None:
            tokenizer.chat_template = self.load_source_processor(template).chat_template
        return tokenizer
