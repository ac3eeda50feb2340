"""Write a merged pipeline as a folder that plain `DiffusionPipeline.from_pretrained` loads: whole, or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from merging.dtypes import element_bytes
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES
from merging.merge_tensor import make_loader, merge_tensor
from merging.pipelines.assembling.recipe_writer import render_pipeline_recipe
from merging.pipelines.index import COMPONENTS_KEY, INDEX, listed_components
from merging.pipelines.parts import CarrierShapes, owner_of, plan_parts
from merging.pipelines.weights import PipelineWeights, open_pipeline
from merging.recipes.recipe import Recipe
from merging.sources.model_config import read_model_config
from merging.sources.weights import Weights
from merging.writing.atomic import atomic_folder, disk_errors
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import add_documents, render_config, set_dtype
from merging.writing.shards import Merge, write_file, write_weights

ALIGNMENT = 64
"""Bytes: where torch's own allocations start, as those of a live pipeline."""

_CHUNK = 1 << 24
"""Bytes of a file that are copied at once."""


@dataclass(frozen=True)
class PipelineContents:
    """The contents of a pipeline's folder, before any of it is made.

    index: of model_index.json. owners: folder of each component → the pipeline whose settings and other files it has.
    made: folder of each component whose weights are made, and not copied → shape of each of its tensors, by the names
    that merges have. make: makes a tensor of that shape in `dtype`.
    """

    index: Mapping[str, object]
    owners: Mapping[str, PipelineWeights]
    made: Mapping[str, Mapping[str, tuple[int, ...]]]
    dtype: str
    make: Merge


def write_pipeline(
    recipe: Recipe,
    weights: Mapping[ModelId, Weights],
    target: Path,
    documents: Mapping[str, bytes],
    *,
    max_shard_bytes: int,
    carrier: Path,
) -> dict[str, str]:
    """Write a merge of pipelines into the new folder `target`; returns path → SHA-256 (hex), sorted.

    All that the recipe does not know is the carrier's. carrier: its folder. MergingError as `write_release` raises it.
    """
    if recipe.hops:
        raise MergingError(f"{recipe.describe()}: pipelines are merged by their weights alone; use a merge method")
    (merge,) = recipe.parts
    config, whole = read_model_config(carrier), open_pipeline(carrier)
    parts = plan_parts(merge, CarrierShapes(config, weights, carrier))
    named = {folder: parts.owner(folder) for folder in listed_components(config)}
    owners = {folder: whole if owner is None else owner_of(weights, owner, folder) for folder, owner in named.items()}
    load = make_loader(merge, weights)

    def make(name: str, memory: Tensor) -> Tensor:
        return merge_tensor(merge, name, load, into=memory)

    contents = PipelineContents(pipeline_index(config, owners), owners, parts.merged, merge.dtype, make)
    text = render_pipeline_recipe(merge, parts, merge.carrier or _model_of(carrier, weights))
    files = add_documents({RECIPE_NAME: text.encode()}, documents)
    return write_pipeline_folder(target, contents, files, max_shard_bytes=max_shard_bytes)


def write_pipeline_folder(
    target: Path, contents: PipelineContents, documents: Mapping[str, bytes], *, max_shard_bytes: int
) -> dict[str, str]:
    """Write a pipeline into the new folder `target`; returns path → SHA-256 (hex), sorted.

    Components that are made are written tensor by tensor under the names in their owners' files. All others are copied
    byte by byte, without a variant in their files' names.
    The folder appears under its name only when every byte is on the disk. MergingError as `write_release` raises it.
    """
    own = {INDEX: render_config(contents.index)}
    for name in documents:
        if Path(name).name != name or name in own or name in contents.owners:
            raise MergingError(f"documents: got {name!r}: give a plain file name that the release leaves free")
    hashes: dict[str, str] = {}
    with atomic_folder(target) as folder, disk_errors(target):
        for component, owner in contents.owners.items():
            place = folder / component
            place.mkdir()
            made = component in contents.made
            written = _make(place, contents, max_shard_bytes) if made else _copy(place, owner)
            hashes |= {f"{component}/{name}": digest for name, digest in written.items()}
        hashes |= {name: write_file(folder / name, [content]) for name, content in (own | dict(documents)).items()}
    return dict(sorted(hashes.items()))


def _model_of(folder: Path, weights: Mapping[ModelId, Weights]) -> ModelId:
    """The model, without its adapter, that is in a folder; named by the folder if none of these is."""
    return next((model.plain for model, one in weights.items() if one.folder == folder), ModelId(str(folder)))


def pipeline_index(carrier: Mapping[str, Any], owners: Mapping[str, PipelineWeights]) -> dict[str, object]:
    """The written model_index.json: the carrier's, with the classes of what is taken from others."""
    kept = {key: value for key, value in carrier.items() if key not in (COMPONENTS_KEY, "_name_or_path")}
    return {**kept, **{folder: owner.config.get(folder, kept[folder]) for folder, owner in owners.items()}}


def _make(place: Path, contents: PipelineContents, max_shard_bytes: int) -> dict[str, str]:
    """Write a component's weights and settings into its folder; name → SHA-256."""
    component, dtype = place.name, contents.dtype
    owner, shapes = contents.owners[component], contents.made[component]
    names = {owner.stored_name(name).removeprefix(f"{component}."): name for name in shapes}
    in_order = _aligned({stored: shapes[name] for stored, name in names.items()}, dtype)

    def make(stored: str, memory: Tensor) -> Tensor:
        return contents.make(names[stored], memory)

    stem = owner.files[component].stem
    hashes = write_weights(place, in_order, dtype, make, max_shard_bytes, stem, ALIGNMENT)
    config = owner.config[COMPONENTS_KEY][component]
    for path in _companions(owner.folder / component):
        has_dtype = path.name == "config.json" and "architectures" in config
        content = render_config(set_dtype(config, dtype)) if has_dtype else path.read_bytes()
        hashes[path.name] = write_file(place / path.name, [content])
    return hashes


def _copy(place: Path, owner: PipelineWeights) -> dict[str, str]:
    """Copy a component from its owner's files into its folder; name → SHA-256."""
    source, files = owner.folder / place.name, owner.files.get(place.name)
    hashes = {path.name: write_file(place / path.name, _chunks(path)) for path in _companions(source)}
    for name in filter(None, (files.single, *files.shards)) if files else ():
        plain = files.plain_name(name) if files else name
        hashes[plain] = write_file(place / plain, _chunks(source / name))
    if files and files.index:
        index = json.loads((source / files.index).read_bytes())
        index["weight_map"] = {key: files.plain_name(name) for key, name in index["weight_map"].items()}
        plain = files.plain_name(files.index)
        hashes[plain] = write_file(place / plain, [render_config(index)])
    return hashes


def _aligned(shapes: Mapping[str, tuple[int, ...]], dtype: str) -> dict[str, tuple[int, ...]]:
    """Tensors in an order in which each starts at a multiple of the alignment, or of its own size's power of two.

    diffusers maps files, and arithmetic on a mapped tensor may depend, in the last bits, on where it starts.
    """
    width = element_bytes(dtype)

    def key(name: str) -> tuple[int, str]:
        size = math.prod(shapes[name]) * width
        return -min(size & -size, ALIGNMENT), name

    return {name: shapes[name] for name in sorted(shapes, key=key)}


def _companions(place: Path) -> list[Path]:
    """The files of a component beside its weights."""
    known = {PurePosixPath(path).name for path in COMPANION_FILES if path.startswith(f"{place.name}/")}
    return [path for path in sorted(place.iterdir()) if path.is_file() and path.name in known]


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
