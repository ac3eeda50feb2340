"""`shoal merge` on pipelines of diffusers, single-file checkpoints, denoisers alone and LoRAs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import DiffusionPipeline
from rich.console import Console

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.merge_command.merge import Merged, Merger
from bot.progress import TerminalNarrator
from fixtures.image_pool import image_card
from fixtures.ldm_files import save_single_file
from fixtures.shoal_here import Run, shoal
from fixtures.tiny_loras import fused, save_lora
from fixtures.tiny_models import tiny_model
from fixtures.tiny_pipelines import make_source
from localhub import running
from merging.identity import ModelId
from merging.pipelines import diffusers_classes
from merging.writing.companions import RECIPE_NAME

__all__ = ["shoal"]

FAMILY = "StableDiffusionPipeline"
State = Mapping[str, torch.Tensor]


@pytest.fixture(scope="module")
def states() -> dict[str, State]:
    """Source → its weights, by component and name; filled as the sources are made."""
    return {}


@pytest.fixture(scope="module")
def lagoon(tmp_path_factory: pytest.TempPathFactory, states: dict[str, State]) -> Path:
    """Two pipelines, a single file, a UNet alone, and a LoRA for all of them."""
    folder = tmp_path_factory.mktemp("lagoon")
    for seed, name in enumerate(("a", "b", "file", "lone")):
        pipeline = make_source(FAMILY, seed)
        states[name] = weights(pipeline)
        if name == "file":
            save_single_file(pipeline, folder / "file.safetensors")
            continue
        pipeline.save_pretrained(folder / name, variant="fp16" if name == "b" else None)
    (folder / "lone" / "model_index.json").unlink()
    for path in (folder / "lone").iterdir():
        if path.name != "unet":
            shutil.rmtree(path)
    (folder / "style").mkdir()
    save_lora(folder / "style")
    return folder


def weights(pipeline: Any) -> dict[str, torch.Tensor]:
    models = {name: model for name, model in pipeline.components.items() if isinstance(model, torch.nn.Module)}
    return {f"{name}.{key}": one for name, model in models.items() for key, one in model.state_dict().items()}


def merge(lagoon: Path, *documents: dict[str, Any]) -> tuple[Merged, dict[str, torch.Tensor]]:
    """Run a recipe whose sources are beside it, and load what it writes as anyone would."""
    number = len(list(lagoon.glob("*.yml")))
    file = lagoon / f"{number}.yml"
    file.write_text(yaml.safe_dump_all([{"dtype": "float32", **one} for one in documents], sort_keys=False))
    merger = Merger(Home(lagoon / "home"), Hub("http://127.0.0.1:9"), TerminalNarrator(Console(quiet=True)))
    merged = merger.merge(file, lagoon / f"out-{number}")
    return merged, weights(DiffusionPipeline.from_pretrained(merged.target))


def weighed(**found: float) -> list[dict[str, Any]]:
    names = {"file": "./file.safetensors", "styled": "./a+./style"}
    return [{"model": names.get(name, f"./{name}"), "parameters": {"weight": weight}} for name, weight in found.items()]


def test_every_kind_of_source_takes_part(lagoon: Path, states: dict[str, State]) -> None:
    """A UNet alone and the VAE of no other than the carrier take no part; text encoders are merged by their holders."""
    content = {"merge_method": "linear", "models": weighed(a=0.1, b=0.2, file=0.3, lone=0.4)}
    merged, found = merge(lagoon, content)
    a, b, file, lone = (states[name] for name in ("a", "b", "file", "lone"))
    for name, tensor in found.items():
        expected = a[name]
        if name.startswith("unet."):
            expected = 0.1 * a[name] + 0.2 * b[name] + 0.3 * file[name] + 0.4 * lone[name]
        elif name.startswith("text_encoder."):
            expected = (0.1 * a[name] + 0.2 * b[name] + 0.3 * file[name]) / 0.6
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7, msg=name)
    assert merged.plan.remarks == ("./lone: it has no text encoder, and takes no part in the merge of it",)
    facts = merged.as_json()
    assert facts["layers"] == 5 and facts["tensors"] == len(merged.plan.assembly.tasks)
    sizes = [path.stat().st_size for path in merged.target.glob("*/*.safetensors")]
    assert 0 < sum(sizes) - merged.plan.bytes < 3 * 40_000  # the headers
    recipe = (merged.target / RECIPE_NAME).read_text()
    assert recipe.startswith("# mergekit does not merge pipelines.\n") and "file.safetensors" in recipe
    card = (merged.target / "README.md").read_text()
    assert "| `./file.safetensors` | a file |" in card and "| `./lone` | a folder |" in card
    assert "library_name: diffusers" in card and "pipeline_tag: text-to-image" in card
    assert 'pipeline = DiffusionPipeline.from_pretrained("path/to/this/folder")' in card


def test_each_component_has_models_of_its_own(lagoon: Path, states: dict[str, State]) -> None:
    """The carrier is merged nowhere; what is of one model alone keeps the bytes of its files, if it has files."""
    merged, found = merge(
        lagoon,
        {
            "merge_method": "linear",
            "carrier": "./a",
            "modules": {
                "denoiser": {"models": weighed(b=0.5, lone=0.5), "parameters": {"normalize": False}},
                "text encoder": {"models": [{"model": "./b"}]},
                "VAE": {"models": [{"model": "./file.safetensors"}]},
                "scheduler": {"models": [{"model": "./b"}]},
            },
        },
    )
    b, file, lone = (states[name] for name in ("b", "file", "lone"))
    for name, tensor in found.items():
        expected = {"unet": (b.get(name, 0) + lone.get(name, 0)) / 2, "text_encoder": b.get(name)}
        wanted = expected.get(name.partition(".")[0], file.get(name))
        torch.testing.assert_close(tensor, wanted, rtol=1e-6, atol=1e-7, msg=name)
    own, copied = (merged.target / "text_encoder", lagoon / "b" / "text_encoder")
    assert (own / "model.safetensors").read_bytes() == (copied / "model.fp16.safetensors").read_bytes()
    assert (merged.target / "tokenizer" / "tokenizer.json").read_bytes() == (
        lagoon / "b" / "tokenizer" / "tokenizer.json"
    ).read_bytes()
    assert [str(name) for name in merged.plan.sources] == ["./a", "./b", "./lone", "./file.safetensors"]


def test_a_lora_a_base_filters_and_stages(lagoon: Path, states: dict[str, State]) -> None:
    """As EvoSDXL was made: a merge by attention and the rest, then another one of that and of a LoRA."""
    first = {"name": "first", "merge_method": "linear", "models": weighed(a=1, b=1), "parameters": {"normalize": True}}
    first["models"][0]["parameters"] = {"weight": [{"filter": "attn", "value": 0.25}, {"value": 0.75}]}
    first["models"][1]["parameters"] = {"weight": [{"filter": "attn", "value": 0.75}, {"value": 0.25}]}
    models = [{"model": "first", "parameters": {"weight": [0.2, 0.6]}}, *weighed(styled=0.5)]
    second = {"merge_method": "task_arithmetic", "base_model": "./a", "models": models}
    merged, found = merge(lagoon, first, second)
    a, b, style = states["a"], states["b"], fused(lagoon / "a", lagoon / "style")
    depths = {"down_blocks.0": 0.2, "down_blocks.1": 0.3, "mid_block": 0.4, "up_blocks.0": 0.5, "up_blocks.1": 0.6}
    depths |= {"conv_in": 0.2, "time_embedding": 0.2, "conv_norm_out": 0.6, "conv_out": 0.6}
    depths |= {"layers.0": 0.2, "layers.1": 0.6, "embeddings": 0.2, "final_layer_norm": 0.6}
    for name, tensor in found.items():
        expected = a[name]
        if not name.startswith("vae."):
            share = 0.25 if "attn" in name else 0.75
            inner = share * a[name] + (1 - share) * b[name]
            depth = next(value for part, value in depths.items() if f".{part}." in name)
            expected = a[name] + depth * (inner - a[name]) + 0.5 * (style[name] - a[name])
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6, msg=name)
    assert merged.as_json()["stages"] == [{"name": "first", "method": "linear"}]
    assert (merged.target / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() == (
        lagoon / "a" / "vae" / "diffusion_pytorch_model.safetensors"
    ).read_bytes()


def make_unfit(lagoon: Path) -> None:
    """Make sources that cannot be merged with the others, each like `a` but for one thing."""
    if (lagoon / "wide").exists():
        return
    for name in ("wide", "latent", "mixed", "words", "gone-vae"):
        shutil.copytree(lagoon / "a", lagoon / name)
    change_json(lagoon / "wide" / "unet" / "config.json", cross_attention_dim=24)
    change_json(lagoon / "latent" / "vae" / "config.json", scaling_factor=0.13025)
    shutil.rmtree(lagoon / "gone-vae" / "vae")
    unet = lagoon / "mixed" / "unet"
    unet.joinpath("diffusion_pytorch_model.safetensors").rename(
        unet / "diffusion_pytorch_model-00001-of-00002.safetensors"
    )
    unet.joinpath("diffusion_pytorch_model.fp16-00002-of-00002.safetensors").touch()
    words = lagoon / "words" / "tokenizer" / "tokenizer.json"
    words.write_text(words.read_text().replace('"red": 5', '"red": 6').replace('"green": 6', '"green": 5'))
    for name in ("pieces", "others"):
        shutil.copytree(lagoon / "a", lagoon / name)
        (lagoon / name / "tokenizer" / "tokenizer.json").unlink()
        (lagoon / name / "tokenizer" / "spiece.model").write_text(name)
    (lagoon / "old.ckpt").write_bytes(b"")
    tiny_model("llama", seed=0).save_pretrained(lagoon / "text")


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_repos_of_the_hub_give_the_same_bytes_as_folders(lagoon: Path, tmp_path: Path) -> None:
    """A pipeline, a checkpoint in one file beside other files, a denoiser alone, and a LoRA."""
    repos = {"reef/a": "a", "reef/lone": "lone", "reef/style": "style"}
    with running(tmp_path / "hub") as server:
        for repo, name in repos.items():
            files = [path for path in (lagoon / name).rglob("*") if path.is_file()]
            contents = {path.relative_to(lagoon / name).as_posix(): path.read_bytes() for path in files}
            server.store.commit(repo, contents | {"README.md": image_card(repo)})
        single = {"big/file.safetensors": (lagoon / "file.safetensors").read_bytes(), "other.safetensors": b""}
        server.store.commit("reef/files", single | {"README.md": image_card("reef/files")})
        names = ("reef/a+reef/style", "reef/files:big/file.safetensors", "reef/lone")
        content = {"merge_method": "linear", "carrier": "reef/a", "dtype": "float32", "parameters": {"weight": 1}}
        (tmp_path / "hub.yml").write_text(yaml.safe_dump({**content, "models": [{"model": name} for name in names]}))
        places = ("./a+./style", "./file.safetensors", "./lone")
        folders = {**content, "carrier": "./a", "models": [{"model": place} for place in places]}
        hub = Hub(server.endpoint, None, sleep=lambda _: None)
        merger = Merger(Home(tmp_path / "home"), hub, TerminalNarrator(Console(quiet=True)))
        fetched = merger.merge(tmp_path / "hub.yml", tmp_path / "out")
    own, _ = merge(lagoon, folders)
    ours, theirs = ({path: digest for path, digest in found.files.items() if "/" in path} for found in (fetched, own))
    assert ours == theirs and len(ours) > 8
    assert fetched.plan.download_bytes == sum(repo.candidate.download_bytes for repo in fetched.plan.missing) > 0
    there = {path.relative_to(tmp_path / "home" / "sources").parts[0] for path in _fetched(tmp_path)}
    assert there == {"reef--a", "reef--lone", "reef--style", "reef--files"}
    assert not [path for path in _fetched(tmp_path) if path.name == "other.safetensors"]
    recipe = (fetched.target / RECIPE_NAME).read_text()
    sha = fetched.plan.sources[ModelId.parse("reef/files:big/file.safetensors")].id.revision
    assert f"reef/files@{sha}:big/file.safetensors" in recipe
    card = (fetched.target / "README.md").read_text()
    assert "license: openrail++" in card and "[reef/files:big/file.safetensors](" in card and ") (carrier) | `" in card


def test_a_second_merge_of_pipelines_needs_neither_diffusers_nor_transformers(lagoon: Path, shoal: Run) -> None:
    """Not even for the page that it prints."""
    recipe, home = lagoon / "twice.yml", lagoon / "answered"
    recipe.write_text(yaml.safe_dump({"merge_method": "linear", "models": weighed(a=1, b=1)}))
    diffusers_classes._names.cache_clear()  # what this process knows already, no file keeps for the next one
    status, _, said = shoal("merge", recipe, lagoon / "once", "--home", home)
    assert status == 0, said
    program = (
        "import sys; from bot.cli.main import app; app(standalone_mode=False); "
        "print({'diffusers', 'transformers'} & sys.modules.keys())"
    )
    command = [sys.executable, "-c", program, "merge", str(recipe), str(lagoon / "twice"), "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "set()"
    one, other = (lagoon / name / "unet" / "diffusion_pytorch_model.safetensors" for name in ("once", "twice"))
    assert one.read_bytes() == other.read_bytes()


def _fetched(place: Path) -> list[Path]:
    return [path for path in (place / "home" / "sources").rglob("*") if path.is_file()]


A_LINEAR = {"merge_method": "linear", "models": weighed(a=1, b=1)}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"models": weighed(file=1)}, "got ./file.safetensors: it is not a whole pipeline of diffusers, which"),
        ({"carrier": "./lone"}, "./lone: a whole pipeline of diffusers is needed, whose files the result has"),
        ({"tokenizer_source": "union"}, "tokenizer_source: got 'union': each text encoder has a tokenizer of its own"),
        ({"chat_template": "auto"}, "chat_template: got 'auto': a pipeline has none; leave it out"),
        (
            {"models": None, "slices": [{"sources": [{"model": "./a", "layer_range": [0, 1]}]}]},
            "slices: got slices: the layers of pipelines are not moved: write `models`, with filters for blocks",
        ),
        (
            {"models": None, "modules": {"unet": {"models": weighed(a=1)}, "VAE": {"models": weighed(a=1)}}},
            "modules: got unet, VAE: one of several must be denoiser, the UNet or the transformer",
        ),
        (
            {"models": None, "modules": {"denoiser": {"models": weighed(a=1)}, "vae": {"models": weighed(a=1)}}},
            "modules.vae: got a module: there is none of this name; use text encoder, text encoder 2,",
        ),
        (
            {
                "models": None,
                "modules": {"denoiser": {"models": weighed(a=1)}, "text encoder 2": {"models": [{"model": "./b"}]}},
            },
            "text encoder 2: got a module: the result has no text encoder 2, only scheduler, text encoder,",
        ),
        (
            {
                "models": None,
                "modules": {"denoiser": {"models": weighed(a=1)}, "VAE": {"models": [{"model": "./lone"}]}},
            },
            "modules.VAE: got ./lone: no VAE is there; name another model",
        ),
        (
            {
                "models": None,
                "modules": {
                    "denoiser": {"models": weighed(a=1)},
                    "scheduler": {"models": [{"model": "./file.safetensors"}]},
                },
            },
            "modules.scheduler: got ./file.safetensors: no scheduler is there; name a whole pipeline",
        ),
        (
            {
                "models": None,
                "modules": {
                    "denoiser": {"models": weighed(a=1)},
                    "VAE": {"models": [{"model": "./a"}, {"model": "./b"}]},
                },
                "parameters": {"weight": [0, 1]},
            },
            "parameters.weight: got a gradient: the VAE has no row of layers: write one value for it",
        ),
        (
            {"models": None, "merge_method": "slerp", "parameters": {"t": 0.5}}
            | {
                "modules": {
                    "denoiser": {"models": weighed(a=1, b=1)},
                    "VAE": {"models": [{"model": "./a"}], "parameters": {"t": 0.5}},
                }
            },
            "modules.VAE: got 1 models: slerp merges exactly 2",
        ),
        (
            {"carrier": "./a", "last_stage": {"model": "./file.safetensors+./style"}},
            "last_stage.model: got ./file.safetensors+./style: its LoRA needs a whole pipeline; write one before it",
        ),
        (
            {"models": [*weighed(file=1)], "last_stage": {"model": "./a+./style"}},
            "a whole pipeline of diffusers is needed, whose files the result has: name one as carrier",
        ),
        ({"models": weighed(a=1, gone=1)}, "models[1].model: got ./gone: there is no such folder here; check the path"),
        ({"models": weighed(a=1, wide=1)}, "its unet.cross_attention_dim is 24, not 16; name another model"),
        ({"models": weighed(a=1, latent=1)}, "its vae.scaling_factor is 0.13025, not 0.18215; name another model"),
        ({"models": [*weighed(a=1), {"model": "./gone-vae"}]}, "it lacks its component vae: model_index.json lists it"),
        ({"models": [*weighed(a=1), {"model": "./old.ckpt"}]}, "a pickled checkpoint is a program: save its weights"),
        (
            {"models": weighed(a=1, words=1)},
            "the tokenizer of its text_encoder is not that of ./a (another vocabulary)",
        ),
        (
            {"models": weighed(pieces=1, others=1)},
            "the tokenizer of its text_encoder is not that of ./pieces (another vocabulary file)",
        ),
        ({"models": [*weighed(a=1), {"model": "./b+./wide/unet"}]}, "is none that plain LoRA has"),
        ({"models": weighed(a=1, mixed=1)}, "its component unet mixes files of several variants (plain, fp16)"),
        ({"models": weighed(a=1, text=1)}, "its kind is language, that of ./a image"),
    ],
)
def test_what_cannot_be_merged_is_one_line_and_nothing_is_written(
    lagoon: Path, content: dict[str, Any], why: str
) -> None:
    make_unfit(lagoon)
    with pytest.raises(ShoalError) as caught:
        merge(lagoon, {key: value for key, value in (A_LINEAR | content).items() if value is not None})
    (line,) = str(caught.value).splitlines()
    assert why in line and not list(lagoon.glob(f"out-{len(list(lagoon.glob('*.yml'))) - 1}"))
