"""Single-file checkpoints and denoisers alone are read as parts of the carrier, with diffusers' own conversion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file, save_file

from fixtures.ldm_files import flux_transformer, save_single_file, save_stable_diffusion_3, save_vectors
from fixtures.tiny_painters import clip_text
from fixtures.tiny_pipelines import make_source
from merging.errors import MergingError
from merging.pipelines.partial.denoiser_files import find_lone_denoiser
from merging.pipelines.partial.lone_denoiser import open_lone_denoiser
from merging.pipelines.partial.recording import Recording
from merging.pipelines.partial.single_file import open_single_file
from merging.pipelines.weights import open_pipeline
from merging.sources.model_config import read_model_config

FAMILIES = {
    "StableDiffusionPipeline": save_single_file,
    "StableDiffusionXLPipeline": save_single_file,
    "StableDiffusion3Pipeline": save_stable_diffusion_3,
}
FIRST, SECOND, _ = FAMILIES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each family a pipeline as diffusers saves it, and as one file beside it."""
    place = tmp_path_factory.mktemp("both")
    for seed, (family, save) in enumerate(FAMILIES.items()):
        pipeline = make_source(family, seed)
        if family != FIRST:  # diffusers tells the text encoders of such a file apart by their widths
            pipeline.register_modules(text_encoder_2=clip_text(projected=True, width=24))
        if family == "StableDiffusion3Pipeline":  # whose files have no projection of the first
            torch.nn.init.eye_(pipeline.text_encoder.text_projection.weight)
        pipeline.save_pretrained(place / family)
        save(pipeline, place / f"{family}.safetensors")
    return place


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_has_the_weights_that_diffusers_reads_from_it(folder: Path, family: str) -> None:
    file, pipeline = folder / f"{family}.safetensors", folder / family
    found = open_single_file(file, read_model_config(pipeline), "the base")
    found.verify()
    known: Any = getattr(diffusers, family).from_single_file(str(file), config=str(pipeline), local_files_only=True)
    compared = 0
    for component, model in known.components.items():
        for name, weight in model.state_dict().items() if isinstance(model, torch.nn.Module) else ():
            if name == "encoder.embed_tokens.weight":  # tied
                continue
            assert torch.equal(found.tensor(f"{component}.{name}"), weight), name
            compared += 1
    own = open_pipeline(pipeline)
    assert compared == len(found.names) and found.names == own.names
    assert {name: one.shape for name, one in found.headers.items()} == {
        name: one.shape for name, one in own.headers.items()
    }


def test_a_file_of_the_denoiser_alone_lacks_all_else(folder: Path, tmp_path: Path) -> None:
    """In the community's names and in diffusers' own."""
    pipeline = folder / FIRST
    whole = load_file(folder / f"{FIRST}.safetensors")
    save_file({name: one for name, one in whole.items() if "diffusion_model" in name}, tmp_path / "ldm.safetensors")
    own = open_pipeline(pipeline)
    for file in (tmp_path / "ldm.safetensors", pipeline / "unet" / "diffusion_pytorch_model.safetensors"):
        found = open_single_file(file, read_model_config(pipeline), "the base")
        assert set(found.components) == {"unet"} and {name.partition(".")[0] for name in found.names} == {"unet"}
        assert all(torch.equal(found.tensor(name), own.tensor(name)) for name in found.names)


def test_a_file_of_flux_is_converted_at_the_width_that_diffusers_knows_and_refused_at_others(tmp_path: Path) -> None:
    """One block of each kind at full width, of whose tensors the file holds the vectors, and holes for the rest."""
    pipeline = make_source("FluxPipeline", 0)
    pipeline.save_pretrained(tmp_path / "flux")
    carrier = read_model_config(tmp_path / "flux")
    narrow = {name: one.contiguous() for name, one in flux_transformer(pipeline.transformer.state_dict()).items()}
    save_file(narrow, tmp_path / "narrow.safetensors")
    with pytest.raises(
        MergingError, match=r"narrow.safetensors: diffusers cannot convert its denoiser .*\[3072, 3072,"
    ):
        open_single_file(tmp_path / "narrow.safetensors", carrier, "the base")
    sizes = {"attention_head_dim": 128, "num_attention_heads": 24, "axes_dims_rope": (16, 56, 56)}
    config = {**carrier["components"]["transformer"], **sizes, "num_layers": 1, "num_single_layers": 1}
    with torch.device("meta"):
        state = diffusers.FluxTransformer2DModel.from_config(config).state_dict()
    state = {name: torch.rand(one.shape) if one.ndim == 1 else one for name, one in state.items()}
    wide = {**carrier, "components": {**carrier["components"], "transformer": config}}
    save_vectors(flux_transformer(state), tmp_path / "wide.safetensors")
    found = open_single_file(tmp_path / "wide.safetensors", wide, "the base")
    assert found.names == tuple(sorted(f"transformer.{name}" for name in state))
    for name, one in state.items():
        assert found.header(f"transformer.{name}").shape == one.shape
        assert one.ndim > 1 or torch.equal(found.tensor(f"transformer.{name}"), one), name


def test_what_is_no_checkpoint_of_the_carriers_kind_is_refused(folder: Path, tmp_path: Path) -> None:
    carrier = read_model_config(folder / FIRST)
    whole = load_file(folder / f"{FIRST}.safetensors")

    def refusal(tensors: dict[str, torch.Tensor]) -> str:
        save_file(tensors, tmp_path / "odd.safetensors")
        with pytest.raises(MergingError) as caught:
            open_single_file(tmp_path / "odd.safetensors", carrier, "the base")
        return str(caught.value).removeprefix(f"{tmp_path / 'odd.safetensors'}: ")

    with pytest.raises(MergingError, match=r"its denoiser has a unet.*weight of \[8, 32\], not \[8, 16\]: it is"):
        open_single_file(folder / f"{SECOND}.safetensors", carrier, "the base")
    with pytest.raises(MergingError, match=r"cannot convert its denoiser to that of the base \(KeyError: 'label_emb"):
        open_single_file(folder / f"{FIRST}.safetensors", read_model_config(folder / SECOND), "the base")
    (tmp_path / "old.ckpt").write_bytes(b"")
    with pytest.raises(MergingError, match="a pickled checkpoint is a program: save its weights as"):
        open_single_file(tmp_path / "old.ckpt", carrier, "the base")
    assert "it is a LoRA, not a checkpoint" in refusal({"lora_unet_x.lora_up.weight": torch.ones(2)})
    assert "it has no denoiser like that of the base; it begins with a" in refusal({"a": torch.ones(2)})
    other = {**carrier, "unet": None, "transformer": ["diffusers", "PixArtTransformer2DModel"]}
    parts = {"transformer": make_source("PixArtSigmaPipeline", 0).transformer.config}
    with pytest.raises(
        MergingError, match=r"odd\.safetensors: diffusers converts no checkpoints of PixArtTransformer2D"
    ):
        open_single_file(
            tmp_path / "odd.safetensors", {**other, "components": carrier["components"] | parts}, "the base"
        )
    marked = whole | {"v_pred": torch.empty(0)}
    assert refusal(marked) == "it is a checkpoint of v_prediction, the base of epsilon"
    gone = {name: one for name, one in whole.items() if "middle_block.2" not in name}
    assert "lacks unet.mid_block.resnets.1.norm1.weight: it is a checkpoint of another model" in refusal(gone)
    more = whole | {"model.diffusion_model.middle_block.3.x.weight": torch.ones(2)}
    assert "has unet.mid_block.attentions.2.x.weight besides: it is" in refusal(more)


def test_a_denoiser_alone_is_read_from_the_top_or_from_its_folder(folder: Path, tmp_path: Path) -> None:
    carrier, unet = read_model_config(folder / FIRST), folder / FIRST / "unet"
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "unet").symlink_to(unet)
    own = open_pipeline(folder / FIRST)
    for place in (unet, tmp_path / "nested"):
        found = open_lone_denoiser(place, carrier)
        assert {name.partition(".")[0] for name in found.names} == {"unet"}
        assert all(torch.equal(found.tensor(name), own.tensor(name)) for name in found.names)
        assert found.config["components"]["vae"] == carrier["components"]["vae"]
    assert find_lone_denoiser(["model_index.json", "unet/config.json"]) is None
    assert find_lone_denoiser(["config.json", "model.safetensors"]) is None
    with pytest.raises(MergingError, match=r"it is neither a pipeline, which has model_index\.json, nor a denoiser"):
        open_lone_denoiser(tmp_path, carrier)
    (tmp_path / "config.json").write_text('{"_class_name": "MyUNet"}')
    save_file({"a": torch.ones(2)}, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(MergingError, match="its unet is MyUNet, not a class of diffusers"):
        open_lone_denoiser(tmp_path, carrier)


def test_a_recording_makes_what_was_done_to_it_and_refuses_the_rest() -> None:
    values = torch.arange(24.0).view(6, 4)
    one = Recording.of(values.to("meta"), lambda: values)
    first, second = one.chunk(2)
    done = torch.cat([second, first]).T.contiguous()[1:, :3] + 1
    assert torch.equal(done.make(), torch.cat([values[3:], values[:3]]).T[1:, :3] + 1) and done.shape == (3, 3)
    with pytest.raises(MergingError, match="changes tensors in place"):
        one.add_(1)
    with pytest.raises(RuntimeError, match="meta"):
        float(one.sum())
