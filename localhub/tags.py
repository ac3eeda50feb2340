"""What the Hub derives from a card and the files: library, task, tags, relation to base models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_TASK_BY_HEAD = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForMaskedLM": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForImageClassification": "image-classification",
    "ForVisionText2Text": "image-text-to-text",
}
_LIBRARIES = frozenset({"transformers", "peft", "diffusers", "sentence-transformers", "timm", "gguf", "mlx"})
_QUANTIZERS = frozenset({"gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8", "aqlm", "hqq", "mxfp4"})
_ARXIV = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})")


def library_name(card: Mapping[str, Any], paths: Iterable[str]) -> str | None:
    """The library: as declared, else told by a tag or by an adapter's file. Never guessed from
    config.json."""
    declared = card.get("library_name")
    if isinstance(declared, str) and declared:
        return declared
    tagged = [tag for tag in words(card.get("tags")) if tag in _LIBRARIES]
    if tagged:
        return tagged[0]
    return "peft" if "adapter_config.json" in set(paths) else None


def pipeline_tag(card: Mapping[str, Any], config: Mapping[str, Any], library: str | None) -> str | None:
    """The task: as declared, else (for Transformers) from the architecture's head."""
    declared = card.get("pipeline_tag")
    if isinstance(declared, str) and declared:
        return declared
    if library != "transformers":
        return None
    for architecture in words(config.get("architectures")):
        for head, task in _TASK_BY_HEAD.items():
            if architecture.endswith(head):
                return task
    return None


def relation(card: Mapping[str, Any], paths: Iterable[str], config: Mapping[str, Any]) -> str | None:
    """How the model came from its base models: as declared, else read off the files and their number."""
    bases = words(card.get("base_model"))
    if not bases:
        return None
    declared = card.get("base_model_relation")
    if isinstance(declared, str) and declared:
        return declared
    paths = list(paths)
    if "adapter_config.json" in paths:
        return "adapter"
    if quantizer(config) or any(path.endswith(".gguf") for path in paths):
        return "quantized"
    return "merge" if len(bases) > 1 or "merge" in words(card.get("tags")) else "finetune"


def quantizer(config: Mapping[str, Any]) -> str | None:
    """The quantization method that the config names."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return None
    method = quantization.get("quant_method")
    return method if isinstance(method, str) else "bitsandbytes"


def derive(
    card: Mapping[str, Any],
    config: Mapping[str, Any],
    paths: Iterable[str],
    body: str,
    *,
    has_safetensors: bool,
) -> list[str]:
    """All tags of a model, each once, in the Hub's order: library and formats, what it is, where it came
    from."""
    paths = list(paths)
    library = library_name(card, paths)
    bases = words(card.get("base_model"))
    kind = relation(card, paths, config)
    found = [
        *([library] if library else []),
        *_formats(paths, has_safetensors),
        *words(config.get("model_type")),
        *([task] if (task := pipeline_tag(card, config, library)) else []),
        *words(card.get("tags")),
        *_traits(config, card),
        *words(card.get("language")),
        *(f"dataset:{name}" for name in words(card.get("datasets"))),
        *(f"arxiv:{number}" for number in _ARXIV.findall(body)),
        *(f"base_model:{base}" for base in bases),
        *(f"base_model:{kind}:{base}" for base in bases),
        *(f"license:{licence}" for licence in words(card.get("license"))),
        "region:us",
    ]
    return list(dict.fromkeys(found))


def _formats(paths: list[str], has_safetensors: bool) -> Iterator[str]:
    if any(path.endswith((".bin", ".pt", ".pth", ".ckpt")) for path in paths):
        yield "pytorch"
    if has_safetensors:
        yield "safetensors"
    if any(path.endswith(".gguf") for path in paths):
        yield "gguf"


def _traits(config: Mapping[str, Any], card: Mapping[str, Any]) -> Iterator[str]:
    if config.get("chat_template"):
        yield "conversational"
    if config.get("auto_map"):
        yield "custom_code"
    if card.get("model-index"):
        yield "model-index"
    method = quantizer(config)
    if method:
        quantization = config["quantization_config"]
        bits = quantization.get("bits") or (4 if quantization.get("load_in_4bit") else 8)
        yield f"{bits}-bit"
        if method in _QUANTIZERS:
            yield method


def words(value: Any) -> list[str]:
    """A field that may be one string, a list of them, or something wrong, as a list of strings."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
