"""A partition of a model's tensors by their names: which of them share a gene, and which are not merged at all.

A model has components (language model, vision tower, projector); a component has blocks (bands of layers, or modules by
name); a block is one group, or several: attention, the rest, and a mixture's routers. Each component is searched with
groups of its own, shares another's, or is taken whole from one source.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from merging.errors import MergingError
from merging.identity import ModelId
from merging.tensor_names import Place, find_stack, parse_name

VERSIONS = (1, 2)
"""Versions of the JSON of a partition that are read: the second has routers, and is written only with them."""

End = Literal["before", "after"]
"""The place of a tensor outside the layers: with the embeddings, or with the final norm and the head."""

Module = Literal["attention", "rest", "routers"]
"""A group of a block whose modules are apart."""

ATTENTION_NAMES = ("self_attn", "attn", "attention", "self_attention")
ROUTER_NAMES = ("gate", "router", "expert_bias", "e_score_correction_bias")
"""Modules, and tensors beside them, that decide to which experts of a mixture a token is sent."""


@dataclass(frozen=True)
class Routers:
    """The routers of a mixture of experts: the names of their modules and tensors, and the layers that have any."""

    names: tuple[str, ...]
    layers: frozenset[int]


@dataclass(frozen=True)
class Block:
    """A block of a component: some of its layers, the tensors before or after them, or modules by their names.

    layers: half-open range of layer numbers. ends: outside the layers, the embeddings and the like ("before"), and
    everything else ("after"). within: names of modules (`down_blocks.0`), in one of which its tensors are.
    modules_apart: attention and the rest have a group each; otherwise the block is one group.
    routers_apart: where modules are apart, the routers of a mixture of experts have a group, too.
    """

    label: str
    layers: tuple[int, int] | None = None
    ends: tuple[End, ...] = ()
    within: tuple[str, ...] = ()
    modules_apart: bool = False
    routers_apart: bool = False

    @property
    def modules(self) -> tuple[Module, ...]:
        """What its groups hold, if its modules are apart."""
        return ("attention", "rest", *(("routers",) if self.routers_apart else ())) if self.modules_apart else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each of its groups; a band of one layer is called by its number."""
        first = self.layers[0] if self.layers is not None else None
        label = f"layer {first}" if self.label == f"layers {first}-{first}" else self.label
        return tuple(f"{label} {module}" for module in self.modules) or (label,)

    def holds(self, tensor_name: str, place: Place) -> bool:
        """Whether a tensor at this place belongs to the block."""
        if self.layers is not None and place.layer is not None and self.layers[0] <= place.layer < self.layers[1]:
            return True
        end: End = "before" if place.is_embedding else "after"
        return (place.layer is None and end in self.ends) or is_within(tensor_name, self.within)


@dataclass(frozen=True)
class Searched:
    """A component with groups of its own: its blocks, in the order of their genes.

    attention: names of the modules directly under a layer, or anywhere in a block of modules by name, that count as
    attention. routers: names of the modules and tensors anywhere in a layer that count as routers, if they are apart.
    """

    blocks: tuple[Block, ...]
    attention: tuple[str, ...] = ATTENTION_NAMES
    routers: tuple[str, ...] = ()

    @property
    def bands(self) -> tuple[Block, ...]:
        """The blocks that have layers, in order."""
        return tuple(block for block in self.blocks if block.layers is not None)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The label of each group."""
        return tuple(label for block in self.blocks for label in block.labels)

    def group_in_block(self, block: Block, module: Module) -> int:
        """Index of the group of a block's attention, of its routers, or of the rest of it."""
        first = sum(len(other.labels) for other in self.blocks[: self.blocks.index(block)])
        return first + (block.modules.index(module) if module in block.modules else 0)

    def group(self, tensor_name: str, place: Place) -> int | None:
        """Index of the group that a tensor at this place belongs to; None if no block holds it."""
        block = next((block for block in self.blocks if block.holds(tensor_name, place)), None)
        return None if block is None else self.group_in_block(block, self._module(block, tensor_name, place))

    def _module(self, block: Block, tensor_name: str, place: Place) -> Module:
        if place.component in self.attention or (block.within and is_within(tensor_name, self.attention)):
            return "attention"
        return "routers" if block.routers_apart and is_within(tensor_name, self.routers) else "rest"


@dataclass(frozen=True)
class Shared:
    """A component that uses the groups of a searched one: each layer those of the layer at the same relative depth."""

    component: str


@dataclass(frozen=True)
class Whole:
    """A component that is taken unchanged from one source; None: a gene of the search space chooses which."""

    source: ModelId | None


@dataclass(frozen=True)
class Component:
    """A part of a model with layers of its own or none, such as a language model, a vision tower or a projector.

    name: "" where the model has no other component. within: names of modules (`vision_tower`), in one of which its
    tensors are; empty: it has all tensors that no component before it has. layers: number of layers in its one stack;
    0: numbers in its tensors' names are not those of layers. use: how it is merged. lacking: models that do not have
    it, such as language models in merges of vision-language models.
    """

    name: str
    within: tuple[str, ...]
    layers: int
    use: Searched | Shared | Whole
    lacking: tuple[ModelId, ...] = ()

    def label(self, label: str) -> str:
        """A group's label with the component's name before it."""
        return f"{self.name} {label}" if self.name else label


@dataclass(frozen=True)
class Partition:
    """A partition of a model's tensors: component, block, module. One gene per group and source is searched.

    A tensor is in the first component whose rule its name meets, and there in the first block.
    """

    components: tuple[Component, ...]

    def __post_init__(self) -> None:
        if len({component.name for component in self.components}) != len(self.components):
            raise MergingError(f"groups: got components {self._names}: give each a name of its own")
        if not self._searched:
            raise MergingError(f"groups: got components {self._names}: at least one must be searched")
        for component in self.components:
            if isinstance(component.use, Searched):
                _check_blocks(component, component.use)
            elif isinstance(component.use, Shared) and component.use.component not in self._searched:
                raise MergingError(
                    f"groups: component {component.name} shares the groups of {component.use.component!r}: "
                    f"name one that is searched: {', '.join(self._searched)}"
                )

    @classmethod
    def even(
        cls, layers: int, bands: int, modules_apart: bool, ends_apart: bool, routers: Routers | None = None
    ) -> Partition:
        """One stack of layers in `bands` ranges whose lengths differ by at most one, as `banded` has them."""
        return cls.banded(layers, even_bands(layers, bands), modules_apart, ends_apart, routers=routers)

    @classmethod
    def banded(
        cls,
        layers: int,
        bands: tuple[tuple[int, int], ...],
        modules_apart: bool,
        ends_apart: bool,
        attention: tuple[str, ...] = ATTENTION_NAMES,
        routers: Routers | None = None,
    ) -> Partition:
        """A model that is one stack of layers, as `banded_stack` divides it."""
        return cls((Component("", (), layers, banded_stack(bands, modules_apart, ends_apart, attention, routers)),))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """A name for each group, in gene order, such as "embed", "layers 0-3 attention", "head"."""
        return tuple(
            component.label(label)
            for component in self.components
            if isinstance(component.use, Searched)
            for label in component.use.labels
        )

    @property
    def layers(self) -> int:
        """Number of layers of the deepest component that is searched."""
        return max(component.layers for component in self.components if component.name in self._searched)

    @cached_property
    def whole(self) -> Mapping[str, ModelId | None]:
        """Component → the source that it is taken whole from (None: a gene chooses it)."""
        return {one.name: one.use.source for one in self.components if isinstance(one.use, Whole)}

    @property
    def open(self) -> tuple[str, ...]:
        """Names of the components that are taken whole from a source which a gene chooses."""
        return tuple(name for name, source in self.whole.items() if source is None)

    @property
    def whole_sources(self) -> tuple[ModelId, ...]:
        """The sources of components taken whole, each once."""
        return tuple(dict.fromkeys(source for source in self.whole.values() if source is not None))

    @property
    def only_stack(self) -> Searched:
        """The groups of a model of one component, whose blocks are bands and ends; MergingError for any other."""
        use = self.components[0].use
        if len(self.components) > 1 or not isinstance(use, Searched) or any(block.within for block in use.blocks):
            raise MergingError(f"groups: got components {self._names}: a model of one stack of layers is needed here")
        return use

    def taking(self, sources: Mapping[str, ModelId | None]) -> Partition:
        """The same with some components, by name, taken whole from these sources (None: a gene chooses it)."""
        return self._with_uses({name: Whole(source) for name, source in sources.items()})

    def lacking(self, models: Iterable[ModelId], having: Collection[str] = ()) -> Partition:
        """The same where these models, too, lack components: all but the first, as language models do.

        having: names of other components that they have.
        """
        first, *others = self.components
        lacking = tuple(models)

        def told(one: Component) -> Component:
            return one if one.name in having else replace(one, lacking=tuple(dict.fromkeys((*one.lacking, *lacking))))

        return Partition((first, *map(told, others)))

    def lacking_among(self, models: Collection[ModelId]) -> Partition:
        """The same, with a word on those of the models that lack components, and on no others."""
        if self.lacking_models <= set(models):
            return self
        told = (
            replace(one, lacking=tuple(model for model in one.lacking if model in models)) for one in self.components
        )
        return Partition(tuple(told))

    @property
    def complete(self) -> Partition:
        """The same groups, where no model lacks a component."""
        return self.lacking_among(())

    @cached_property
    def lacking_models(self) -> frozenset[ModelId]:
        """The models that lack a component."""
        return frozenset(model for component in self.components for model in component.lacking)

    def share(self, tensor_name: str) -> tuple[int | ModelId | None, tuple[ModelId, ...]]:
        """What is equal for all tensors that are merged alike: the group, or the source; and the models without it."""
        return self._find(tensor_name), self.lacked_by(tensor_name)

    def lacked_by(self, tensor_name: str) -> tuple[ModelId, ...]:
        """The models that do not have a tensor."""
        return self._component(tensor_name).lacking if self.lacking_models else ()

    def with_models(self, models: Mapping[ModelId, ModelId]) -> Partition:
        """The same with other models in the place of some, by identity."""

        def place(one: Component) -> Component:
            source = one.use.source if isinstance(one.use, Whole) else None
            use = one.use if source is None else Whole(models.get(source, source))
            return replace(one, use=use, lacking=tuple(models.get(model, model) for model in one.lacking))

        return Partition(tuple(map(place, self.components)))

    @cached_property
    def merged(self) -> Partition:
        """The same with nothing taken whole: such components share the groups of the first one that is searched."""
        return self._with_uses(dict.fromkeys(self.whole, Shared(next(iter(self._searched)))))

    @cached_property
    def single_group(self) -> Partition:
        """The coarsest partition: the first searched component is one block, and the other searched ones share it."""
        first, *others = self._searched
        layers = next(component.layers for component in self.components if component.name == first)
        bands = ((0, layers),) if layers else ()
        one = banded_stack(bands, modules_apart=False, ends_apart=False, attention=self._searched[first].attention)
        return self._with_uses({first: one, **dict.fromkeys(others, Shared(first))})

    def group(self, tensor_name: str) -> int:
        """Index of the group that a tensor belongs to; MergingError for one that is in none."""
        found = self._find(tensor_name)
        if isinstance(found, int):
            return found
        raise MergingError(f"tensor {tensor_name}: it is taken whole, from {found or 'a source that is not chosen'}")

    def whole_source(self, tensor_name: str) -> ModelId | None:
        """The source that a tensor is taken from unchanged; None if it is merged."""
        found = self._find(tensor_name)
        return found if isinstance(found, ModelId) else None

    def check_names(self, tensor_names: Iterable[str]) -> None:
        """MergingError if these names have a tensor that is in no group, or two stacks of layers in one component."""
        stacks: dict[str, str] = {}
        for name in tensor_names:
            self._find(name)
            component, stack = self._component(name), find_stack(name)
            if component.layers and stack is not None and stacks.setdefault(component.name, stack) != stack:
                raise MergingError(
                    f"tensor {name}: its layers are another stack than {stacks[component.name]}, and both would be "
                    f"in one component of the groups ({component.name or 'the model'}): give each its own"
                )

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal partition."""
        with_routers = any(isinstance(one.use, Searched) and one.use.routers for one in self.components)
        components = [_component_json(component) for component in self.components]
        return {"version": VERSIONS[with_routers], "components": components}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Partition:
        """Read what to_json wrote, or what versions before it wrote without a version.

        Raises:
            MergingError: a version that is not known, or values that make no partition.
            KeyError, TypeError, ValueError, AttributeError: anything else.
        """
        if "version" not in data:
            bands = tuple((start, end) for start, end in data["bands"])
            attention = tuple(data["attention"])
            return cls.banded(data["layers"], bands, data["modules_apart"], data["ends_apart"], attention)
        if data["version"] not in VERSIONS:
            raise MergingError(
                f"groups.version: got {data['version']}: this shoal reads {VERSIONS[0]} to {VERSIONS[-1]}"
            )
        return cls(tuple(map(_component_from_json, data["components"])))

    @cached_property
    def _searched(self) -> dict[str, Searched]:
        return {one.name: one.use for one in self.components if isinstance(one.use, Searched)}

    @property
    def _names(self) -> str:
        return ", ".join(component.name or "(the model)" for component in self.components) or "none"

    @cached_property
    def _found(self) -> dict[str, int | ModelId | None]:
        return {}

    def _find(self, tensor_name: str) -> int | ModelId | None:
        """The index of a tensor's group, or the source that it is taken from (None: not chosen yet)."""
        if tensor_name not in self._found:
            component = self._component(tensor_name)
            use = component.use
            self._found[tensor_name] = (
                use.source if isinstance(use, Whole) else self._find_group(tensor_name, component)
            )
        return self._found[tensor_name]

    def _component(self, tensor_name: str) -> Component:
        for component in self.components:
            if not component.within or is_within(tensor_name, component.within):
                return component
        raise MergingError(f"tensor {tensor_name}: it is in none of the components {self._names}")

    def _find_group(self, tensor_name: str, component: Component) -> int:
        place, owner = parse_name(tensor_name), component
        if component.layers == 0:
            place = replace(place, layer=None)  # a projector may number its modules, too
        elif place.layer is not None and place.layer >= component.layers:
            raise MergingError(f"tensor {tensor_name}: layer {place.layer} in groups of {component.layers} layers")
        if isinstance(component.use, Shared):
            owner = next(one for one in self.components if one.name == component.use.component)
            if place.layer is not None:
                at_same_depth = place.layer * owner.layers // component.layers if owner.layers else None
                place = replace(place, layer=at_same_depth)
        assert isinstance(owner.use, Searched)
        group = owner.use.group(tensor_name, place)
        if group is None:
            raise MergingError(f"tensor {tensor_name}: it is in none of the groups {', '.join(owner.use.labels)}")
        before = self.components[: self.components.index(owner)]
        return group + sum(len(one.use.labels) for one in before if isinstance(one.use, Searched))

    def _with_uses(self, uses: Mapping[str, Searched | Shared | Whole]) -> Partition:
        if unknown := uses.keys() - {component.name for component in self.components}:
            raise MergingError(f"groups: got component {min(unknown)!r}: there are {self._names}")
        return Partition(tuple(replace(one, use=uses.get(one.name, one.use)) for one in self.components))


def even_bands(layers: int, bands: int) -> tuple[tuple[int, int], ...]:
    """Contiguous half-open layer ranges whose lengths differ by at most one; MergingError if there are too many."""
    if not 1 <= bands <= layers:
        raise MergingError(f"groups: got {bands} bands for {layers} layers: give between 1 and {layers}")
    return tuple(pairwise(layers * band // bands for band in range(bands + 1)))


def banded_stack(
    bands: tuple[tuple[int, int], ...],
    modules_apart: bool,
    ends_apart: bool,
    attention: tuple[str, ...] = ATTENTION_NAMES,
    routers: Routers | None = None,
) -> Searched:
    """The groups of one stack of layers.

    bands: contiguous half-open layer ranges that together cover all layers; none for a component without layers,
        which is one group.
    modules_apart: attention and the rest of a block have separate groups.
    routers: those of a mixture of experts, which have groups, too, if modules are apart; None for a dense model.
    ends_apart: the embeddings and the head (with the final norm) have groups of their own; otherwise the
        embeddings go with the rest of the first band, and the head with the rest of the last.
    """
    if not bands:
        return Searched((Block("all", ends=("before", "after")),), attention)
    last = len(bands) - 1
    ends: list[tuple[End, ...]] = [
        () if ends_apart else (*(("before",) if band == 0 else ()), *(("after",) if band == last else ()))
        for band in range(len(bands))
    ]
    routers = routers if modules_apart else None
    blocks = [
        Block(
            f"layers {start}-{end - 1}",
            (start, end),
            own,
            modules_apart=modules_apart,
            routers_apart=routers is not None and not routers.layers.isdisjoint(range(start, end)),
        )
        for (start, end), own in zip(bands, ends, strict=True)
    ]
    if ends_apart:
        blocks = [Block("embed", ends=("before",)), *blocks, Block("head", ends=("after",))]
    return Searched(tuple(blocks), attention, routers.names if routers else ())


def find_routers(tensor_names: Iterable[str]) -> Routers | None:
    """The routers of a mixture of experts; None for a dense model, which may have gates of other kinds."""
    placed = [(parse_name(name).layer, frozenset(name.split("."))) for name in tensor_names]
    inside = [(layer, parts) for layer, parts in placed if layer is not None]
    names = tuple(name for name in ROUTER_NAMES if any(name in parts for _, parts in inside))
    is_mixture = any(not parts.isdisjoint({"experts", "router"}) for _, parts in inside)
    layers = frozenset(layer for layer, parts in inside if not parts.isdisjoint(names))
    return Routers(names, layers) if is_mixture and names else None


def _check_blocks(component: Component, use: Searched) -> None:
    ranges = [block.layers for block in use.blocks if block.layers is not None]
    edges = [0, *(end for _, end in ranges)]
    follow = [start for start, _ in ranges] == edges[:-1] and edges[-1] == component.layers
    if not use.blocks or not follow or any(end <= start for start, end in ranges):
        raise MergingError(
            f"groups.bands: got {tuple(ranges)} for {component.layers} layers: bands must follow each other, "
            f"from 0 to {component.layers}, none empty"
        )


def is_within(tensor_name: str, modules: Iterable[str]) -> bool:
    """Whether a tensor is in one of these modules, each given by the last parts of its path or by all of it."""
    return any(f".{module}." in f".{tensor_name}." for module in modules)


def _component_json(component: Component) -> dict[str, object]:
    use = component.use
    found: dict[str, object] = {"name": component.name, "within": list(component.within), "layers": component.layers}
    if component.lacking:
        found["lacking"] = [model.to_json() for model in component.lacking]
    if isinstance(use, Searched):
        routers = {"routers": list(use.routers)} if use.routers else {}
        blocks = [_block_json(block) for block in use.blocks]
        return found | {"attention": list(use.attention), **routers, "blocks": blocks}
    if isinstance(use, Shared):
        return found | {"shares": use.component}
    return found | {"source": None if use.source is None else use.source.to_json()}


def _block_json(block: Block) -> dict[str, object]:
    layers = None if block.layers is None else list(block.layers)
    rules = {"layers": layers, "ends": list(block.ends), "within": list(block.within)}
    apart = {"modules_apart": block.modules_apart} | ({"routers_apart": True} if block.routers_apart else {})
    return {"label": block.label, **rules, **apart}


def _component_from_json(data: Mapping[str, Any]) -> Component:
    use: Searched | Shared | Whole
    if "blocks" in data:
        blocks = tuple(map(_block_from_json, data["blocks"]))
        use = Searched(blocks, tuple(data["attention"]), tuple(data.get("routers", ())))
    elif "shares" in data:
        use = Shared(data["shares"])
    else:
        use = Whole(None if data["source"] is None else ModelId.from_json(data["source"]))
    lacking = tuple(map(ModelId.from_json, data.get("lacking", ())))
    return Component(data["name"], tuple(data["within"]), data["layers"], use, lacking)


def _block_from_json(data: Mapping[str, Any]) -> Block:
    layers = None if data["layers"] is None else (data["layers"][0], data["layers"][1])
    apart = (data["modules_apart"], data.get("routers_apart", False))
    return Block(data["label"], layers, tuple(data["ends"]), tuple(data["within"]), *apart)
