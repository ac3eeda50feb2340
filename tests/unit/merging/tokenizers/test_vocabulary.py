"""Merges of models with different tokenizers: rows as mergekit has them, tokenizers that plain transformers reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import ZERO, FromModel, TokenRule
from merging.sources.checkpoint import Checkpoint
from merging.tokenizers.chat_template import add_chat_template
from merging.tokenizers.source_tokenizer import SourceTokenizer, read_source_tokenizer
from merging.tokenizers.view import vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary, plan_vocabulary
from merging.writing.companions import read_companions

SEA = "the shoal swims in the sea and the whale sings to the shoal in the deep"
SKY = "ein Vogel fliegt im Himmel und die Wolken ziehen über den Wald, die Vögel singen"
BY_TOKEN = ("model.embed_tokens.weight", "lm_head.weight")
END, TURN = "<|end|>", "<|turn|>"


@pytest.fixture(autouse=True)
def few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small vocabularies take as many turns as large ones."""
    monkeypatch.setattr("merging.tokenizers.view._ROWS", 7)


def byte_pairs(text: str, size: int, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


def pieces(text: str, size: int, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=special[0]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = special + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


def unigrams(text: str, size: int, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=special, unk_token=special[0], show_progress=False
    )
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


def words(text: str, size: int, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([text] * 5, trainer)
    return tokenizer


def model(folder: Path, tokenizer: Tokenizer, *, seed: int, rows: int | None = None, added: str = "") -> ModelId:
    """A tiny Llama with a tokenizer, in a folder; `added` is a special token that is no part of its text."""
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=tokenizer.id_to_token(0))
    if added:
        words.add_tokens(AddedToken(added, special=True))
    words.save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(
        **sizes, vocab_size=rows or len(words), eos_token_id=words.eos_token_id, bos_token_id=None
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return ModelId(str(folder))


def source(name: ModelId) -> SourceTokenizer:
    folder = Path(name.location)
    files = read_companions(folder) | {"config.json": (folder / "config.json").read_bytes()}
    rows = Checkpoint.open(folder).header(BY_TOKEN[0]).shape[0]
    return read_source_tokenizer(name.location, files, rows)


def aligned(vocabulary: Vocabulary, names: list[ModelId]) -> dict[ModelId, Any]:
    tensors = {name: {tensor: tensor for tensor in BY_TOKEN} for name in names}
    return vocabulary_views(vocabulary, {name: Checkpoint.open(Path(name.location)) for name in names}, tensors)


def three(folder: Path) -> list[ModelId]:
    """Models of which two share tokens that the first lacks, one with rows to spare and a token past them."""
    a = model(folder / "a", byte_pairs(SEA, 290, [END]), seed=1, rows=296)
    b = model(folder / "b", byte_pairs(SKY, 300, ["<eos>"]), seed=2, added=TURN)
    c = model(folder / "c", byte_pairs(f"{SKY} {SEA}", 340, [END]), seed=3)
    return [a, b, c]


def written(folder: Path, vocabulary: Vocabulary, config: Mapping[str, Any]) -> Path:
    folder.mkdir()
    for name, content in vocabulary.files.items():
        (folder / name).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(vocabulary.apply_to(config)))
    return folder


def mergekit(names: list[ModelId], target: Path, base: ModelId | None, tokenizer: dict[str, Any]) -> Path:
    """The models' equal sum, made by mergekit."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    weights = [{"model": name.location, "parameters": {"weight": 1.0}} for name in names]
    config = {"merge_method": "linear", "models": weights, "dtype": "float32", "tokenizer": tokenizer}
    config |= {"base_model": base.location} if base else {}
    options = MergeOptions(device="cpu", write_model_card=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(yaml.safe_dump(config))), str(target), options=options)
    return target


CASES: dict[str, tuple[str, bool, int | None, bool]] = {
    "union, missing tokens from the base": ("union", True, None, False),
    "union, missing tokens from the mean": ("union", False, None, False),
    "union with padding and rules": ("union", True, 64, True),
    "the base's": ("base", True, None, False),
    "one model's": ("2", True, 32, False),
}


@pytest.mark.parametrize(("choice", "has_base", "multiple", "ruled"), CASES.values(), ids=CASES)
def test_every_token_has_the_row_that_mergekit_gives_it(
    choice: str, has_base: bool, multiple: int | None, ruled: bool, tmp_path: Path
) -> None:
    names = three(tmp_path)
    base = names[0] if has_base else None
    wanted = names[int(choice)] if choice.isdigit() else choice
    rules, theirs_rules = {}, {}
    if ruled:
        known = max(source(names[2]).tokens, key=len)
        rules = {
            "<new>": TokenRule(FromModel(names[2], token=known)),
            "<numbered>": TokenRule(FromModel(names[1], token_id=7)),
            "the": TokenRule(ZERO, force=True),
            TURN: TokenRule(FromModel(names[1])),
        }
        theirs_rules = {
            "<new>": {"source": {"kind": "model_token", "model": names[2].location, "token": known}},
            "<numbered>": {"source": {"kind": "model_token", "model": names[1].location, "token_id": 7}},
            "the": {"source": {"kind": "zero"}, "force": True},
            TURN: {"source": names[1].location},
        }
    choices = {"source": wanted.location if isinstance(wanted, ModelId) else wanted, "tokens": theirs_rules}
    folder = mergekit(names, tmp_path / "theirs", base, choices | {"pad_to_multiple_of": multiple})

    vocabulary = plan_vocabulary(
        {name: source(name) for name in names}, wanted, base=base, pad_to_multiple_of=multiple, overrides=rules
    )
    views = aligned(vocabulary, names)

    expected = Checkpoint.open(folder)
    tokens = AutoTokenizer.from_pretrained(folder).get_vocab()
    assert tokens.keys() == vocabulary.tokens.keys()
    assert vocabulary.rows == json.loads((folder / "config.json").read_text())["vocab_size"]
    for tensor in BY_TOKEN:
        ours = torch.stack([view.tensor(tensor) for view in views.values()]).mean(0)
        assert ours.shape == expected.header(tensor).shape == views[names[1]].header(tensor).shape
        for token, row in vocabulary.tokens.items():
            torch.testing.assert_close(ours[row], expected.tensor(tensor)[tokens[token]], msg=f"{tensor}: {token}")
        torch.testing.assert_close(ours[len(tokens) :], expected.tensor(tensor)[len(tokens) :])


def shuffled(name: ModelId, folder: Path) -> ModelId:
    """The same model with its tokens in another order."""
    folder.mkdir()
    spec = json.loads((Path(name.location) / "tokenizer.json").read_text())
    height = len(spec["model"]["vocab"])
    order = torch.randperm(height, generator=torch.Generator().manual_seed(5)).tolist()
    spec["model"]["vocab"] = {token: order[id] for token, id in spec["model"]["vocab"].items()}
    spec["added_tokens"] = [token | {"id": order[token["id"]]} for token in spec["added_tokens"]]
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    (folder / "tokenizer_config.json").write_bytes((Path(name.location) / "tokenizer_config.json").read_bytes())
    config = json.loads((Path(name.location) / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token_id": order[config["eos_token_id"]]}))
    weights = load_file(Path(name.location) / "model.safetensors")
    for tensor in BY_TOKEN:
        rows = torch.empty_like(weights[tensor])
        rows[order] = weights[tensor]
        weights[tensor] = rows
    save_file(weights, folder / "model.safetensors")
    return ModelId(str(folder))


def logits(folder: Path, text: str) -> tuple[Tensor, dict[str, int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return read(**tokenizer(text, return_tensors="pt")).logits[0], tokenizer.get_vocab()


def test_a_model_merged_with_itself_in_another_order_of_tokens_still_says_the_same(tmp_path: Path) -> None:
    one = model(tmp_path / "one", byte_pairs(SEA, 290, [END]), seed=1)
    other = shuffled(one, tmp_path / "other")
    vocabulary = plan_vocabulary({other: source(other), one: source(one)}, "union", base=None)
    views = aligned(vocabulary, [other, one])

    merged = written(tmp_path / "merged", vocabulary, source(one).config)
    weights = {name: torch.stack([view.tensor(name) for view in views.values()]).mean(0) for name in views[one].names}
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})

    expected, before = logits(Path(one.location), f"{SEA}{END}")
    found, after = logits(merged, f"{SEA}{END}")
    assert before.keys() == after.keys()
    assert before != after
    order = [before[token] for token in sorted(before)], [after[token] for token in sorted(after)]
    torch.testing.assert_close(found[:, order[1]], expected[:, order[0]], rtol=1e-5, atol=1e-6)
    assert AutoModelForCausalLM.from_pretrained(merged).config.eos_token_id == after[END]


KINDS: dict[str, tuple[Callable[[str, int, list[str]], Tokenizer], int]] = {
    "byte-level pairs": (byte_pairs, 300),
    "pairs of pieces": (pieces, 330),
    "unigrams": (unigrams, 60),
    "word pieces": (words, 90),
}


@pytest.mark.parametrize(("train", "size"), KINDS.values(), ids=KINDS)
def test_a_union_reads_both_models_texts_and_keeps_the_leading_ones_ids(
    train: Callable[[str, int, list[str]], Tokenizer], size: int, tmp_path: Path
) -> None:
    names = [
        model(tmp_path / "a", train(SEA, size, ["<unk>", "<pad>"]), seed=1, added="<|a|>"),
        model(tmp_path / "b", train(SKY, size, ["<unk>", "<pad>"]), seed=2, added="<|b|>"),
    ]
    own = [AutoTokenizer.from_pretrained(name.location) for name in names]
    vocabulary = plan_vocabulary({name: source(name) for name in names}, "union", base=names[0])

    union = AutoTokenizer.from_pretrained(written(tmp_path / "union", vocabulary, {"model_type": "llama"}))

    assert union.get_vocab() == vocabulary.tokens
    assert vocabulary.tokens.keys() == own[0].get_vocab().keys() | own[1].get_vocab().keys()
    assert own[0].get_vocab().items() <= vocabulary.tokens.items()
    assert vocabulary.rows == len(union) == max(vocabulary.tokens.values()) + 1
    for text, tokenizer in ((SEA, own[0]), (SKY, own[1])):
        ids = union.encode(text)
        assert union.decode(ids) == tokenizer.decode(tokenizer.encode(text))
        assert len(ids) <= len(own[0].encode(text, add_special_tokens=False)) + len(tokenizer.encode(text))
    if train is not unigrams:  # the likeliest split wins, whichever model's pieces it needs
        assert union.encode(SEA) == own[0].encode(SEA)
    turns = union.encode("<|a|>the sea<|b|>")
    assert [turns[0], turns[-1]] == [vocabulary.tokens["<|a|>"], vocabulary.tokens["<|b|>"]]
    assert "<|b|>" not in union.decode(turns, skip_special_tokens=True)


def test_a_token_past_the_embeddings_is_left_out_and_a_special_one_gets_the_mean(tmp_path: Path) -> None:
    tokenizer = byte_pairs(SEA, 290, [END])
    name = model(tmp_path / "a", tokenizer, seed=1)
    words = AutoTokenizer.from_pretrained(name.location)
    words.add_tokens(["<unused>"])
    words.add_special_tokens({"pad_token": "<pad>"})
    words.save_pretrained(name.location)

    vocabulary = plan_vocabulary({name: source(name)}, "base", base=name)
    read = AutoTokenizer.from_pretrained(written(tmp_path / "out", vocabulary, {"model_type": "llama"}))

    assert "<unused>" not in read.get_vocab()
    assert read.pad_token_id == vocabulary.tokens["<pad>"] < vocabulary.rows
    rows = aligned(vocabulary, [name])[name].tensor(BY_TOKEN[0])
    own = Checkpoint.open(Path(name.location)).tensor(BY_TOKEN[0])
    assert torch.equal(rows[: len(own)], own)
    torch.testing.assert_close(rows[read.pad_token_id], own.mean(0))


def test_rows_of_16_bit_models_stay_as_they_are_and_means_are_rounded_once(tmp_path: Path) -> None:
    names = three(tmp_path)
    for name in names:
        read = AutoModelForCausalLM.from_pretrained(name.location, dtype=torch.bfloat16)
        read.save_pretrained(name.location)
    sources = {name: source(name) for name in names}
    vocabulary = plan_vocabulary(sources, "union", base=None)
    view, stored = aligned(vocabulary, names)[names[0]], [Checkpoint.open(Path(name.location)) for name in names]

    rows = view.tensor(BY_TOKEN[1])

    shared = [token for token in sources[names[2]].tokens if token in sources[names[1]].tokens and len(token) > 3]
    token = next(token for token in shared if token not in sources[names[0]].tokens)
    parts = [stored[number].tensor(BY_TOKEN[1])[sources[names[number]].tokens[token]].float() for number in (1, 2)]
    torch.testing.assert_close(rows[vocabulary.tokens[token]].float(), sum(parts) / 2, rtol=0, atol=0)
    own = stored[0].tensor(BY_TOKEN[1])[sources[names[0]].tokens["the"]]
    assert torch.equal(rows[vocabulary.tokens["the"]], own.to(rows.dtype))


def test_special_tokens_and_the_commonest_template_come_with_the_tokenizer(tmp_path: Path) -> None:
    names = three(tmp_path)
    templates = ["{{ 'rare' }}", "{{ 'common' }}", "{{ 'common' }}"]
    for name, template in zip(names, templates, strict=True):
        (Path(name.location) / "chat_template.jinja").write_text(template)
    vocabulary = plan_vocabulary({name: source(name) for name in names}, names[1], base=names[0])

    config = vocabulary.apply_to(source(names[0]).config | {"pad_token_id": 17})
    files = add_chat_template(vocabulary.files, "auto", [read_companions(Path(name.location)) for name in names])

    assert config["eos_token_id"] == source(names[1]).tokens["<eos>"]
    assert config["pad_token_id"] is None
    assert config["vocab_size"] == vocabulary.rows
    assert files["chat_template.jinja"] == b"{{ 'common' }}"
    assert add_chat_template(files, "{{ 'mine' }}", [])["chat_template.jinja"] == b"{{ 'mine' }}"


REFUSED: dict[str, tuple[str, dict[str, TokenRule], str]] = {
    "other letters": ("union", {}, "pieces with ▁ .* not in bytes .* `tokenizer_source: base`"),
    "nobody's token": ("base", {"<new>": TokenRule()}, r"tokens.<new>: got a token that no model has: name a source"),
    "no source": ("base", {"the": TokenRule(force=True)}, "tokens.the: got forced without a source"),
    "not there": ("base", {"<new>": TokenRule(FromModel(ModelId("x")))}, "got x: it is not among the merged models"),
    "not a model": ("x", {}, "tokenizer source: got x"),
}


@pytest.mark.parametrize(("choice", "rules", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused(
    choice: str, rules: dict[str, TokenRule], reason: str, tmp_path: Path
) -> None:
    names = [
        model(tmp_path / "a", byte_pairs(SEA, 290, [END]), seed=1),
        model(tmp_path / "b", pieces(SEA, 300, ["<unk>"]), seed=2),
    ]
    with pytest.raises(MergingError, match=reason):
        plan_vocabulary({name: source(name) for name in names}, choice, base=names[0], overrides=rules)


def test_a_row_that_a_rule_names_must_be_there(tmp_path: Path) -> None:
    name = model(tmp_path / "a", byte_pairs(SEA, 290, [END]), seed=1)
    for rule, reason in (
        (FromModel(name, token="Vogel"), "it has no token 'Vogel'"),
        (FromModel(name, token_id=5000), "got token_id 5000: use 0 to"),
    ):
        with pytest.raises(MergingError, match=reason):
            plan_vocabulary({name: source(name)}, "base", base=name, overrides={"<new>": TokenRule(rule)})


def test_a_tokenizer_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    name = model(tmp_path / "a", byte_pairs(SEA, 290, [END]), seed=1)
    files = read_companions(Path(name.location)) | {"config.json": (Path(name.location) / "config.json").read_bytes()}
    for content in (b"{", b'{"model": {"type": "BPE"}}'):
        with pytest.raises(MergingError, match=r"^ada/model: transformers cannot read its tokenizer") as error:
            read_source_tokenizer("ada/model", files | {"tokenizer.json": content}, 290)
        assert "\n" not in str(error.value)
