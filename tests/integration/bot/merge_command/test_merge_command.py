"""`shoal merge` on folders and on a Hub: what is refused before anything is fetched, and what is written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from bot.cli.main import app
from bot.cli.options import parse_size
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.merge_command.merge import Merger
from bot.progress import TerminalNarrator
from conftest import TestHub
from fixtures.json_keys import documented_keys, keys_of
from fixtures.pickles import open_conversion, with_pickles
from fixtures.small_repos import card, tokenizer
from fixtures.tiny_models import recipe_of, tiny_model
from merging.errors import MergingError
from merging.identity import ModelId
from merging.partition import Partition
from merging.recipes.path import Hop, PathRecipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

WORDS = 50


def save(
    folder: Path,
    *,
    seed: int,
    kind: str = "llama",
    words: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Path:
    """A tiny model with a tokenizer in a folder, as a person would have it."""
    tiny_model(kind, seed=seed, **options).to(dtype).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(words or tokenizer(WORDS)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def put(hub: TestHub, repo: str, folder: Path, *, licence: str | None = "apache-2.0", **more: bytes) -> str:
    """Commit a folder to a repo of the Hub; gives the commit."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    hub.store.commit(repo, files | {"README.md": card(licence=licence).encode()} | more)
    return hub.store.head(repo)


def merger(hub: TestHub, tmp_path: Path, *, token: str | None = None, **options: Any) -> Merger:
    """What the command works with."""
    client = Hub(hub.endpoint, token or hub.token, sleep=lambda _: None)
    return Merger(Home(tmp_path / "home"), client, TerminalNarrator(Console(quiet=True)), **options)


def recipe(tmp_path: Path, **content: Any) -> Path:
    """A recipe in a file."""
    path = tmp_path / "recipe.yml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def linear(*models: str, **more: Any) -> dict[str, Any]:
    """The mean of some models."""
    return {
        "merge_method": "linear",
        "models": [{"model": model, "parameters": {"weight": 1}} for model in models],
        **more,
    }


def test_pickled_repos_are_taken_if_that_is_asked_for(hub: TestHub, tmp_path: Path) -> None:
    folders = {name: save(tmp_path / name, seed=seed) for seed, name in enumerate(("cod", "eel", "ray"))}
    for name in ("eel", "ray"):
        files = {path.name: path.read_bytes() for path in folders[name].iterdir()}
        hub.store.commit(f"reef/{name}", with_pickles(files) | {"README.md": card().encode()})
    weights = {"model.safetensors": (folders["ray"] / "model.safetensors").read_bytes()}
    number, sha = open_conversion(hub.store, "reef/ray", weights)
    file = recipe(tmp_path, **linear(str(folders["cod"]), "reef/eel", "reef/ray"))
    remedy = "its weights are pickled, without safetensors; add --convert-pickles to have them converted"
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path).check(file, tmp_path / "out")
    assert str(caught.value).count(remedy) == 2
    merged = merger(hub, tmp_path, convert_pickles=True).merge(file, tmp_path / "out")
    merger(hub, tmp_path).merge(recipe(tmp_path, **linear(*map(str, folders.values()))), tmp_path / "same")
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "same"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert {f"reef/ray@{sha}", f"reef/eel@{hub.store.head('reef/eel')}"} <= {str(name) for name in pinned(tmp_path)}
    assert merged.plan.remarks[:2] == (
        "reef/eel: its pickled weights are converted here",
        f"reef/ray: its weights are the Hub's conversion, pull request {number}",
    )
    assert "reef/eel: its pickled weights are converted here." in (tmp_path / "out" / "README.md").read_text()
    # A commit that is written is kept, though the Hub has a conversion at another one.
    exact = recipe(tmp_path, **linear(str(folders["cod"]), f"reef/ray@{hub.store.head('reef/ray')}"))
    plan = merger(hub, tmp_path, convert_pickles=True).check(exact, tmp_path / "exact").plan
    assert [repo.sha for repo in plan.missing] == [hub.store.head("reef/ray")]


def pinned(folder: Path) -> list[str]:
    """The models of the written recipe."""
    content = yaml.safe_load((folder / "out" / "mergekit_config.yml").read_text())
    return [entry["model"] for entry in content["models"]]


def test_models_of_the_hub_are_pinned_fetched_and_merged(hub: TestHub, tmp_path: Path) -> None:
    one = put(hub, "reef/cod", save(tmp_path / "cod", seed=1), LICENSE=b"free")
    two = put(hub, "reef/eel", save(tmp_path / "eel", seed=2))
    file = recipe(tmp_path, **linear("reef/cod", "reef/eel@main", dtype="bfloat16", out_dtype="float32"))
    file.write_text("# made by hand\n" + file.read_text())
    target = tmp_path / "out"
    merged = merger(hub, tmp_path, max_shard_bytes=20_000).merge(file, target)
    assert set(merged.files) == {path.name for path in target.iterdir()}
    assert len(list(target.glob("model-*.safetensors"))) > 1
    sources = [load_file(tmp_path / name / "model.safetensors") for name in ("cod", "eel")]
    found = AutoModelForCausalLM.from_pretrained(target).state_dict()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (sources[0][name] + sources[1][name]) / 2, rtol=0, atol=1e-6)
    assert AutoTokenizer.from_pretrained(target)("a3 a4").input_ids == [3, 4]
    text = (target / "mergekit_config.yml").read_text()
    assert text == file.read_text().replace("reef/cod", f"reef/cod@{one}").replace("reef/eel@main", f"reef/eel@{two}")
    metadata = ModelCard.load(target / "README.md").data
    assert metadata.base_model == ["reef/cod", "reef/eel"]
    assert (metadata.license, metadata.library_name) == ("apache-2.0", "transformers")
    assert "merge" in metadata.tags
    assert (target / "LICENSE-reef--cod.txt").read_text() == "free"
    again = merger(hub, tmp_path).merge(target / "mergekit_config.yml", tmp_path / "again")
    assert again.plan.missing == ()


def test_names_that_need_quotes_keep_them_when_models_are_pinned(hub: TestHub, tmp_path: Path) -> None:
    pins = {name: put(hub, f"reef/{name}", save(tmp_path / name, seed=1)) for name in ("cod", "koi", "orc")}
    for seed, name in enumerate(("eel, the old one", "ray #2", "it's")):
        save(tmp_path / name, seed=seed)
    text = """merge_method: linear
models:
  - {model: "./eel, the old one"}
  - {model: './it''s'}  # 'by hand'
  - {model: './ray #2'}
  - {model: 'reef/cod@main'}
  - {model: "reef/koi"}
  - model: >-
      reef/orc
parameters: {weight: 1}
"""
    (tmp_path / "recipe.yml").write_text(text)
    merger(hub, tmp_path).merge(tmp_path / "recipe.yml", tmp_path / "out")
    expected = text.replace(">-\n      reef/orc", '"reef/orc"').replace("@main", "")
    for name, sha in pins.items():
        expected = expected.replace(f"reef/{name}", f"reef/{name}@{sha}")
    assert (tmp_path / "out" / "mergekit_config.yml").read_text() == expected


def test_folders_are_found_next_to_the_recipe_and_no_card_names_them(hub: TestHub, tmp_path: Path) -> None:
    save(tmp_path / "models" / "cod", seed=1)
    save(tmp_path / "models" / "eel", seed=2)
    file = recipe(tmp_path, **linear("models/cod", str(tmp_path / "models" / "eel")))
    target = tmp_path / "out"
    merged = merger(hub, tmp_path).merge(file, target)
    assert merged.as_json()["models"][0]["folder"] == str(tmp_path / "models" / "cod")
    metadata = ModelCard.load(target / "README.md").data
    assert (metadata.base_model, metadata.license) == (None, None)
    assert not (tmp_path / "home").exists()


def test_spellings_of_one_model_are_one_model(hub: TestHub, tmp_path: Path) -> None:
    for seed, name in enumerate(("base", "cod", "eel")):
        save(tmp_path / name, seed=seed)
    sha = put(hub, "reef/base", tmp_path / "base")
    (tmp_path / "link").symlink_to(tmp_path / "base")
    inputs = [{"model": name} for name in ("cod", "eel")]
    once = {"merge_method": "model_stock", "base_model": "base", "models": [{"model": "base"}, *inputs]}
    expected = merger(hub, tmp_path).merge(recipe(tmp_path, **once), tmp_path / "once")
    ways = ("./base", "./cod/../base/", "link", str(tmp_path / "base"))
    pairs = [("base", way) for way in ways] + [("reef/base@main", "reef/base"), ("reef/base", f"reef/base@{sha}")]
    for number, (base, other) in enumerate(pairs):
        file = recipe(tmp_path, merge_method="model_stock", base_model=base, models=[{"model": other}, *inputs])
        merged = merger(hub, tmp_path).merge(file, tmp_path / f"merged {number}")
        assert merged.files["model.safetensors"] == expected.files["model.safetensors"]
        assert [model["name"] for model in merged.as_json()["models"]] == [base, "cod", "eel"]
        written = file.read_text()
        if base.startswith("reef"):
            written = re.sub("reef/base(@.*)?", f"reef/base@{sha}", written)
        assert (tmp_path / f"merged {number}" / RECIPE_NAME).read_text() == written
    random = {"merge_method": "dare_ties", "base_model": "base", "parameters": {"density": 0.5}}
    draws = [
        merger(hub, tmp_path).merge(
            recipe(tmp_path, **linear("cod", "eel", **random, tokenizer_source=source)), tmp_path / f"drawn {number}"
        )
        for number, source in enumerate(("eel", "./eel"))
    ]
    # Draws are keyed by the first spelling.
    assert draws[0].files["model.safetensors"] == draws[1].files["model.safetensors"]


@pytest.mark.parametrize(
    ("names", "got"),
    [
        (("cod", "./cod/"), "cod and ./cod/, which are one model"),
        (("reef/cod", "reef/cod@main"), "reef/cod and reef/cod@main, which are one model"),
        (("cod", "cod"), "cod twice"),
    ],
)
def test_one_model_twice_in_a_slice_is_refused_with_its_spellings(
    names: tuple[str, str], got: str, hub: TestHub, tmp_path: Path
) -> None:
    put(hub, "reef/cod", save(tmp_path / "cod", seed=1))
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path).check(recipe(tmp_path, **linear(*names)), tmp_path / "out")
    assert str(caught.value) == f"{tmp_path}/recipe.yml:2: models: got {got}: name each model once in a slice"


def test_a_broken_recipe_is_described_also_where_the_hub_cannot_be_asked(tmp_path: Path) -> None:
    client = Hub("http://127.0.0.1:9", None, sleep=lambda _: None)
    bot = Merger(Home(tmp_path / "home"), client, TerminalNarrator(Console(quiet=True)))
    with pytest.raises(ShoalError, match=r"recipe\.yml:9: dtype: got 'int8'"):
        bot.check(recipe(tmp_path, **linear("reef/cod", "reef/eel", dtype="int8")), tmp_path / "out")


def test_a_release_s_own_yaml_gives_its_bytes_again(hub: TestHub, tmp_path: Path) -> None:
    origins = {}
    for seed, name in enumerate(("base", "cod", "eel")):
        folder = save(tmp_path / name, seed=seed)
        origins[ModelId(f"reef/{name}", put(hub, f"reef/{name}", folder))] = Checkpoint.open(folder)
    made = recipe_of("dare_ties", list(origins), Partition.even(2, 2, True, True), dtype="bfloat16", seed=7)
    hashes = write_release(made, origins, tmp_path / "release", {})
    merged = merger(hub, tmp_path, seed=7).merge(tmp_path / "release" / "mergekit_config.yml", tmp_path / "out")
    assert merged.files["model.safetensors"] == hashes["model.safetensors"]
    assert merged.files["config.json"] == hashes["config.json"]
    assert merged.plan.remarks == ()
    text = (tmp_path / "release" / "mergekit_config.yml").read_text()
    assert "layer_range: [0, 1]\n" in text and "&id" not in text and "*id" not in text


def test_vocabularies_are_merged_as_mergekit_merges_them(hub: TestHub, tmp_path: Path) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    one, two = tokenizer(WORDS), tokenizer(WORDS)
    two["model"]["vocab"] = {word: index for index, word in enumerate([*list(one["model"]["vocab"])[:40], *"vwxyz"])}
    save(tmp_path / "cod", seed=1, words=one)
    save(tmp_path / "eel", seed=2, words=two)
    content = linear(str(tmp_path / "cod"), str(tmp_path / "eel"), tokenizer_source="union", dtype="float32")
    content["base_model"] = str(tmp_path / "cod")
    merger(hub, tmp_path).merge(recipe(tmp_path, **content), tmp_path / "ours")
    options = MergeOptions(device="cpu", quiet=True, write_model_card=False)
    run_merge(MergeConfiguration.model_validate(content), str(tmp_path / "theirs"), options=options)
    vocabularies = [AutoTokenizer.from_pretrained(tmp_path / name).get_vocab() for name in ("ours", "theirs")]
    assert set(vocabularies[0]) == set(vocabularies[1])
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    for name, tensor in found.items():
        rows = [[vocabulary[word] for word in sorted(vocabularies[0])] for vocabulary in vocabularies]
        by_word = tensor.shape[0] == len(vocabularies[0])
        ours, theirs = (tensor[rows[0]], expected[name][rows[1]]) if by_word else (tensor, expected[name])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    assert model.config.vocab_size == len(vocabularies[0]) == 55


def test_an_adapter_is_put_on_its_base_as_peft_does(hub: TestHub, tmp_path: Path) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model

    base = put(hub, "reef/cod", save(tmp_path / "cod", seed=1))
    torch.manual_seed(0)
    settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "cod"), settings).save_pretrained(tmp_path / "lora")
    adapter = put(hub, "reef/lora", tmp_path / "lora")
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "cod"), tmp_path / "lora")
    expected = merged.merge_and_unload().state_dict()
    for name, target in ((f"{tmp_path}/cod+{tmp_path}/lora", "local"), ("reef/cod+reef/lora", "remote")):
        merger(hub, tmp_path).merge(recipe(tmp_path, **linear(name)), tmp_path / target)
        for tensor, value in load_file(tmp_path / target / "model.safetensors").items():
            torch.testing.assert_close(value, expected[tensor], rtol=1e-5, atol=1e-6)
    pinned = yaml.safe_load((tmp_path / "remote" / "mergekit_config.yml").read_text())
    assert pinned["models"][0]["model"] == f"reef/cod@{base}+reef/lora@{adapter}"
    assert ModelCard.load(tmp_path / "remote" / "README.md").data.base_model == ["reef/cod", "reef/lora"]
    added = recipe(tmp_path, **linear("reef/cod"), last_stage={"model": "reef/cod+reef/lora"})
    with pytest.raises(ShoalError, match=r"last_stage: got reef/cod\+reef/lora: only pipelines of diffusers have one"):
        merger(hub, tmp_path).check(added, tmp_path / "out")
    joined = linear("reef/cod") | {
        "parameters": {"weight": [{"filter": ["mlp", "layers.0"], "value": 1}, {"value": 2}]}
    }
    plan = merger(hub, tmp_path).check(recipe(tmp_path, **joined), tmp_path / "out").plan
    assert "mergekit knows no filters of several parts, and stops. shoal merge reads them." in plan.remarks
    put(hub, "reef/listed", tmp_path / "lora", **{"adapter_config.json": b"[]"})
    with pytest.raises(ShoalError, match=r"adapter_config\.json: cannot be read as a JSON object \(it is a list\)"):
        merger(hub, tmp_path).check(recipe(tmp_path, **linear("reef/cod+reef/listed")), tmp_path / "out")
    put(hub, "reef/wide", save(tmp_path / "wide", seed=1, kind="gpt2"))
    with pytest.raises(ShoalError, match=r"models\[0\]\.model: got reef/wide\+reef/lora@main: its adapter"):
        merger(hub, tmp_path).check(recipe(tmp_path, **linear("reef/wide+reef/lora@main")), tmp_path / "out")


def test_the_chat_template_is_the_one_asked_for(hub: TestHub, tmp_path: Path) -> None:
    for seed, (name, template) in enumerate((("cod", "{{ 1 }}"), ("eel", "{{ 2 }}"), ("ray", "{{ 2 }}"))):
        (save(tmp_path / name, seed=seed) / "chat_template.jinja").write_text(template)
    for asked, given in ((None, "{{ 1 }}"), ("auto", "{{ 2 }}"), ("{{ 3 }}", "{{ 3 }}")):
        content = linear("cod", "eel", "ray", **({"chat_template": asked} if asked else {}))
        merger(hub, tmp_path).merge(recipe(tmp_path, **content), tmp_path / f"out {given}")
        assert AutoTokenizer.from_pretrained(tmp_path / f"out {given}").chat_template == given


def test_all_that_can_be_refused_is_refused_before_the_download_a_line_each(hub: TestHub, tmp_path: Path) -> None:
    good = save(tmp_path / "good", seed=1)
    put(hub, "reef/good", good)
    put(hub, "ada/closed", good)
    hub.store.set_gated("ada/closed", "manual")
    put(hub, "reef/code", good, **{"modeling.py": b"print()"})
    pickled = {
        "config.json": (good / "config.json").read_bytes(),
        "pytorch_model.bin": b"x",
        "README.md": card().encode(),
    }
    hub.store.commit("reef/pickled", pickled)
    quantised = json.loads((good / "config.json").read_text()) | {"quantization_config": {"quant_method": "gptq"}}
    put(hub, "reef/quantised", good, **{"config.json": json.dumps(quantised).encode()})
    (tmp_path / "empty").mkdir()
    names = (
        "reef/good",
        "reef/code",
        "reef/pickled",
        "reef/quantised",
        "reef/lost",
        "ada/closed",
        "./empty",
        "not/a/place",
    )
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path, token=hub.other_token).check(recipe(tmp_path, **linear(*names)), tmp_path / "out")
    lines = dict(zip(names[1:], str(caught.value).splitlines(), strict=True))
    wanted = {
        "reef/code": "it needs custom code (modeling.py)",
        "reef/pickled": "its weights are pickled, without safetensors",
        "reef/quantised": "it is quantised (gptq)",
        "reef/lost": "not on the Hub, or private",
        "ada/closed": "found, but gated; accept its terms on the Hub",
        "./empty": "config.json: cannot be read",
        "not/a/place": "there is no such folder here",
    }
    for number, (name, reason) in enumerate(wanted.items(), 1):
        assert f": models[{number}].model: got {name}: " in lines[name]
        assert reason in lines[name]
    assert not (tmp_path / "home").exists()


def test_models_that_do_not_fit_together_are_refused_before_the_download(hub: TestHub, tmp_path: Path) -> None:
    put(hub, "reef/good", save(tmp_path / "good", seed=1))
    put(hub, "reef/deep", save(tmp_path / "deep", seed=2, layers=3))
    put(hub, "reef/words", save(tmp_path / "words", seed=2, words=tokenizer(WORDS, first="b")))
    put(hub, "reef/other", save(tmp_path / "other", seed=2, kind="qwen3"))
    put(hub, "reef/turned", turned := save(tmp_path / "turned", seed=2))
    config = json.loads((turned / "config.json").read_text()) | {
        "rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}
    }
    put(hub, "reef/turned", turned, **{"config.json": json.dumps(config).encode()})
    far = json.loads((tmp_path / "good" / "config.json").read_text()) | {"max_position_embeddings": 9999}
    put(hub, "reef/far", turned, **{"config.json": json.dumps(far).encode()})
    bot = merger(hub, tmp_path)
    for other, reason in {
        "reef/deep": "models of unequal depth (reef/good 2, reef/deep 3)",
        "reef/words": "its tokenizer is not that of reef/good (another vocabulary); add `tokenizer_source: union`",
        "reef/other": "reef/other: it has model.layers.0.self_attn.k_norm.weight, for which a model like",
    }.items():
        with pytest.raises(ShoalError, match=r"recipe\.yml:") as caught:
            bot.check(recipe(tmp_path, **linear("reef/good", other)), tmp_path / "out")
        assert reason in str(caught.value)
    sliced = {"merge_method": "passthrough", "slices": [{"sources": [{"model": "reef/deep", "layer_range": [1, 4]}]}]}
    with pytest.raises(
        ShoalError, match=r"slices\[0\]\.sources\[0\]\.layer_range: got \[1, 4\]: reef/deep has 3 layers"
    ):
        bot.check(recipe(tmp_path, **sliced), tmp_path / "out")
    plan = bot.check(recipe(tmp_path, **linear("reef/good", "reef/turned")), tmp_path / "out").plan
    assert plan.download_bytes > 0
    assert plan.remarks == (
        "reef/turned: its config says rope_parameters.rope_theta 5.0, not 10000.0; the result has that of reef/good",
    )
    assert bot.check(recipe(tmp_path, **linear("reef/good", "reef/far")), tmp_path / "out").plan.remarks == (
        "reef/far: its config says max_position_embeddings 9999, not 64; the result has that of reef/good",
    )
    assert not (tmp_path / "home").exists()


def test_a_tied_head_that_has_values_of_its_own_is_refused_once_the_values_are_here(
    hub: TestHub, tmp_path: Path
) -> None:
    for seed, name in enumerate(("good", "odd")):
        weights = load_file(save(tmp_path / name, seed=seed, kind="llama-tied") / "model.safetensors")
        twin = weights["model.embed_tokens.weight"]
        weights["lm_head.weight"] = twin.clone() if name == "good" else twin + 1
        save_file(weights, tmp_path / name / "model.safetensors", {"format": "pt"})
        put(hub, f"reef/{name}", tmp_path / name)
    file = recipe(tmp_path, **linear("reef/good", "reef/odd"))
    assert merger(hub, tmp_path).check(file, tmp_path / "out").plan.missing
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path).merge(file, tmp_path / "out")
    why = "lm_head.weight and model.embed_tokens.weight are tied, yet their values differ"
    assert str(caught.value) == f"{file}:6: models[1].model: got reef/odd: {why}; name another model"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["mixtral", "deepseek-v3"])
def test_mixtures_of_experts_are_merged_expert_by_expert(kind: str, hub: TestHub, tmp_path: Path) -> None:
    folders = [save(tmp_path / name, seed=seed, kind=kind) for seed, name in enumerate(("cod", "eel"))]
    put(hub, "reef/eel", folders[1])
    merger(hub, tmp_path).merge(recipe(tmp_path, **linear("./cod", "reef/eel")), tmp_path / "out")
    one, two, found = (load_file(folder / "model.safetensors") for folder in (*folders, tmp_path / "out"))
    assert any(".experts.3." in name for name in found) and found.keys() == one.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2, rtol=0, atol=1e-6)


def test_vocabularies_without_a_tokenizer_json_are_compared_by_the_files_they_have(
    hub: TestHub, tmp_path: Path
) -> None:
    older = {"cod": {"tokenizer.model": b"a"}, "eel": {"tokenizer.model": b"b"}, "ray": {"vocab.json": b"{}"}}
    older |= {"koi": {"vocab.json": b"{}", "merges.txt": b""}, "orc": {"vocab.json": b"{}", "merges.txt": b"a b"}}
    for seed, (name, files) in enumerate(older.items()):
        folder = save(tmp_path / name, seed=seed)
        (folder / "tokenizer.json").unlink()
        for path, content in files.items():
            (folder / path).write_bytes(content)
        put(hub, f"reef/{name}", folder)
    bot = merger(hub, tmp_path)
    for one, two, reason in (("cod", "eel", "tokenizer.model"), ("koi", "orc", "merges.txt")):
        for first, second in ((f"./{one}", f"reef/{two}"), (f"reef/{one}", f"./{two}")):
            why = rf"its tokenizer is not that of {first} \(another {reason}\); add `tokenizer_source: union`"
            with pytest.raises(ShoalError, match=rf"models\[1\]\.model: got {second}: {why}"):
                bot.check(recipe(tmp_path, **linear(first, second)), tmp_path / "out")
    assert bot.check(recipe(tmp_path, **linear("reef/koi", "./ray")), tmp_path / "out").plan.remarks == ()
    assert bot.check(recipe(tmp_path, **linear("./cod", "reef/ray")), tmp_path / "out").plan.remarks == (
        "reef/ray: it has no file whose tokens could be compared with those of ./cod",
    )


def test_one_wide_tensor_that_makes_the_whole_result_wide_is_reported(hub: TestHub, tmp_path: Path) -> None:
    for seed, name in enumerate(("cod", "eel")):
        weights = load_file(save(tmp_path / name, seed=seed) / "model.safetensors")
        wide = "model.norm.weight" if name == "eel" else None
        narrow = {key: tensor if key == wide else tensor.bfloat16() for key, tensor in weights.items()}
        save_file(narrow, tmp_path / name / "model.safetensors", {"format": "pt"})
    plan = merger(hub, tmp_path).check(recipe(tmp_path, **linear("./cod", "./eel")), tmp_path / "out").plan
    remark = f"dtype: none is given and 1 of {2 * len(weights)} tensors are F32, such as model.norm.weight of ./eel: "
    assert plan.assembly.dtype == "float32"
    assert plan.remarks == (f"{remark}the result is float32; write `dtype: bfloat16` for a smaller one",)
    given = recipe(tmp_path, **linear("./cod", "./eel", dtype="bfloat16"))
    assert merger(hub, tmp_path).check(given, tmp_path / "out").plan.remarks == ()


def test_a_target_that_can_never_be_a_folder_is_refused_by_a_check(hub: TestHub, tmp_path: Path) -> None:
    save(tmp_path / "cod", seed=1)
    file = recipe(tmp_path, **linear("./cod"))
    with pytest.raises(ShoalError, match=rf"^{file}/deep/out: {file} is a file: give another folder$"):
        merger(hub, tmp_path).check(file, file / "deep" / "out")


def test_a_merge_that_cannot_fit_the_disk_is_refused(
    hub: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, "reef/good", save(tmp_path / "good", seed=1))
    monkeypatch.setattr("bot.merge_command.plan.SPARE_BYTES", 2**62)
    with pytest.raises(ShoalError, match="bytes free where the merge needs"):
        merger(hub, tmp_path).check(recipe(tmp_path, **linear("reef/good")), tmp_path / "out")


def test_an_empty_folder_is_filled_and_mergekit_s_options_are_taken_with_a_remark(tmp_path: Path) -> None:
    save(tmp_path / "cod", seed=1)
    file, out = recipe(tmp_path, **linear("cod")), tmp_path / "out"
    out.mkdir()
    command = ["merge", "--cuda", "--allow-crimes", str(file), str(out), "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(
        app, [*command, "--out-shard-size", "20K", "--device=cuda", "--no-copy-tokenizer", "--json"]
    )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    listed = documented_keys()["merge"]
    assert [key for key in keys_of(told) if not any(f"{one}.".startswith(f"{key}.") for one in listed)] == [
        "shoal_json"
    ]
    assert told["remarks"] == [
        "--cuda: it has no effect: merges are summed on the CPU",
        "--allow-crimes: it has no effect: models that fit together are merged, others are refused with the reason",
        "--device: it has no effect: merges are summed on the CPU",
        "--no-copy-tokenizer: it has no effect: the tokenizer is always written",
    ]
    assert len(list(out.glob("model-*.safetensors"))) > 1 and (out / "tokenizer.json").is_file()
    refused = CliRunner().invoke(app, [*command, "--trust-remote-code"])
    assert refused.exit_code == 2 and "no code of a model ever runs here" in refused.stderr
    unknown = CliRunner().invoke(app, [*command, "--cudda"])
    assert unknown.exit_code == 2 and "No such option: --cudda" in unknown.stderr


def test_the_command_tells_its_plan_then_writes_and_then_keeps_its_hands_off(tmp_path: Path) -> None:
    save(tmp_path / "cod", seed=1)
    save(tmp_path / "eel", seed=2)
    file, out = recipe(tmp_path, **linear("cod", "eel", parameters={"int8_mask": True})), tmp_path / "out"

    def shoal_merge(*options: str) -> Any:
        return CliRunner().invoke(app, ["merge", str(file), str(out), "--home", str(tmp_path / "home"), *options])

    planned = shoal_merge("--check")
    assert planned.exit_code == 0 and not out.exists()
    assert "nothing: this was a check" in planned.stdout
    assert "parameters.int8_mask" in planned.stdout
    done = shoal_merge("--json", "--max-shard-size", "20KB")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["files"].keys() == {path.name for path in out.iterdir()}
    again = shoal_merge()
    assert again.exit_code == 1
    assert again.stderr == f"shoal: {out}: already exists; remove it, or choose another folder\n"


def test_the_recipe_of_a_path_makes_the_path_s_release(hub: TestHub, tmp_path: Path) -> None:
    folders = [save(tmp_path / name, seed=seed) for seed, name in enumerate(("cod", "eel"))]
    sources = {ModelId(f"tiny/{folder.name}", "0" * 40): Checkpoint.open(folder) for folder in folders}
    layers = next(iter(sources.values())).layers
    parts = tuple(WeightMerge.single(source, Partition.even(layers, 1, False, False), "float32") for source in sources)
    hops = (Hop(1, 0, 0.8), Hop(0, 1, 1.0), Hop(0, 0, 1.35))
    path = PathRecipe(parts, hops, 0, 1)
    write_release(path, sources, tmp_path / "released", {})
    text = (tmp_path / "released" / RECIPE_NAME).read_text()
    for source, checkpoint in sources.items():
        text = text.replace(str(source), str(checkpoint.folder))
    (tmp_path / "path.yml").write_text(text)
    merger(hub, tmp_path).merge(tmp_path / "path.yml", tmp_path / "out")
    released, merged = (load_file(tmp_path / name / "model.safetensors") for name in ("released", "out"))
    assert released.keys() == merged.keys()
    assert all(torch.equal(weight, merged[name]) for name, weight in released.items())


def test_the_recipe_of_a_path_through_mixtures_makes_the_release_s_bytes(hub: TestHub, tmp_path: Path) -> None:
    sources = {}
    for seed, name in enumerate(("base", "cod", "eel")):
        folder = save(tmp_path / name, seed=seed, dtype=torch.bfloat16)
        sources[ModelId(f"reef/{name}", put(hub, f"reef/{name}", folder))] = Checkpoint.open(folder)
    groups = Partition.even(2, 2, True, True)
    weight_merges = [recipe_of(method, list(sources), groups, dtype="bfloat16") for method in ("dare_ties", "ties")]
    alone = WeightMerge.single(list(sources)[1], Partition.even(2, 1, False, False), "bfloat16")
    hops = (Hop(0, 1, 0.8), Hop(1, 0, 1.1), Hop(2, 0, 0.9), Hop(0, 1, 1.0))
    path = PathRecipe((weight_merges[0], alone, weight_merges[1]), hops, 0, 2)
    hashes = write_release(path, sources, tmp_path / "released", {})
    merged = merger(hub, tmp_path, seed=7).merge(tmp_path / "released" / RECIPE_NAME, tmp_path / "out")
    for name in ("model.safetensors", "config.json", RECIPE_NAME):
        assert merged.files[name] == hashes[name], name
    assert merged.as_json()["stages"] == [
        {"name": "merge-1", "method": "dare_ties"},
        {"name": "merge-2", "method": "ties"},
    ]
    assert "`merge-1` by `dare_ties`, `merge-2` by `ties`" in (tmp_path / "out" / "README.md").read_text()
    assert ModelCard.load(tmp_path / "out" / "README.md").data.base_model == ["reef/cod", "reef/base", "reef/eel"]


STAGES = """
name: last  # a stage may stand before those that it uses
merge_method: passthrough
slices:
  - sources: [{model: middle, layer_range: [0, 2]}]
  - sources: [{model: first, layer_range: [1, 2], parameters: {scale: [{filter: o_proj, value: 0.5}, {value: 1}]}}]
---
merge_method: slerp
base_model: last
models: [{model: last}, {model: TALL}]
parameters: {t: 0.25}
chat_template: auto
---
name: first
merge_method: linear
models: [{model: COD, parameters: {weight: 1}}, {model: EEL, parameters: {weight: 3}}]
chat_template: "{{ 1 }} as somebody talks"
---
name: middle
merge_method: task_arithmetic
base_model: COD
models: [{model: first, parameters: {weight: 0.5}}]
tokenizer_source: first
dtype: float32
"""


def test_stages_are_merged_as_mergekit_multi_merges_them(hub: TestHub, tmp_path: Path) -> None:
    from click.testing import CliRunner as ClickRunner
    from mergekit.scripts import multimerge

    folders = {"COD": save(tmp_path / "cod", seed=1), "EEL": save(tmp_path / "eel", seed=2)}
    folders["TALL"] = save(tmp_path / "tall", seed=3, layers=3)
    file, text = tmp_path / "recipe.yml", STAGES
    for name, folder in folders.items():
        text = text.replace(name, str(folder))
    file.write_text(text)
    merged = merger(hub, tmp_path).merge(file, tmp_path / "ours")
    assert [one.stage.name for one in merged.plan.stages] == ["first", "middle", "last", None]
    theirs, between = str(tmp_path / "theirs"), str(tmp_path / "between")
    arguments = [str(file), "--out-path", theirs, "-I", between, "--allow-crimes"]
    done = ClickRunner().invoke(multimerge.main, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("ours", "theirs"))
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "ours").chat_template == "{{ 1 }} as somebody talks"
    assert not (tmp_path / "ours" / "first").exists()


WRONG_STAGES = {
    "name: a\nMEAN\n---\nname: a\nMEAN\n": ["5: a: name: got a: so has the stage on line 1: give each stage its own"],
    "MEAN\n---\nMEAN\n": ["4: name: got none: so has the stage on line 1: only one stage has none"],
    "name: 3\nMEAN\n": ["1: name: got 3: write a word, by which other stages use this one"],
    "name: a\nMEAN of b\n---\nname: b\nMEAN of a\n": [
        "3: a: models[0].model: got b: it needs this stage itself; name another model"
    ],
    "name: a\nMEAN\n---\nMEAN of a@main\n": [
        "6: models[0].model: got a@main: a is a stage: leave revisions out, put adapters on its models"
    ],
    "name: a\nMEAN of ./lost\n---\nMEAN of a\n": [
        "3: a: models[0].model: got ./lost: there is no such folder here; check the path"
    ],
    "name: a\nMEAN of cod\ndtype: int8\n---\nMEAN of a\nmodel: a\n": [
        "4: a: dtype: got 'int8': use one of float32, bfloat16, float16",
        "8: model: got 'a': there is no such key here; did you mean models?",
    ],
    "name: a\nMEAN of cod\n---\nmerge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [1, 3]}]}]\n": [
        "6: slices[0].sources[0].layer_range: got [1, 3]: a has 2 layers; the end is not included, so 2 is the most"
    ],
    "MEAN of cod\n---\n- b\n": ["4: got no `key: value` lines: not a merge recipe; start from "],
}


@pytest.mark.parametrize("text", WRONG_STAGES, ids=range(len(WRONG_STAGES)))
def test_faults_in_stages_are_reported_by_line_stage_and_key(text: str, hub: TestHub, tmp_path: Path) -> None:
    save(tmp_path / "cod", seed=1)
    content = re.sub(r"MEAN of (\S+)", lambda found: mean_of(found[1]), text).replace("MEAN", mean_of("cod"))
    (tmp_path / "recipe.yml").write_text(content)
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path).check(tmp_path / "recipe.yml", tmp_path / "out")
    lines = [line.removeprefix(f"{tmp_path / 'recipe.yml'}:") for line in str(caught.value).splitlines()]
    for line, wanted in zip(lines, WRONG_STAGES[text], strict=True):
        assert line.startswith(wanted)


def test_a_stage_that_nobody_needs_is_not_made(hub: TestHub, tmp_path: Path) -> None:
    save(tmp_path / "cod", seed=1)
    (tmp_path / "recipe.yml").write_text(f"name: idle\n{mean_of('./lost')}\n---\n{mean_of('cod')}\n")
    plan = merger(hub, tmp_path).check(tmp_path / "recipe.yml", tmp_path / "out").plan
    assert plan.remarks == ("idle: the result does not need this stage, so it is not made",)


def test_a_slice_for_the_head_alone_is_remarked_on_where_the_head_is_the_embedding(
    hub: TestHub, tmp_path: Path
) -> None:
    head = {"sources": [{"model": "eel", "layer_range": [0, 0]}]}
    content = {"merge_method": "passthrough", "slices": [{"sources": [{"model": "cod", "layer_range": [0, 2]}]}, head]}
    for kind, remarks in (
        ("llama-tied", ("slices[1]: the head is the embedding, and so that of cod; eel gives the final norm alone",)),
        ("llama", ()),
    ):
        (tmp_path / kind).mkdir()
        for seed, name in enumerate(("cod", "eel")):
            save(tmp_path / kind / name, seed=seed, kind=kind)
        plan = merger(hub, tmp_path).check(recipe(tmp_path / kind, **content), tmp_path / "out").plan
        assert plan.remarks == remarks


def mean_of(model: str) -> str:
    """Lines of a merge of one model."""
    return f"merge_method: linear\nmodels: [{{model: {model}, parameters: {{weight: 1}}}}]"


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("1.5 mib", 1_572_864), ("20000", 20_000)])
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size("--max-shard-size", text) == size


@pytest.mark.parametrize("text", ["many", "0", "-5GB", "5 parsec"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(ShoalError, match=f"^--max-shard-size: got '{text}': write a size such as 5GB or 500MB$"):
        parse_size("--max-shard-size", text)


MERGE_KEYS = """
merge_method: linear
models:
  - &first
    model: reef/cod  # the one that others are like
    parameters: &usual {weight: 1}
  - <<: *first
    model: reef/eel
    parameters: {<<: [{weight: 3}, *usual]}
dtype: float32
"""


def test_yaml_s_merge_keys_are_read_and_pinned_where_the_name_is_written(hub: TestHub, tmp_path: Path) -> None:
    shas = {
        name: put(hub, f"reef/{name}", save(tmp_path / name, seed=seed)) for seed, name in enumerate(("cod", "eel"))
    }
    file = tmp_path / "recipe.yml"
    file.write_text(MERGE_KEYS)
    merged = merger(hub, tmp_path).merge(file, tmp_path / "out")
    one, two, found = (load_file(tmp_path / name / "model.safetensors") for name in ("cod", "eel", "out"))
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, (one[name] + 3 * two[name]) / 4, rtol=0, atol=1e-6)
    pinned = (tmp_path / "out" / RECIPE_NAME).read_text()
    assert pinned == re.sub(r"reef/(cod|eel)", lambda part: f"{part[0]}@{shas[part[1]]}", MERGE_KEYS)
    again = merger(hub, tmp_path).merge(tmp_path / "out" / RECIPE_NAME, tmp_path / "again")
    assert again.files["model.safetensors"] == merged.files["model.safetensors"]
    file.write_text("merge_method: linear\nmodels:\n  - &a {model: cod, <<: *a}\n")
    with pytest.raises(ShoalError, match="its aliases expand to too much"):
        merger(hub, tmp_path).check(file, tmp_path / "never")
    file.write_text("merge_method: linear\n<<: 7\nmodels: [{model: reef/cod}]\n")
    with pytest.raises(ShoalError, match=r"recipe\.yml:2: <<: got no mapping: write `<<: \*name`"):
        merger(hub, tmp_path).check(file, tmp_path / "never")


@pytest.mark.parametrize("method", ["linear", "karcher", "ties"])
def test_values_that_are_not_finite_are_reported_with_their_model_and_tensor(
    method: str, hub: TestHub, tmp_path: Path
) -> None:
    for seed, name in enumerate(("base", "good", "odd")):
        save(tmp_path / name, seed=seed)
    weights = load_file(tmp_path / "odd" / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "odd" / "model.safetensors", {"format": "pt"})
    base = {"base_model": "./base"} if method == "ties" else {}
    file = recipe(tmp_path, **linear("./good", "./odd", **base) | {"merge_method": method})
    with pytest.raises(MergingError) as caught:
        merger(hub, tmp_path).merge(file, tmp_path / "out")
    why = "./odd: its tensor model.norm.weight holds NaN or infinity: name another model"
    assert str(caught.value) == why
    assert not (tmp_path / "out").exists()


def test_a_model_with_a_vision_tower_is_one_line_even_if_its_config_names_no_architecture(
    hub: TestHub, tmp_path: Path
) -> None:
    folder = save(tmp_path / "seer", seed=1)
    sizes = json.loads((folder / "config.json").read_text())
    text = {key: sizes[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")}
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    config = {"model_type": "gemma3", "text_config": text, "vision_config": vision, "mm_tokens_per_image": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ShoalError) as caught:
        merger(hub, tmp_path).check(recipe(tmp_path, **linear("./seer")), tmp_path / "out")
    why = "its architecture Gemma3ForConditionalGeneration is not a causal language model"
    assert str(caught.value).endswith(f"models[0].model: got ./seer: {folder}/config.json: {why}")
