"""Answers per second of shoal's engine against lm-eval's hf-multimodal on the same model in memory that sees pictures.

    python -m benchmarks picture_engine [idefics3|llava ...] [--pictures N] [--device DEVICE]

Both sides generate for the same requests, one after the other, in one process with one thread; hf-multimodal at the
best of a few batch sizes, with its processor handed over (as released, it loses the processor of a model in memory).
Random models with a tower as large as the language model, as LLaVA-OneVision-0.5B and SmolVLM have: Idefics 3 with few
tokens a picture, LLaVA with many. (In LLaVA-1.6-7B the tower is a twentieth of the work; where each picture has one
question, nothing but larger batches can be gained there.)

Of several rounds the quickest counts. Before each, the engine is told that the weights have changed, as for a search's
candidates, whose tower stays the same; what the first of them takes, with the pictures through the tower, is given
beside it.

- several questions: four about each picture
- one question: a picture for each
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.hf_vlms import HFMultimodalLM
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.idefics3.processing_idefics3 import Idefics3Processor
from transformers.models.llava.processing_llava import LlavaProcessor

from benchmarks.engine import moment, quickest
from benchmarks.record import Figures
from evaluation.harness.modalities.picture_engine_lm import PictureEngineLM
from evaluation.harness.process_state import quiet

QUESTIONS = 4
"""About each picture, in the first task."""

ANSWER = 12
"""Tokens of each answer."""

ROUNDS = 3
BATCH_SIZES = (1, 4, 16)

MARKS = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
WORDS = ["</s>", *MARKS, *(f"w{number}" for number in range(8000))]


class Reference(HFMultimodalLM):  # type: ignore[misc]  # lm-eval is untyped
    """lm-eval's own class with the processor that it is given."""

    def _create_tokenizer(self, _pretrained: object, tokenizer: Any, **_: object) -> None:
        self.processor, self.tokenizer = tokenizer, tokenizer.tokenizer


@dataclass(frozen=True)
class Ground:
    """A model, its processor, and the side of its pictures in pixels."""

    name: str
    model: Any
    processor: ProcessorMixin
    side: int


def idefics3() -> Ground:
    """A tower of 12 layers and 384 dimensions on 256 patches, 64 tokens a picture, 12 layers of 384 behind it."""
    tower = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
    config = AutoConfig.for_model(
        "idefics3",
        text_config=language(384, 12, 6),
        vision_config={**tower, "image_size": 256, "patch_size": 16},
        scale_factor=2,
        image_token_id=WORDS.index("<image>"),
    )
    view = {"longest_edge": 256}
    pictures = Idefics3ImageProcessorPil(size=view, max_image_size=view, do_image_splitting=False)
    return Ground("Idefics 3", random_model(config), Idefics3Processor(pictures, tokenizer(), image_seq_len=64), 256)


def llava() -> Ground:
    """The same tower and language model, with a token for each of the 256 patches."""
    tower = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
    config = AutoConfig.for_model(
        "llava",
        text_config=language(384, 12, 6),
        vision_config={"model_type": "clip_vision_model", **tower, "image_size": 224, "patch_size": 14},
        image_token_index=WORDS.index("<image>"),
    )
    view = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**view),
        tokenizer(),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    return Ground("LLaVA", random_model(config), processor, 224)


def language(width: int, layers: int, heads: int) -> dict[str, Any]:
    """The settings of a Llama."""
    return {
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "vocab_size": len(WORDS),
        "max_position_embeddings": 2048,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 0,
    }


def random_model(config: Any) -> Any:
    """A random model whose logits lie far enough apart that rounding does not decide."""
    torch.manual_seed(0)
    made = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        made.get_output_embeddings().weight *= 10
    return made


def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words."""
    plain = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="</s>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "</s>", "padding_side": "left"}
    made = PreTrainedTokenizerFast(tokenizer_object=plain, extra_special_tokens={"image_token": "<image>"}, **named)
    made.add_special_tokens({"additional_special_tokens": MARKS})
    return made


def requests(ground: Ground, pictures: int, questions: int) -> list[Instance]:
    """Questions of twelve words about pictures of coloured noise."""
    draw, noise = random.Random(1), np.random.default_rng(1)
    asked = []
    options = {"until": ["</s>"], "max_gen_toks": ANSWER, "do_sample": False}
    for _ in range(pictures):
        image = Image.fromarray(noise.integers(0, 256, (ground.side, ground.side, 3), dtype=np.uint8))
        for _ in range(questions):
            words = " ".join(draw.choice(WORDS[5:]) for _ in range(12))
            asked.append(Instance("generate_until", {}, (f"w1 w2 <image> {words}", options, {"visual": [image]}), 0))
    return asked


def compare(ground: Ground, name: str, asked: Sequence[Instance], device: torch.device) -> Figures:
    """Measure both sides on one task, print the rates, and return them."""
    own = PictureEngineLM(ground.model, ground.processor, str(device))
    assert own.engine.refused is None
    started = moment()
    own.generate_until(list(asked))
    first = moment() - started
    ours, answers = quickest(partial(answer_anew, own, ground.model, asked), ROUNDS)
    baselines = {}
    for size in BATCH_SIZES:
        plain = Reference(pretrained=ground.model, tokenizer=ground.processor, batch_size=size)
        baselines[size] = quickest(lambda: plain.generate_until(list(asked), disable_tqdm=True), 1 + (size > 1))  # noqa: B023
    best, (theirs, expected) = min(baselines.items(), key=lambda baseline: baseline[1][0])
    differ = sum(a != b for a, b in zip(answers, expected, strict=True))
    count = len(asked)
    rates = f"engine {count / ours:7.2f}, hf-multimodal {count / theirs:7.2f} items/s (batches of {best:2})"
    print(
        f"  {name:18} {count:4} items: {rates}, ratio {theirs / ours:4.1f}; "
        f"first candidate {count / first:6.2f} items/s, ratio {theirs / first:4.1f}; {differ} texts differ",
        flush=True,
    )
    rate = {"engine_per_s": count / ours, "first_per_s": count / first, "hf_multimodal_per_s": count / theirs}
    return {"task": name, "items": count, **rate, "hf_multimodal_batch": best, "texts_that_differ": differ}


def answer_anew(own: PictureEngineLM, model: Any, asked: Sequence[Instance]) -> list[str]:
    """The engine's answers for one candidate."""
    own.put(model)
    return own.generate_until(list(asked))


def measure(ground: Ground, pictures: int, device: torch.device) -> list[Figures]:
    """Both tasks on a device, in bfloat16 on a GPU and else in float32."""
    ground.model.to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    weights = ground.model.num_parameters()
    print(f"{ground.name}, {weights:,} weights, {ground.model.dtype}, {device}")
    facts = {"model": ground.name, "weights": weights, "device": str(device)}
    tasks = {
        "several questions": requests(ground, pictures, QUESTIONS),
        "one question": requests(ground, QUESTIONS * pictures, 1),
    }
    return [{**facts, **compare(ground, name, asked, device)} for name, asked in tasks.items()]


def main() -> Figures:
    """Measure what was asked for, or both models."""
    grounds: dict[str, Callable[[], Ground]] = {"idefics3": idefics3, "llava": llava}
    parser = argparse.ArgumentParser(prog="python -m benchmarks picture_engine")
    parser.add_argument("grounds", nargs="*", metavar="idefics3|llava")
    parser.add_argument("--pictures", default=6, type=int, help="pictures with several questions; four times as many")
    parser.add_argument("--device", default="cpu", type=torch.device)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with quiet():
        names = asked.grounds or grounds
        rows = [row for name in names for row in measure(grounds[name](), asked.pictures, asked.device)]
    return {"tasks": rows}


if __name__ == "__main__":
    main()
