"""What the Hub derives from a card and the files: library, task, tags, relation to base models."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from pydantic import JsonValue

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
Fields = Mapping[str, JsonValue]  # of a card's front matter, or of a config


def find_library(card: Fields, paths: Collection[str]) -> str | None:
    """The library: as declared, else by a tag or by an adapter's file. Like the Hub, never guess from config.json."""
    tagged = [tag for tag in list_strings(card.get("tags")) if tag in _LIBRARIES]
    return _get_declared(card, "library_name") or next(iter(tagged), "peft" if "adapter_config.json" in paths else None)


def find_pipeline(card: Fields, config: Fields, library: str | None) -> str | None:
    """The task: as declared, else, for Transformers alone, by the ending of the architecture."""
    declared = _get_declared(card, "pipeline_tag")
    if declared or library != "transformers":
        return declared
    for architecture in list_strings(config.get("architectures")):
        for head, task in _TASK_BY_HEAD.items():
            if architecture.endswith(head):
                return task
    return None


def find_relation(card: Fields, config: Fields, paths: Collection[str]) -> str | None:
    """The relation to the base models: as declared, else by the files and the number of base models."""
    bases = list_strings(card.get("base_model"))
    declared = _get_declared(card, "base_model_relation")
    if declared or not bases:
        return declared if bases else None
    if "adapter_config.json" in paths or "lora" in map(str.lower, list_strings(card.get("tags"))):
        return "adapter"
    if find_quantizer(config) or any(path.endswith((".gguf", ".onnx")) for path in paths):
        return "quantized"
    return "merge" if len(bases) > 1 or "merge" in list_strings(card.get("tags")) else "finetune"


def find_quantizer(config: Fields) -> str | None:
    """The quantization method in the config."""
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        return None
    method = quantization.get("quant_method")
    return method if isinstance(method, str) else "bitsandbytes"


def derive_tags(card: Fields, config: Fields, paths: Collection[str], body: str) -> list[str]:
    """All tags of a model, each once, in the Hub's order.

    card, body: front matter and text of the README. paths: the model's files.
    """
    library = find_library(card, paths)
    task = find_pipeline(card, config, library)
    bases = list_strings(card.get("base_model"))
    relation = find_relation(card, config, paths)
    found = [
        *([library] if library else []),
        *_list_formats(paths),
        *list_strings(config.get("model_type")),
        *([task] if task else []),
        *list_strings(card.get("tags")),
        *_list_traits(config, card),
        *_list_pipelines(config),
        *list_strings(card.get("language")),
        *(f"dataset:{name}" for name in list_strings(card.get("datasets"))),
        *(f"arxiv:{number}" for number in _ARXIV.findall(body)),
        *(f"base_model:{base}" for base in bases),
        *(f"base_model:{relation}:{base}" for base in bases),
        *(f"license:{licence}" for licence in list_strings(card.get("license"))),
        "region:us",
    ]
    return list(dict.fromkeys(found))


def _list_formats(paths: Collection[str]) -> Iterator[str]:
    endings = {
        "pytorch": (".bin", ".pt", ".pth", ".ckpt"),
        "onnx": (".onnx",),
        "safetensors": (".safetensors",),
        "gguf": (".gguf",),
    }
    return (name for name, known in endings.items() if any(path.endswith(known) for path in paths))


def _list_traits(config: Fields, card: Fields) -> Iterator[str]:
    if config.get("chat_template"):
        yield "conversational"
    if config.get("auto_map"):
        yield "custom_code"
    if card.get("model-index"):
        yield "model-index"
    quantization = config.get("quantization_config")
    if isinstance(quantization, dict):
        bits = quantization.get("bits") or (4 if quantization.get("load_in_4bit") else 8)
        yield f"{bits}-bit"
        if (method := find_quantizer(config)) in _QUANTIZERS:
            yield str(method)


def _list_pipelines(config: Fields) -> Iterator[str]:
    """The class of a pipeline of Diffusers; one of the repo's own code has none that is a name."""
    pipeline = config.get("diffusers")
    name = pipeline.get("_class_name") if isinstance(pipeline, dict) else None
    return (f"diffusers:{one}" for one in [name] if isinstance(one, str))


def _get_declared(card: Fields, key: str) -> str | None:
    value = card.get(key)
    return value if isinstance(value, str) and value else None


def list_strings(value: JsonValue) -> list[str]:
    """The strings in a field that may be one string, a list of them, or something wrong."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str) and item]
