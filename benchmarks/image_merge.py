"""A merge of three pipelines against sd-mecha and diffusers: wall time, anonymous memory, and the way to the floor.

    python -m benchmarks image_merge [WIDTH [METHOD …]]

Three pipelines with a UNet of SD 1.5's shape and random float16 weights are made in a temporary folder (859.5 M weights
at a WIDTH of 320, the default; 32 is for a try), with a small text encoder and VAE, and merged by linear and ties. Each
side is a command of its own, start-up included: shoal writes a whole pipeline; sd-mecha (`pip install sd-mecha==1.1.8`)
the UNet alone, by its own names for as many weights of the same shapes; diffusers loads the UNets into memory, averages
their state dicts there and saves one, as its users do by hand. Anonymous memory is the peak of RssAnon of /proc,
sampled. The floor is the time to read the sources once and write a result onto the disk. sd-mecha and diffusers sum in
float32, as shoal does.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from safetensors.torch import save_file

from benchmarks.merge_files import Run, floor, run
from benchmarks.record import Figures

SOURCES = 3
METHODS = ("linear", "ties")
SHARE, DENSITY = 0.4, 0.5
"""Each source's weight; of ties, the share of each difference that is kept."""

SMALL_TEXT = {"vocab_size": 8, "num_hidden_layers": 1}
"""Sizes of a text encoder that costs next to nothing."""

SHOAL = "shoal"
_BIN = Path(sys.executable).parent
_UNET = "diffusion_pytorch_model.safetensors"
_LDM = "model.diffusion_model."
_BLOCK = 1 << 20


def random_tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Float16 tensors of these shapes. A block of random values is repeated: drawing takes longer than merging."""
    block = (torch.randn(_BLOCK, generator=torch.Generator().manual_seed(seed)) * 0.02).half()
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    return {name: block.repeat(size // _BLOCK + 1)[:size].view(shapes[name]) for name, size in sizes.items()}


def make_pipelines(folder: Path, width: int, text: Mapping[str, int] = SMALL_TEXT) -> list[Path]:
    """Sources with a UNet of SD 1.5's shape, `width` channels at its first level. text: sizes of the text encoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers import Tokenizer, models
    from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

    found = []
    for number in range(SOURCES + 1):
        with torch.device("meta"):
            channels = (width, 2 * width, 4 * width, 4 * width)
            unet = UNet2DConditionModel(sample_size=64, block_out_channels=channels, cross_attention_dim=768)
        shapes = {name: tuple(one.shape) for name, one in unet.state_dict().items()}
        pipeline = StableDiffusionPipeline(
            vae=AutoencoderKL(block_out_channels=(32,), latent_channels=4),
            text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=768, **text)).half(),
            tokenizer=PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))),
            unet=UNet2DConditionModel(block_out_channels=(32, 32, 32, 32), cross_attention_dim=8),
            scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        place = folder / f"source-{number}"
        pipeline.save_pretrained(place)
        unet.save_config(place / "unet")
        save_file(random_tensors(shapes, number), place / "unet" / _UNET, {"format": "pt"})
        found.append(place)
    return found


def make_ldm_files(folder: Path, pipelines: list[Path]) -> None:
    """The same number of weights under sd-mecha's names, one file beside each pipeline's UNet."""
    from sd_mecha.extensions import model_configs

    keys = model_configs.resolve("sd1-ldm").keys().items()
    shapes = {name: tuple(key.shape) for name, key in keys if name.startswith(_LDM)}
    for number, _ in enumerate(pipelines):
        save_file(random_tensors(shapes, number), folder / f"ldm-{number}.safetensors")


def write_recipe(folder: Path, method: str) -> Path:
    """The recipe of `shoal merge`."""
    own = {"weight": SHARE} | ({"density": DENSITY} if method == "ties" else {})
    models = [{"model": f"./source-{number}", "parameters": own} for number in range(1, SOURCES + 1)]
    base = {"base_model": "./source-0", "parameters": {"normalize": False}} if method == "ties" else {}
    path = folder / f"{method}.yml"
    path.write_text(yaml.safe_dump({"merge_method": method, "models": models, "dtype": "float16", **base}))
    return path


def merge_by_sd_mecha(folder: Path, method: str, target: Path) -> None:
    """The UNet's file."""
    import sd_mecha
    from sd_mecha.extensions.builtin.merge_methods import linear, ties

    files = (folder / f"ldm-{number}.safetensors" for number in range(SOURCES + 1))
    base, *models = (sd_mecha.model(file, "sd1-ldm") for file in files)
    if method == "linear":
        recipe = sd_mecha.n_average(*models)
    else:  # as its add_difference_ties does, which fails in this release
        differences = (linear.subtract(model, base) for model in models)
        recipe = linear.add_difference(base, ties.ties_sum(*differences, k=DENSITY), alpha=SHARE)
    target.mkdir()
    sd_mecha.merge(recipe, output=target / _UNET, output_dtype=torch.float16, merge_dtype=torch.float32)


def merge_in_diffusers(folder: Path, method: str, target: Path) -> None:
    """A UNet, by its state dicts; averages alone."""
    from diffusers import UNet2DConditionModel

    if method != "linear":
        raise SystemExit("diffusers has no merge but what one writes oneself")
    models = [
        UNet2DConditionModel.from_pretrained(folder / f"source-{number}" / "unet", torch_dtype=torch.float16)
        for number in range(1, SOURCES + 1)
    ]
    first, *others = (model.state_dict() for model in models)
    merged = {
        name: (sum((other[name].float() for other in others), weight.float()) / SOURCES).half()
        for name, weight in first.items()
    }
    models[0].load_state_dict(merged)
    models[0].save_pretrained(target)


OTHERS: Mapping[str, Callable[[Path, str, Path], None]] = {
    "sd-mecha": merge_by_sd_mecha,
    "diffusers": merge_in_diffusers,
}


def measure(side: str, folder: Path, method: str) -> Run:
    """The cost of one side's command."""
    target = folder / "result"
    command = [sys.executable, "-m", "benchmarks.image_merge", side, str(folder), method, str(target)]
    if side == SHOAL:
        recipe, home = write_recipe(folder, method), folder / "home"
        command = [str(_BIN / "shoal"), "merge", str(recipe), str(target), "--home", str(home)]
    found = run(command)
    shutil.rmtree(target)
    return found


def compare(folder: Path, method: str, pipelines: list[Path], sides: list[str]) -> Figures:
    """Measure the sides on one method, and print a line for each."""
    read = pipelines[1:] if method == "linear" else pipelines
    for place in read:
        if not (place / "model.safetensors").exists():
            (place / "model.safetensors").symlink_to(Path("unet") / _UNET)
    least = floor(read, folder / "floor")
    runs = {side: measure(side, folder, method) for side in sides if method == "linear" or side != "diffusers"}
    ours = runs[SHOAL]
    for side, one in runs.items():
        times = f"{one.seconds / ours.seconds:5.2f} and {one.anonymous / ours.anonymous:5.2f} times shoal's"
        print(f"{method:8} {side:10} {one.seconds:6.1f} s {one.anonymous / 1e9:6.2f} GB: {times}", flush=True)
    print(f"{method:8} floor      {least:6.1f} s", flush=True)
    return {"method": method, "floor_s": least} | {side: asdict(one) for side, one in runs.items()}


def main() -> Figures:
    """Make the pipelines and compare the methods asked for."""
    width = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    methods = sys.argv[2:] or list(METHODS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipelines = make_pipelines(folder, width)
        sides = [SHOAL, *OTHERS]
        if width == 320:
            make_ldm_files(folder, pipelines)
        else:
            sides.remove("sd-mecha")  # it knows this one width
        size = (pipelines[0] / "unet" / _UNET).stat().st_size
        print(f"{size / 2e6:.1f} M weights of UNet, float16, {torch.get_num_threads()} threads", flush=True)
        measure(SHOAL, folder, methods[0])  # its loops are compiled once for a machine, its libraries asked once
        rows = [compare(folder, method, pipelines, sides) for method in methods]
    return {"weights": size // 2, "merges": rows}


if __name__ == "__main__":
    side, folder, method, target = sys.argv[1:]
    OTHERS[side](Path(folder), method, Path(target))
