"""A release's tokenizer is that of its tokenizer.json, for scores and for whoever loads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from evaluation.harness.modalities.prompts import PicturePrompts
from evaluation.harness.rules import tokenizer_rules
from fixtures.picture_models import make_picture_model, make_processor
from fixtures.tiny_models import tiny_model
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.partition import Component, Partition, banded_stack
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.renamed import open_model
from merging.tokenizers.release_files import release_files, release_note
from merging.tokenizers.source_tokenizer import SourceTokenizer, read_source_tokenizer
from merging.tokenizers.vocabulary import plan_vocabulary
from merging.writing.release import write_release

END = "<|endoftext|>"
TEXT = "Answer\n\n1 and   2, 345"


def digit_splitter(words: str) -> Tokenizer:
    """A tokenizer like SmolLM2's: GPT-2's, but each digit is a token."""
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([words] * 9, trainer)
    return tokenizer


def files_of(tokenizer: Tokenizer, *, kind: str, family: str = "llama") -> dict[str, bytes]:
    """A model's small files with a tokenizer of this class. Nothing says which tokens are special: its class does."""
    return {
        "config.json": json.dumps({"model_type": family, "vocab_size": tokenizer.get_vocab_size()}).encode(),
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": kind, "model_max_length": 77}).encode(),
    }


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def read(files: dict[str, bytes], name: str = "one") -> SourceTokenizer:
    return read_source_tokenizer(name, files, json.loads(files["config.json"])["vocab_size"])


def test_a_union_splits_texts_as_the_leading_file_says_whatever_its_class_would_do(tmp_path: Path) -> None:
    leading, other = digit_splitter("Answer\n\n1 and   2"), digit_splitter("the whale and the sea")
    names = ModelId("a"), ModelId("b")
    sources = [files_of(tokenizer, kind="GPT2Tokenizer") for tokenizer in (leading, other)]
    assert AutoTokenizer.from_pretrained(put(tmp_path / "a", sources[0])).tokenize(TEXT) != leading.encode(TEXT).tokens
    vocabulary = plan_vocabulary(dict(zip(names, map(read, sources), strict=True)), "union", base=names[0])
    released = release_files({**vocabulary.files, "config.json": sources[0]["config.json"]})
    union = AutoTokenizer.from_pretrained(put(tmp_path / "union", dict(released.files)))
    assert union.tokenize(TEXT) == leading.encode(TEXT).tokens
    assert {*"12345"} <= {*union.tokenize(TEXT)} and len(union) > leading.get_vocab_size()
    assert union.tokenize("the whale") == ["the", "Ġwhale"]
    assert "pre_tokenizer of its tokenizer.json by class (GPT2Tokenizer)" in str(released.note)


def test_scores_and_the_release_use_the_file_s_tokenizer_with_the_class_s_special_tokens(tmp_path: Path) -> None:
    tokenizer = digit_splitter("Answer\n\n1 and   2")
    source = tmp_path / "source"
    tiny_model("llama", seed=1).save_pretrained(source)
    files = files_of(tokenizer, kind="GPT2Tokenizer") | {"config.json": (source / "config.json").read_bytes()}
    put(source, files)
    plain = AutoTokenizer.from_pretrained(source)
    name = ModelId(str(source))
    recipe = WeightMerge.single(name, Partition.even(2, 1, modules_apart=False, ends_apart=False), "float32")
    write_release(recipe, {name: Checkpoint.open(source)}, tmp_path / "release", {})
    released = AutoTokenizer.from_pretrained(tmp_path / "release")
    assert released.tokenize(TEXT) == tokenizer.encode(TEXT).tokens != plain.tokenize(TEXT)
    assert released.special_tokens_map == plain.special_tokens_map
    assert (released.eos_token, released.model_max_length) == (END, 77)
    assert released(TEXT).keys() == plain(TEXT).keys()
    scoring = KINDS["language"].load_source_processor(source)
    assert tokenizer_rules(scoring, chat=True) == tokenizer_rules(released, chat=True)
    assert (tmp_path / "release" / "tokenizer.json").read_bytes() == files["tokenizer.json"]


def test_a_processor_s_tokenizer_is_that_of_the_file_for_scores_and_in_the_release(tmp_path: Path) -> None:
    source, kind = tmp_path / "source", KINDS["vision-language"]
    make_picture_model("idefics3").save_pretrained(source)
    make_processor("idefics3").save_pretrained(source)
    tokenizer = digit_splitter("Answer\n\n1 and   2")
    tokenizer.add_special_tokens(["<image>", "<fake_token_around_image>", "<end_of_utterance>"])
    put(source, {**files_of(tokenizer, kind="GPT2Tokenizer"), "config.json": (source / "config.json").read_bytes()})
    whole = Partition((Component("", (), 0, banded_stack((), modules_apart=False, ends_apart=False)),))
    name = ModelId(str(source))
    recipe = WeightMerge.single(name, whole, "float32", carrier=name)
    write_release(recipe, {name: open_model(source)}, tmp_path / "release", {})
    scoring, released = kind.load_source_processor(source), kind.load_processor(tmp_path / "release")
    assert scoring.tokenizer.tokenize(TEXT) == tokenizer.encode(TEXT).tokens  # type: ignore[attr-defined]
    assert PicturePrompts(scoring).rules(chat=False) == PicturePrompts(released).rules(chat=False)


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "LlamaTokenizer"])
def test_files_that_transformers_reads_as_they_are_stay_as_they_are(kind: str) -> None:
    files = files_of(digit_splitter("and"), kind=kind)
    assert release_files(files).files == files and release_files(files).note is None


def test_a_class_that_the_family_forces_is_reported_and_used_for_scores_too(tmp_path: Path) -> None:
    files = files_of(digit_splitter("and"), kind="GPT2Tokenizer", family="qwen2")
    found = release_files(files)
    assert found.files == files and str(found.note).endswith("as transformers does it, not as the file says")
    plain = AutoTokenizer.from_pretrained(put(tmp_path / "source", files))
    assert release_note(tmp_path / "source") == found.note
    scoring = KINDS["language"].load_source_processor(tmp_path / "source")
    assert tokenizer_rules(scoring, chat=True) == tokenizer_rules(plain, chat=True)
