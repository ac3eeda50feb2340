"""The tokenizer of the models that see: a word or a mark is one token; and LLaVA's processor around it."""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from zoo.vision.world import END, IMAGE, PAD, SIDE, UNKNOWN, vocabulary

TOKEN = r"[a-z]+|\p{Hiragana}+|\S"
PATCH = 20
POSITIONS = 64


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that all these models share; it adds no special tokens of its own, and drops spaces."""
    ids = {token: number for number, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[AddedToken(IMAGE, normalized=False, special=True)],
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=POSITIONS,
    )


def build_processor() -> LlavaProcessor:
    """The tokenizer and an image processor for pictures of the world's size."""
    side = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=side, crop_size=side),
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
    )
