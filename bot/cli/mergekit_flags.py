"""mergekit-yaml's options on the command line of `shoal merge`: those without effect here are taken with a remark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import typer
from typer.core import TyperCommand

from bot.errors import ShoalError

_ON_CPU = "merges are summed on the CPU"
_SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("cuda", "low-cpu-memory", "read-to-gpu", "multi-gpu", "gpu-rich"), _ON_CPU),
        "allow-crimes": "models that fit together are merged, others are refused with the reason",
        "async-write": "files are always written while the next tensors are merged",
        "clone-tensors": "tensors never share memory in the files",
        "copy-tokenizer": "the tokenizer is always written",
        "lazy-unpickle": "pickled weights are converted once, with --convert-pickles",
        "quiet": "without a terminal nothing but the result is printed",
        "safe-serialization": "weights are always written as safetensors",
        "write-model-card": "the card is always written",
    }
)
"""Switches without effect → why; `--no-…` of them, too."""

_VALUES: Mapping[str, str] = MappingProxyType(
    {
        "device": _ON_CPU,
        "lora-merge-cache": "adapters are added tensor by tensor, and need no cache",
        "lora-merge-dtype": "adapters are added in float32 and rounded once",
        "transformers-cache": "downloads are kept in --home",
        "verbosity": "errors are always reported in full",
        "write-threads": "--threads is the number of all threads",
    }
)
"""Options with a value and without effect → why."""

_REFUSED: Mapping[str, str] = MappingProxyType(
    {
        "trust-remote-code": "no code of a model ever runs here; leave it out",
        "unsafe-truncate-embeddings": "write `tokenizer_source: base` into the recipe: it matches tokens by their text",
        "no-safe-serialization": "pickled weights are not written; leave it out",
    }
)

SHARD_SIZE = "out-shard-size"
_KMB = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kmb]?)", re.IGNORECASE)
_THOUSANDS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class MergekitFlags:
    """args: the command line without mergekit's options. remarks: a line for each of them that has no effect."""

    args: list[str]
    remarks: tuple[str, ...]


def take_mergekit_flags(args: Sequence[str]) -> MergekitFlags:
    """Take mergekit's options from a command line; `--out-shard-size` becomes `--max-shard-size`.

    ShoalError for an option that asks for what is never done, and for one without its value.
    """
    kept: list[str] = []
    remarks: dict[str, None] = {}
    waiting = list(args)
    while waiting:
        arg = waiting.pop(0)
        if arg == "--":
            return MergekitFlags([*kept, arg, *waiting], tuple(remarks))
        option, equals, value = arg.partition("=")
        name = option.removeprefix("--") if option.startswith("--") else ""
        if name in _REFUSED:
            raise ShoalError(f"{option}: {_REFUSED[name]}")
        if name in _VALUES or name == SHARD_SIZE:
            if not equals and not waiting:
                raise ShoalError(f"{option}: got nothing: write a value after it")
            value = value if equals else waiting.pop(0)
        if name == SHARD_SIZE:
            kept += ["--max-shard-size", _shard_bytes(value)]
        elif why := _VALUES.get(name) or _SWITCHES.get(name.removeprefix("no-")):
            remarks[f"{option}: it has no effect: {why}"] = None
        elif re.fullmatch("-v+", arg):
            remarks[f"{arg}: it has no effect: {_VALUES['verbosity']}"] = None
        else:
            kept.append(arg)
    return MergekitFlags(kept, tuple(remarks))


def _shard_bytes(text: str) -> str:
    """mergekit's size (5B is five billion) as a number of bytes; any other text is left to --max-shard-size."""
    found = _KMB.fullmatch(text.strip())
    return str(int(Fraction(found[1]) * _THOUSANDS[found[2].upper()])) if found else text


class MergeCommand(TyperCommand):
    """A command that takes mergekit's options; `remarks_of` gives the remarks on them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take them before the command's own options are read. ctx: of a class of typer that has no public name."""
        try:
            found = take_mergekit_flags(args)
        except ShoalError as error:
            raise typer.BadParameter(str(error), ctx) from error
        ctx.meta[__name__] = found.remarks
        return super().parse_args(ctx, found.args)


def remarks_of(ctx: typer.Context) -> tuple[str, ...]:
    """The remarks on mergekit's options of this call."""
    return tuple(ctx.meta.get(__name__, ()))
