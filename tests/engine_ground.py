"""What the engine's tests stand on: tiny random models of every family it takes, two tokenizers, and requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import transformers
from lm_eval.api.instance import Instance
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEXT = (
    "the cat sat on the mat. the dog ran to the cat? yes it did! a hat and a bat, in the rain. who ran? the rat ran.\n"
)
WINDOW = 7
"""Of all sliding windows: shorter than nearly every prompt."""

MIXED = ["sliding_attention", "full_attention"]
BY_LAYER = frozenset({"cohere2", "exaone4", "gemma2", "gemma3_text", "ministral", "olmo3", "qwen2", "qwen3", "smollm3"})
ALL_SLIDING = frozenset({"mistral", "mixtral", "phi3", "starcoder2"})


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes, or of words with a space before each: its pieces decode otherwise at a text's start."""
    specials = ["<unk>", "<s>", "</s>"]
    if kind == "bytes":
        plain = Tokenizer(models.BPE())
        plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        plain.decoder = decoders.ByteLevel()
    else:
        plain = Tokenizer(models.BPE(unk_token="<unk>"))
        plain.pre_tokenizer, plain.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    plain.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=90, special_tokens=specials))
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def model(family: str, *, layers: int = 3, positions: int = 96, **settings: Any) -> Any:
    """A random model whose weights are spread wide, so that no two tokens are nearly as likely."""
    usual = transformers.AutoConfig.for_model(family)
    values: dict[str, Any] = {
        "vocab_size": 100,
        "num_hidden_layers": layers,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if family != "gpt2":
        values["intermediate_size"] = 48
    if hasattr(usual, "num_key_value_heads"):
        values["num_key_value_heads"] = 2
    if getattr(usual, "head_dim", None) or family == "ministral":
        values["head_dim"] = 8
    if family in BY_LAYER | ALL_SLIDING:
        values["sliding_window"] = WINDOW
    if family in BY_LAYER:
        values["layer_types"] = [MIXED[layer % len(MIXED)] for layer in range(layers)]
    if family.startswith("qwen") and "moe" not in family:
        values["use_sliding_window"] = True
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **values | settings)
    made = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in made.parameters():
            weight += 0.3 * torch.randn(weight.shape)
    return made.eval()


def asked(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    """lm-eval's requests of one kind."""
    return [Instance(kind, {}, one, 0, task_name="tiny", doc_id=0, repeats=1) for one in arguments]


class Words:
    """Says random words."""

    def __init__(self, seed: int = 0) -> None:
        self._draw = random.Random(seed)

    def say(self, count: int) -> str:
        """So many words."""
        return " ".join(self._draw.choice(TEXT.split()) for _ in range(count))

    def choices(self, questions: int, shots: int = 12) -> list[Instance]:
        """Multiple choices of different lengths on questions behind the same examples."""
        examples = self.say(shots)
        stems = [f"{examples} {number} {self.say(1 + number % 6)}" for number in range(questions)]
        pairs = [(stem, f" {self.say(1 + choice)}") for stem in stems for choice in range(len(stem) % 4 + 1)]
        return asked("loglikelihood", pairs)

    def prompts(self, count: int, options: dict[str, Any], shots: int = 12) -> list[Instance]:
        """Prompts of different lengths behind the same examples."""
        examples = self.say(shots)
        return asked("generate_until", [(f"{examples} {self.say(1 + n % 7)}", options) for n in range(count)])
