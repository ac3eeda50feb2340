"""mergekit's YAML as frozen, checked values; merging.mergekit.reader makes them from a parsed file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.settings import Setting
from merging.recipes.last_stage import LastStage

KeyPath = tuple[str | int, ...]
Settings = Mapping[str, Setting]

UNION, BASE, AUTO = "union", "base", "auto"
ZERO = "zero"


@dataclass(frozen=True)
class Mention:
    """A place in the file that names a model.

    written: the name as it is written there. model: the one name that all spellings of the model have in this merge.
    """

    path: KeyPath
    written: ModelId
    model: ModelId


@dataclass(frozen=True)
class FromModel:
    """A row of one model: the same token's, or that of another token or id, of which at most one is given."""

    model: ModelId
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRule:
    """The source of a token's row in models that lack it, or in all models with `force`."""

    source: FromModel | Literal["zero"] | None = None
    force: bool = False


@dataclass(frozen=True)
class Input:
    """A model in a slice. layers: half-open range of its layers; None for all. place: path of its keys in the file."""

    model: ModelId
    layers: tuple[int, int] | None
    settings: Settings
    place: KeyPath = field(default=(), compare=False)


@dataclass(frozen=True)
class Slice:
    """Layers of the result, merged from equally many layers of each input.

    base: the slice's base_model, or None. place: path of its keys in the file.
    """

    inputs: tuple[Input, ...]
    base: ModelId | None
    settings: Settings
    place: KeyPath = field(default=(), compare=False)

    @property
    def has_values(self) -> bool:
        """Whether the slice, or a model in it, has settings of its own."""
        return bool(self.settings) or any(entry.settings for entry in self.inputs)


@dataclass(frozen=True)
class Scope:
    """Settings with the path of the `parameters` key under which they are written."""

    place: KeyPath
    settings: Settings


@dataclass(frozen=True)
class TokenizerChoice:
    """The vocabulary of the result: that of all models together ("union"), the base's, or that of one model.

    tokens: rules for single tokens, by their text.
    among: the models that alone decide on the vocabulary, merged or not, the leading one first; empty for all that are
        merged. mergekit has no such key and passes over it.
    """

    source: ModelId | str
    pad_to_multiple_of: int | None = None
    tokens: Mapping[str, TokenRule] = field(default_factory=dict)
    among: tuple[ModelId, ...] = ()


@dataclass(frozen=True)
class MergeConfig:
    """One merge.

    slices: slices of the result, first layers first; whole models are a single slice. Of a model of several modules,
    those of its language model. modules: name of each other module → its models, as one slice; None where the file
    has no modules, and all are merged as the language model is.
    carrier: the model that the result is like, where that has several components, merged or not; None for the first
        that has them. mergekit has no such key and passes over it.
    last_stage: the adapter that is added to what is merged; None for none. mergekit has no such key.
    settings: settings of all slices, the module's before the file's.
    dtype: dtype of the result's weights; None for the one that holds those of all models. Sums are done in float32.
    mentions: every place in the file that names a model, in the order of reading.
    remarks: keys of the file that have no effect, a line each.
    """

    method: str
    slices: tuple[Slice, ...]
    base: ModelId | None
    settings: tuple[Scope, ...]
    dtype: str | None
    tokenizer: TokenizerChoice | None
    chat_template: str | None
    mentions: tuple[Mention, ...]
    remarks: tuple[str, ...]
    modules: Mapping[str, Slice] | None = None
    carrier: ModelId | None = None
    last_stage: LastStage | None = None

    def scopes(self, one: Slice) -> tuple[Scope, ...]:
        """The settings that hold for a slice: its own, then those of all slices."""
        shared = self.settings if any(one is other for other in self.slices) else self.settings[-1:]
        return (Scope((*one.place, "parameters"), one.settings), *shared)

    @property
    def every_slice(self) -> tuple[Slice, ...]:
        """The slices of all modules."""
        return (*self.slices, *(self.modules or {}).values())

    @property
    def models(self) -> tuple[ModelId, ...]:
        """Every model once, the config source first and then in the file's order; last those for their tokens or their
        adapter alone.
        """
        staged = (self.last_stage.adapted,) if self.last_stage else ()
        return tuple(dict.fromkeys((*self.givers, *staged)))

    @property
    def givers(self) -> tuple[ModelId, ...]:
        """The models without one that is named for its adapter alone."""
        merged = [entry.model for one in self.every_slice for entry in one.inputs]
        beside = [*([self.carrier] if self.carrier else []), *(self.tokenizer.among if self.tokenizer else ())]
        return tuple(dict.fromkeys([self.config_source, *merged, *beside]))

    @property
    def joins_filters(self) -> bool:
        """Whether a filter has several parts, of which mergekit knows but one."""
        inputs = [entry.settings for one in self.every_slice for entry in one.inputs]
        scopes = [one.settings for one in self.every_slice] + [scope.settings for scope in self.settings]
        settings = (setting for each in (*inputs, *scopes) for setting in each.values())
        return any(len(condition.parts) > 1 for setting in settings for condition in setting)

    @property
    def config_source(self) -> ModelId:
        """The model whose config and tokenizer the result has: the carrier, else the base, else the first input."""
        return self.carrier or self.base or self.slices[0].inputs[0].model


@dataclass(frozen=True)
class ConfigFault:
    """A fault in one key of the file."""

    path: KeyPath
    got: str
    why: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: got {self.got}: {self.why}"


class ConfigFaults(MergingError):  # noqa: N818 - named after the finding
    """Everything that is wrong with a file, a line each; `faults` has the single ones."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


def dotted(path: KeyPath) -> str:
    """`("slices", 0, "sources")` as `slices[0].sources`; the empty path as `file`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "file"
