"""Language models and adapters as parts of a vision-language model: rows by token, heads, names of several versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedTokenizerFast

from fixtures.tiny_vision_models import IMAGE, llava_config, save, tiny_decoder, tiny_vision_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.models.live import LiveModel, LiveModels
from merging.partition import Component, Partition, banded_stack
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.adapter import ADAPTER_WEIGHTS, AdapterCheckpoint
from merging.sources.renamed import open_model
from merging.sources.weights import Weights
from merging.writing.release import write_release

EYE, TEXT = ModelId("tiny/eye"), ModelId("tiny/text")
TRAINED = ModelId("tiny/eye", adapter=ModelId("tiny/lora"))
EMBEDDINGS, HEAD = "model.language_model.embed_tokens.weight", "lm_head.weight"
WORDS = 60
PARTS = Partition(
    (
        Component("language", ("model.language_model", "lm_head"), 2, banded_stack(((0, 2),), False, False)),
        Component("tower", (), 0, banded_stack((), False, False), lacking=(TEXT,)),
    )
)


def add_tokenizer(folder: Path, *special: str) -> Path:
    """A tokenizer of one token a word, with special tokens after them."""
    words = {f"w{number}": number for number in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(special))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    return folder


def alone(carrier: Weights, text: Weights) -> dict[str, torch.Tensor]:
    """The weights of a language model in a carrier, as they are merged."""
    live = LiveModel(carrier.folder, {EYE: carrier, TEXT: text}, dtype="float32")
    live.become(WeightMerge.single(TEXT, PARTS, "float32", carrier=EYE))
    return dict(live.model.state_dict())


def test_rows_are_those_of_the_same_tokens_and_others_the_carrier_s(tmp_path: Path) -> None:
    """The carrier has <image> where the language model has a token of its own; the rest of its rows are padding."""
    carrier = save(tiny_vision_model(llava_config(), 1), add_tokenizer(tmp_path / "eye", "<image>", "<end>"))
    text = save(
        tiny_decoder(llava_config(), 2, vocab_size=WORDS + 3),
        add_tokenizer(tmp_path / "text", "<turn>", "<end>", "<x>"),
    )
    found = alone(carrier, text)
    for name in (EMBEDDINGS, HEAD):
        theirs, mine = carrier.tensor(name), text.tensor(name.replace(".language_model", ""))
        assert mine.shape[0] == WORDS + 3 and theirs.shape[0] == IMAGE + 1
        expected = theirs.clone()
        expected[:WORDS] = mine[:WORDS]
        expected[WORDS + 1] = mine[WORDS + 1]  # <end>, at the same place by chance
        assert torch.equal(found[name], expected)


def test_a_token_at_another_place_is_found_by_its_text(tmp_path: Path) -> None:
    carrier = save(tiny_vision_model(llava_config(), 1), add_tokenizer(tmp_path / "eye", "<image>", "<end>"))
    text = save(tiny_decoder(llava_config(), 2), add_tokenizer(tmp_path / "text", "<end>"))
    found = alone(carrier, text)[EMBEDDINGS]
    assert torch.equal(found[WORDS], carrier.tensor(EMBEDDINGS)[WORDS]), "<image> is the carrier's"
    assert torch.equal(found[WORDS + 1], text.tensor("model.embed_tokens.weight")[WORDS])


def test_other_rows_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    carrier = save(tiny_vision_model(llava_config(), 1), add_tokenizer(tmp_path / "eye", "<image>"))
    text = save(tiny_decoder(llava_config(), 2, vocab_size=WORDS), tmp_path / "text")
    with pytest.raises(MergingError, match=f"/text: it has no tokenizer, by which its {WORDS} rows could be matched"):
        alone(carrier, text)


def test_the_embeddings_of_a_tied_language_model_are_its_head_too(tmp_path: Path) -> None:
    carrier = save(tiny_vision_model(llava_config(), 1), tmp_path / "eye")
    tied = tiny_decoder(llava_config(), 2, tie_word_embeddings=True)
    tied.save_pretrained(tmp_path / "text")
    found = alone(carrier, open_model(tmp_path / "text"))
    assert torch.equal(found[HEAD], found[EMBEDDINGS]) and torch.equal(found[HEAD], tied.state_dict()[HEAD])


def test_a_head_of_its_own_does_not_fit_one_that_is_tied(tmp_path: Path) -> None:
    config = {**llava_config(tie_word_embeddings=True), "tie_word_embeddings": True}
    tiny_vision_model(config, 1).save_pretrained(tmp_path / "eye")
    text = save(tiny_decoder(llava_config(), 2), tmp_path / "text")
    with pytest.raises(MergingError, match=r"/text: lm_head\.weight and .* are tied, yet their values differ"):
        alone(open_model(tmp_path / "eye"), text)


def adapter_on(base: Any, folder: Path, **settings: Any) -> torch.nn.Module:
    """Train an adapter at random, save it, and give back peft's own merge of it."""
    torch.manual_seed(3)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=5, **settings))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.rand(weight.shape)
    model.save_pretrained(folder)
    merged: torch.nn.Module = model.merge_and_unload().eval()
    return merged


@pytest.mark.parametrize("older", [False, True])
def test_an_adapter_on_a_vision_language_model_is_peft_s_own_merge(older: bool, tmp_path: Path) -> None:
    carrier = save(tiny_vision_model(llava_config(), 1), tmp_path / "eye", older=True)
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "eye")
    targets = r".*language_model.*\.(q_proj|down_proj)|.*linear_1"
    expected = adapter_on(base, tmp_path / "lora", target_modules=targets).state_dict()
    if older:
        file = tmp_path / "lora" / ADAPTER_WEIGHTS
        renamed = {
            key.replace("model.model.language_model.", "model.language_model.model.").replace(
                "model.model.multi_modal", "model.multi_modal"
            ): tensor
            for key, tensor in load_file(file).items()
        }
        assert any("language_model.model.layers" in key for key in renamed)
        save_file(renamed, file)
    ours = AdapterCheckpoint.open(carrier, tmp_path / "lora")
    assert len(ours.differing) == 5 and ours.stored_name(HEAD) == "language_model.lm_head.weight"
    for name in ours.names:
        assert torch.allclose(ours.tensor(name), expected[name], atol=1e-6), name


def test_an_adapter_on_a_language_model_is_merged_into_the_language_part(tmp_path: Path) -> None:
    carrier = save(tiny_vision_model(llava_config(), 1), tmp_path / "eye")
    text = save(tiny_decoder(llava_config(), 2), tmp_path / "text")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "text")
    expected = adapter_on(base, tmp_path / "lora", target_modules=["v_proj"], task_type="CAUSAL_LM").state_dict()
    found = alone(carrier, AdapterCheckpoint.open(text, tmp_path / "lora"))
    for name, tensor in expected.items():
        inside = name if name == HEAD else name.replace("model.", "model.language_model.", 1)
        assert torch.allclose(found[inside], tensor, atol=1e-6), name
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"


def test_an_adapted_carrier_gives_its_own_rows_although_its_base_has_the_same_folder(tmp_path: Path) -> None:
    eye = save(tiny_vision_model(llava_config(), 1), add_tokenizer(tmp_path / "eye", "<image>", "<end>"))
    text = save(tiny_decoder(llava_config(), 2, vocab_size=WORDS + 1), add_tokenizer(tmp_path / "text", "<turn>"))
    base = AutoModelForImageTextToText.from_pretrained(tmp_path / "eye")
    adapter_on(base, tmp_path / "lora", target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    weights: dict[ModelId, Weights] = {EYE: eye, TRAINED: AdapterCheckpoint.open(eye, tmp_path / "lora"), TEXT: text}
    recipe = WeightMerge.single(TEXT, PARTS.single_group, "float32", carrier=TRAINED)
    write_release(recipe, weights, tmp_path / "merged", {}, config_source=eye.folder)
    expected = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").state_dict()
    assert torch.equal(expected[EMBEDDINGS][WORDS], weights[TRAINED].tensor(EMBEDDINGS)[WORDS])
    assert not torch.equal(expected[EMBEDDINGS][WORDS], eye.tensor(EMBEDDINGS)[WORDS])
    path = PathRecipe((recipe,), (Hop(0, 0, 1.0), Hop(0, 1, 1.0)), 0, 0)
    live = LiveModels(eye.folder, weights, dtype="float32", carrier=TRAINED)
    for model in (live.merged(recipe), live.path(path)):
        assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(MergingError, match=r"carrier: got tiny/eye\+tiny/lora: this live model was built in tiny/eye$"):
        LiveModels(eye.folder, weights, dtype="float32").merged(recipe)
