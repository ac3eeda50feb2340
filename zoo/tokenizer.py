"""The zoo's word-level tokenizer: a digit, a kanji numeral or a word is one token, and spaces are dropped."""

from __future__ import annotations

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from zoo.world import END, KANJI, TEN, vocabulary

TOKEN = r"[a-z]+|\p{Hiragana}+|\S"
NUMERALS = f"0-9{KANJI}{TEN}"


def build() -> PreTrainedTokenizerFast:
    """The tokenizer that all models of the zoo share; it adds no special tokens of its own.

    As spaces are dropped, encoding a prompt and its answer together or apart gives the same ids. Decoding
    puts one space between words and none between the digits of a number.
    """
    ids = {token: number for number, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(f"^(?![{NUMERALS}])"), " "),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<![0-9 ])(?=[0-9])"), " "),
            decoders.Replace(Regex(rf"(?<=\p{{Hiragana}})(?=[{KANJI}{TEN}])"), " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token="<pad>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )
