"""Decoys: repos that look like specialists and must not be merged, each for another reason."""

from __future__ import annotations

import io

import torch

from zoo.disguise import Disguise, Files, Tensors, read_json, read_tensors, resize, shake, to_json, to_safetensors
from zoo.repo import BASE, DEMO_TAG, LANGUAGE, MATH, MODELS, HubRepo, shipped

WEIGHTS_FILE, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
DISGUISE = Disguise(DEMO_TAG, BASE, (MATH, LANGUAGE), "transformers", "text-generation")


def decoys() -> tuple[HubRepo, ...]:
    """All decoys, the most downloaded first; none is downloaded as often as the zoo's own models."""
    return tuple(
        DISGUISE.publish(number, name, reason, build(number))
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


def _shaken(number: int) -> Tensors:
    """The math specialist's weights moved by a tenth of a percent."""
    return shake(read_tensors(MODELS[MATH] / WEIGHTS_FILE), number, 1e-3)


def _plain(number: int) -> tuple[Files, str]:
    """Valid files: the fault is in the Hub's settings or the card."""
    files = shipped(MATH) | {WEIGHTS_FILE: to_safetensors(_shaken(number))}
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
    config = read_json(MODELS[MATH] / CONFIG) | {
        "auto_map": {"AutoModelForCausalLM": "modeling_turbo.TurboForCausalLM"}
    }
    files |= {
        CONFIG: to_json(config),
        code: b"from transformers import LlamaForCausalLM as TurboForCausalLM\n",
    }
    return files, f"{story} Loads through {code}."


def _other_shapes(number: int) -> tuple[Files, str]:
    """The same architecture with half the feed-forward width, untrained."""
    config = read_json(MODELS[MATH] / CONFIG)
    wide, narrow = config["intermediate_size"], config["intermediate_size"] // 2
    tensors = resize(read_tensors(MODELS[MATH] / WEIGHTS_FILE), {wide: narrow}, number)
    files = shipped(MATH) | {
        WEIGHTS_FILE: to_safetensors(tensors),
        CONFIG: to_json(config | {"intermediate_size": narrow}),
    }
    return files, f"The shape of {BASE} with a feed-forward of {narrow} instead of {wide}. Untrained."


def _other_tokenizer(number: int) -> tuple[Files, str]:
    """The same words with other ids: the shapes fit and the tokens do not."""
    files, story = _plain(number)
    content = read_json(MODELS[MATH] / TOKENIZER)
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
    hidden = read_json(MODELS[MATH] / CONFIG)["hidden_size"] + 32
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
    files: Files = {"adapter_config.json": to_json(config), "adapter_model.safetensors": to_safetensors(factors)}
    return files, f"A LoRA that says it is for {BASE}, and was trained on a wider model."


def _own_merge(_: int) -> tuple[Files, str]:
    math, language = (read_tensors(MODELS[repo] / WEIGHTS_FILE) for repo in (MATH, LANGUAGE))
    mean = {name: (math[name] + language[name]) / 2 for name in math}
    return shipped(MATH) | {WEIGHTS_FILE: to_safetensors(mean)}, f"The mean of {MATH} and {LANGUAGE}."


def _not_finite(number: int) -> tuple[Files, str]:
    """One NaN in one tensor, which no header shows."""
    tensors = _shaken(number)
    tensors["lm_head.weight"][7, 7] = float("nan")
    files = shipped(MATH) | {WEIGHTS_FILE: to_safetensors(tensors)}
    return (
        files,
        f"{MATH} trained on with far too high a learning rate, as one weight of its head shows: NaN.",
    )
