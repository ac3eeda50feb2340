"""The facts of a release's recipe: the merge or path, where it comes from, and what it costs."""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.hub.pool.vocabulary import PoolVocabulary
from merging.models.experts import Experts
from merging.recipes.path import Hop


def check_lengths(unit: str, expected: int, columns: Iterable[tuple[str, tuple[object, ...]]]) -> None:
    """Raise a ValueError that names the first column without one value per unit."""
    for what, values in columns:
        if len(values) != expected:
            raise ValueError(f"{what}: got {len(values)} values, expected one per {unit} ({expected})")


@dataclass(frozen=True)
class BaseFacts:
    """The base under an adapter, at the commit whose weights went into the release."""

    repo: str
    sha: str
    licence: str


@dataclass(frozen=True)
class SourceFacts:
    """A Hub repository at the commit whose weights went into the release.

    note: what a user meets in its config, and not in the release's; "" if there is nothing.
    adapted: its base, if it is an adapter. parts: the components that it has, if it is only a part of a model. file:
    the one of its files that is meant; None where a repo as a whole is.
    """

    repo: str
    sha: str
    licence: str
    note: str = ""
    adapted: BaseFacts | None = None
    parts: tuple[str, ...] = ()
    file: str | None = None


@dataclass(frozen=True)
class ConversionFacts:
    """A repo whose weights were pickled. pull_request: the Hub's conversion of them; None if shoal made it.

    pickles: (name, sha256) of the files that shoal converted.
    """

    repo: str
    pull_request: int | None
    pickles: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LastStageFacts:
    """The adapter that was added to what was merged, times a scale. file: its path; None where peft saved it."""

    repo: str
    sha: str
    file: str | None
    scale: float


@dataclass(frozen=True)
class WeightMergeFacts:
    """A weight merge: `sentence` says what its method does, `groups` are the labels of the tensor groups, in order.

    Each of `parameters` is (name, rows): one row per source (a single row where the sources share the parameter, like
    slerp's t), with one value per group. `whole` are the components that were taken unchanged, each with its repo.
    """

    method: str
    sentence: str
    draws: bool
    base: str | None
    sources: tuple[str, ...]
    groups: tuple[str, ...]
    parameters: tuple[tuple[str, tuple[tuple[float, ...], ...]], ...]
    whole: tuple[tuple[str, str], ...] = ()
    last_stage: LastStageFacts | None = None

    def __post_init__(self) -> None:
        for name, rows in self.parameters:
            genes = [(f"{name} of source {i}", row) for i, row in enumerate(rows)]
            check_lengths("group", len(self.groups), genes)


@dataclass(frozen=True)
class PartFacts:
    """A model that a path takes layers or ends from: a source, named by its repo, or a numbered merge."""

    name: str
    weight_merge: WeightMergeFacts | None


@dataclass(frozen=True)
class PathFacts:
    """A path through the layers of several models; `embedding`, `head` and each hop's `part` are indices of `parts`.

    `depth` is the number of layers of each part. `scales_in_yaml` says whether mergekit can fold the path's scales: it
    multiplies tensors, which is not enough for every family.
    """

    parts: tuple[PartFacts, ...]
    depth: int
    hops: tuple[Hop, ...]
    embedding: int
    head: int
    scales_in_yaml: bool

    @property
    def scaled(self) -> bool:
        """Whether any hop scales what flows into it."""
        return any(hop.scale != 1 for hop in self.hops)

    @property
    def repeats(self) -> int:
        """Number of hops that take the same layer as an earlier hop."""
        return len(self.hops) - len({(hop.part, hop.layer) for hop in self.hops})

    @property
    def weight_merges(self) -> tuple[tuple[str, WeightMergeFacts], ...]:
        """The parts that are merges themselves, with their names."""
        return tuple((part.name, part.weight_merge) for part in self.parts if part.weight_merge)


@dataclass(frozen=True)
class CostFacts:
    """Number of weights of the release and of one source; cost per token of the release as a multiple of a source's.

    experts: those of a mixture of experts. per_token: number of the release's weights that a token passes through.
    """

    parameters: int
    source_parameters: int
    times: float
    experts: Experts | None = None
    per_token: float = 0


@dataclass(frozen=True)
class RecipeFacts:
    """The merge; `mergekit_yaml` is the whole recipe in mergekit's format.

    `vocabulary` says whose tokens it has; None where all sources have the same. `is_in_yaml` is False where mergekit's
    format cannot say the merge: its file has nothing but the reason.
    """

    merge: WeightMergeFacts | PathFacts
    dtype: str
    digest: str
    mergekit_yaml: str
    vocabulary: PoolVocabulary | None = None
    is_in_yaml: bool = True

    @property
    def path(self) -> PathFacts | None:
        """The path, if it is one."""
        return self.merge if isinstance(self.merge, PathFacts) else None

    @property
    def weight_merges(self) -> tuple[WeightMergeFacts, ...]:
        """The weight merges in it: the merge itself, or those parts of the path that are merges."""
        if isinstance(self.merge, WeightMergeFacts):
            return (self.merge,)
        return tuple(weight_merge for _, weight_merge in self.merge.weight_merges)
