"""mergekit's YAML as frozen, checked values: what is to be merged, in the field's common language.

merging.mergekit.reader makes them from a parsed file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from merging.errors import MergingError
from merging.mergekit.settings import Setting

KeyPath = tuple[str | int, ...]
Settings = Mapping[str, Setting]

UNION, BASE, AUTO = "union", "base", "auto"
ZERO = "zero"


@dataclass(frozen=True, order=True)
class ModelName:
    """A model as the file names it: a folder or a Hub repo, at a revision, with an adapter (LoRA) on top or not."""

    path: str
    revision: str | None = None
    adapter: ModelName | None = None

    def __str__(self) -> str:
        own = f"{self.path}@{self.revision}" if self.revision else self.path
        return f"{own}+{self.adapter}" if self.adapter else own

    @property
    def plain(self) -> ModelName:
        """The model without its adapter."""
        return ModelName(self.path, self.revision)


@dataclass(frozen=True)
class FromModel:
    """A row of one model: that of the same token, or of another token, or of an id; at most one of both is given."""

    model: ModelName
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRule:
    """Where a token's row is from in models that lack it; with `force` in all of them."""

    source: FromModel | Literal["zero"] | None = None
    force: bool = False


@dataclass(frozen=True)
class Input:
    """A model in a slice. layers: the half-open range taken; None: all of them. place: of its keys in the file."""

    model: ModelName
    layers: tuple[int, int] | None
    settings: Settings
    place: KeyPath = field(default=(), compare=False)


@dataclass(frozen=True)
class Slice:
    """Layers of the result, merged from equally many layers of each input.

    base: what the file calls so here, or None. place: of its keys in the file.
    """

    inputs: tuple[Input, ...]
    base: ModelName | None
    settings: Settings
    place: KeyPath = field(default=(), compare=False)


@dataclass(frozen=True)
class TokenizerChoice:
    """Whose vocabulary the result has: that of all models together ("union"), the base's, or that of one model.

    tokens: rules for single tokens, by their text.
    """

    source: ModelName | str
    pad_to_multiple_of: int | None = None
    tokens: Mapping[str, TokenRule] = field(default_factory=dict)


@dataclass(frozen=True)
class MergeConfig:
    """One merge.

    slices: what makes up the result, first layers first; whole models merged are a single slice.
    settings: of everything, the module's before the file's.
    dtype: of the result's weights; None: the one that holds those of all models. Sums are done in float32.
    mentions: every place in the file where a model is named, in the file's order.
    remarks: what the file says that has no effect, a line each.
    """

    method: str
    slices: tuple[Slice, ...]
    base: ModelName | None
    settings: tuple[Settings, ...]
    dtype: str | None
    tokenizer: TokenizerChoice | None
    chat_template: str | None
    mentions: tuple[tuple[KeyPath, ModelName], ...]
    remarks: tuple[str, ...]

    @property
    def models(self) -> tuple[ModelName, ...]:
        """Every model, once, the donor first and then in the file's order."""
        return tuple(dict.fromkeys([self.config_source, *(entry.model for one in self.slices for entry in one.inputs)]))

    @property
    def config_source(self) -> ModelName:
        """Whose config and tokenizer the result has: the base, else the first input."""
        return self.base or self.slices[0].inputs[0].model


@dataclass(frozen=True)
class Fault:
    """What is wrong with one key of the file."""

    path: KeyPath
    got: str
    why: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: got {self.got}: {self.why}"


class ConfigFaults(MergingError):  # noqa: N818 - says what is the matter
    """Everything that is wrong with a file, a line each; `faults` has them one by one."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def dotted(path: KeyPath) -> str:
    """`("slices", 0, "sources")` as `slices[0].sources`; the empty path as `file`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "file"
