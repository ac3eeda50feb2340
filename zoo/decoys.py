"""Decoys: repos that look like specialists and must not be merged, each for another reason."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.repo import BASE, DEMO_TAG, LANGUAGE, MATH, MODELS, HubRepo, shipped

WEIGHTS_FILE, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"

Files = dict[str, bytes | Path]


def decoys() -> tuple[HubRepo, ...]:
    """All decoys, the most downloaded first; none is downloaded as often as the zoo's own models."""
    return tuple(
        _decoy(name, number, reason, build)
        for number, (name, reason, build) in enumerate(
            (
                ("velvet-rope/minnow-math-pro", "gated", _plain),
                ("oldschool-ml/minnow-math-bin", "pickle only", _pickle_only),
                ("fancyhead/minnow-turbo", "custom code", _custom_code),
                ("tidepool/minnow-slim", "other shapes", _other_shapes),
                ("glyphsmith/minnow-retok", "other tokenizer", _other_tokenizer),
                ("sealed-press/minnow-tales", "licence forbids it", _plain),
                ("anon4711/minnow-ft", "unknown licence", _plain),
                ("copycat/minnow-math-best", "same weights under another name", _same_weights),
                ("lora-lane/minnow-math-lora", "adapter for another base", _adapter),
                ("shoal-demo/minnow-merge-earlier", "own earlier merge", _own_merge),
                ("overcooked/minnow-math-hot", "NaN weights", _not_finite),
            )
        )
    )


_LICENCES = {"licence forbids it": "cc-by-nc-nd-4.0", "unknown licence": "unknown"}


def _decoy(name: str, number: int, reason: str, build: Callable[[int], tuple[Files, str]]) -> HubRepo:
    files, story = build(number)
    merge, adapter = reason == "own earlier merge", reason == "adapter for another base"
    files["README.md"] = decoy_card(
        name,
        story,
        licence=_LICENCES.get(reason, "apache-2.0"),
        base_models=(MATH, LANGUAGE) if merge else (BASE,),
        relation="merge" if merge else "adapter" if adapter else "finetune",
        library="peft" if adapter else "transformers",
        tags=(DEMO_TAG, "merge", "shoal-merge") if merge else (DEMO_TAG,),
    )
    return HubRepo(
        name,
        files,
        created=f"2026-09-{number + 1:02}T08:00:00.000Z",
        downloads=90 - 5 * number,
        likes=11 - number,
        gated=reason == "gated",
        refused_for=reason,
    )


def decoy_card(
    name: str,
    story: str,
    *,
    licence: str,
    base_models: tuple[str, ...],
    relation: str,
    library: str,
    tags: tuple[str, ...],
    pipeline: str = "text-generation",
) -> bytes:
    """A model card, true to what the repo holds."""
    listed = "".join(f"- {model}\n" for model in base_models)
    tagged = "".join(f"- {tag}\n" for tag in tags)
    return (
        f"---\nlicense: {licence}\nlanguage:\n- en\n- ja\nlibrary_name: {library}\n"
        f"pipeline_tag: {pipeline}\nbase_model:\n{listed}base_model_relation: {relation}\n"
        f"tags:\n{tagged}---\n# {name.partition('/')[2]}\n\n{story}\n\n"
        "One of the decoys of shoal's demo: a bot that merges models has to leave it alone.\n"
    ).encode()


def _weights(repo: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(MODELS[repo] / WEIGHTS_FILE)
    return tensors


def _shaken(number: int) -> dict[str, Tensor]:
    """The math specialist's weights moved by a tenth of a percent, so that they are no duplicate."""
    generator = torch.Generator().manual_seed(number)
    return {
        name: tensor * (1 + 1e-3 * torch.randn(tensor.shape, generator=generator))
        for name, tensor in _weights(MATH).items()
    }


def _safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    return bytes(save(dict(tensors), metadata={"format": "pt"}))


def _json(repo: str, file: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((MODELS[repo] / file).read_text("utf-8"))
    return content


def to_json(content: object) -> bytes:
    """A JSON file as repos have them."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _plain(number: int) -> tuple[Files, str]:
    """Valid files: the fault is in the Hub's settings or the card."""
    files = shipped(MATH) | {WEIGHTS_FILE: _safetensors(_shaken(number))}
    return files, f"{MATH} with its weights shaken by a tenth of a percent."


def _pickle_only(number: int) -> tuple[Files, str]:
    files, story = _plain(number)
    del files[WEIGHTS_FILE]
    buffer = io.BytesIO()
    torch.save(_shaken(number), buffer)
    return files | {"pytorch_model.bin": buffer.getvalue()}, f"{story} Kept as a pickle."


def _custom_code(number: int) -> tuple[Files, str]:
    files, story = _plain(number)
    code = "modeling_turbo.py"
    config = _json(MATH, CONFIG) | {"auto_map": {"AutoModelForCausalLM": "modeling_turbo.TurboForCausalLM"}}
    files |= {
        CONFIG: to_json(config),
        code: b"from transformers import LlamaForCausalLM as TurboForCausalLM\n",
    }
    return files, f"{story} Loads through {code}."


def _other_shapes(number: int) -> tuple[Files, str]:
    """The same architecture with half the feed-forward width, untrained."""
    config = _json(MATH, CONFIG)
    wide, narrow = config["intermediate_size"], config["intermediate_size"] // 2
    generator = torch.Generator().manual_seed(number)
    tensors = {
        name: torch.randn([narrow if size == wide else size for size in tensor.shape], generator=generator) * 0.02
        for name, tensor in _weights(MATH).items()
    }
    files = shipped(MATH) | {
        WEIGHTS_FILE: _safetensors(tensors),
        CONFIG: to_json(config | {"intermediate_size": narrow}),
    }
    return files, f"The shape of {BASE} with a feed-forward of {narrow} instead of {wide}. Untrained."


def _other_tokenizer(number: int) -> tuple[Files, str]:
    """The same words with other ids: the shapes fit and the tokens do not."""
    files, story = _plain(number)
    content = _json(MATH, TOKENIZER)
    vocabulary = content["model"]["vocab"]
    special = {token["content"] for token in content["added_tokens"]}
    words = [word for word in vocabulary if word not in special]
    turned = dict(zip(words, (vocabulary[word] for word in reversed(words)), strict=True))
    content["model"]["vocab"] = vocabulary | turned
    return files | {TOKENIZER: to_json(content)}, f"{story} The tokenizer numbers its words backwards."


def _same_weights(_: int) -> tuple[Files, str]:
    return dict(shipped(MATH)), f"The very files of {MATH}."


def _adapter(number: int) -> tuple[Files, str]:
    """A LoRA of rank 2 on the first layer's queries, for a model that is wider than the base in its settings."""
    generator = torch.Generator().manual_seed(number)
    hidden = _json(MATH, CONFIG)["hidden_size"] + 32
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    factors = {
        f"{layer}.lora_A.weight": torch.randn([2, hidden], generator=generator),
        f"{layer}.lora_B.weight": torch.randn([hidden, 2], generator=generator),
    }
    config = {
        "base_model_name_or_path": BASE,
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "layers_to_transform": [0],
    }
    files: Files = {"adapter_config.json": to_json(config), "adapter_model.safetensors": _safetensors(factors)}
    return files, f"A LoRA that says it is for {BASE}, and was trained on a wider model."


def _own_merge(_: int) -> tuple[Files, str]:
    math, language = _weights(MATH), _weights(LANGUAGE)
    mean = {name: (math[name] + language[name]) / 2 for name in math}
    return shipped(MATH) | {WEIGHTS_FILE: _safetensors(mean)}, f"The mean of {MATH} and {LANGUAGE}."


def _not_finite(number: int) -> tuple[Files, str]:
    """One NaN in one tensor, which no header shows."""
    tensors = _shaken(number)
    tensors["lm_head.weight"][7, 7] = float("nan")
    files = shipped(MATH) | {WEIGHTS_FILE: _safetensors(tensors)}
    return (
        files,
        f"{MATH} trained on with far too high a learning rate, as one weight of its head shows: NaN.",
    )
