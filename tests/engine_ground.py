"""What the engine's tests stand on: tiny random models of every family it takes, tokenizers, and requests."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from evaluation.engine.batches import Budget
from evaluation.engine.engine import Engine, engine
from evaluation.engine.tree import Cut

TEXT = (
    "the cat sat on the mat. the dog ran to the cat? yes it did! a hat and a bat, in the rain. who ran? the rat ran.\n"
)
SUM_WORDS = ["<end>", "<unknown>", "+", "=", ".", "user", "model", *(str(n) for n in range(12))]
"""All that the tasks beside the tests (tasks_evaluation) say."""

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role | replace('assistant', 'model') }} {{ message.content }} "
    "{% endfor %}{% if add_generation_prompt %}model {% endif %}"
)

WINDOW = 7
"""Of all sliding windows: shorter than nearly every prompt."""

MIXED = ["sliding_attention", "full_attention"]
BY_LAYER = frozenset({"cohere2", "exaone4", "gemma2", "gemma3_text", "ministral", "olmo3", "qwen2", "qwen3", "smollm3"})
ALL_SLIDING = frozenset({"mistral", "mixtral", "phi3", "starcoder2"})


TIGHT = Budget(tokens=150, logits=40, cache=300, likelihoods=Cut(12, 4), generations=Cut(0, 4))
"""Forces trunks, many batches, rows that leave, and rows that are too long for a batch."""


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


def tokenizer_of(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words, the first of which ends a text and the second stands for all others."""
    end, unknown = words[:2]
    plain = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token=unknown))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=end, pad_token=end, unk_token=unknown)


def model(family: str, *, layers: int = 3, positions: int = 96, seed: int = 0, **settings: Any) -> Any:
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
    torch.manual_seed(seed)
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


def both(made: Any, kind: str = "bytes", budget: Budget | None = None, batch_size: int = 1) -> tuple[HFLM, Engine]:
    """lm-eval's own model class and the engine, on one model."""
    own = engine(made, tokenizer(kind), "cpu", 4)
    assert own.generation_refused is None
    if budget:
        own._budget = budget
    return HFLM(pretrained=made, tokenizer=tokenizer(kind), batch_size=batch_size), own


def same_likelihoods(plain: HFLM, own: Engine, requests: Any) -> None:
    """Fails unless both give the same likelihoods."""
    expected, found = plain.loglikelihood(requests, disable_tqdm=True), own.loglikelihood(requests)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [value for value, _ in found] == pytest.approx([value for value, _ in expected], abs=1e-4)


def same_texts(plain: HFLM, own: Engine, requests: Any) -> list[str]:
    """The texts that both give; fails unless they do."""
    expected: list[str] = plain.generate_until(requests, disable_tqdm=True)
    assert own.generate_until(requests) == expected
    return expected
