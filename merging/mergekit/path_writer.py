"""A path as the YAML that mergekit reads: `passthrough` slices of one layer each, with scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from merging.identity import ModelId
from merging.mergekit.component_limits import SLICES_WITHOUT_MODULES
from merging.mergekit.path_limits import mergekit_limits
from merging.mergekit.text import as_comment, dump_config
from merging.mergekit.writer import VOCABULARY_NOTE, to_mergekit_yaml, vocabulary_section
from merging.models.layer_config import read_language_config
from merging.paths.folding import FoldingRule, fold_factor, folding_rule
from merging.recipes.path import PathRecipe

_STAGES = "Several stages: mergekit-multi makes the named merges first."


def path_to_mergekit_yaml(
    path: PathRecipe,
    config: Mapping[str, object],
    tensor_names: Iterable[str],
    names: Mapping[ModelId, str] | None = None,
) -> str:
    """A configuration with which mergekit makes the same tensors; parts that are merges are documents of their own.

    config: the parts' config.json. tensor_names: those of a whole part. names: names to write instead of "repo@sha".
    A slice without layers says which part gives the embedding, or the head, where that is not the first or last hop's.
    Comments say what mergekit makes differently; scales of a family that is not scaled by factors alone are left out.
    """
    tensors, label = tuple(tensor_names), str(path.parts[0].origins[0])
    rule = folding_rule(read_language_config(config, label) or config, label)
    merges = {part.digest: f"merge-{number}" for number, part in enumerate(path.merges, start=1)}
    calls = [merges.get(part.digest) or _called(part.origins[0], names) for part in path.parts]
    slices = [
        _slice(calls[hop.part], hop.layer, _scales(rule, stream))
        for hop, stream in zip(path.hops, path.streams, strict=True)
    ]
    if path.embedding != path.hops[0].part:
        slices.insert(0, _slice(calls[path.embedding], None, None))
    if path.head != path.hops[-1].part:
        slices.append(_slice(calls[path.head], None, None))
    final = {
        "merge_method": path.method,
        "base_model": calls[0],
        "dtype": "float32",
        "out_dtype": path.dtype,
        **({"carrier": _called(path.carrier, names)} if path.carrier else {}),
        "slices": slices,
        **vocabulary_section(path.vocabulary, {model: _called(model, names) for model in path.vocabulary}),
    }
    kind = str(config.get("model_type"))
    stages = [f"name: {merges[part.digest]}\n{to_mergekit_yaml(part, tensors, names, kind)}" for part in path.merges]
    unlike = [VOCABULARY_NOTE] if path.vocabulary else []
    several = len(path.parts[0].groups.components) > 1
    limits = [SLICES_WITHOUT_MODULES] if several else mergekit_limits(path, config, tensors)
    notes = [*([_STAGES] if stages else []), *unlike, *limits]
    return "".join(map(as_comment, notes)) + "---\n".join([*stages, dump_config(final)])


def _called(source: ModelId, names: Mapping[ModelId, str] | None) -> str:
    return (names or {}).get(source, str(source))


def _scales(rule: FoldingRule, stream: float) -> list[dict[str, object]] | None:
    if stream == 1 or not rule.by_factor:
        return None
    # A filter is looked for in a tensor's name, which ends where the rule's parts end with a dot. Some parts are names
    # that mergekit alone has for a tensor.
    return [{"filter": part.removesuffix("."), "value": fold_factor(fold, stream)} for part, fold in rule.parts.items()]


def _slice(model: str, layer: int | None, scales: list[dict[str, object]] | None) -> dict[str, object]:
    source: dict[str, object] = {"model": model, "layer_range": [0, 0] if layer is None else [layer, layer + 1]}
    if scales is not None:
        source["parameters"] = {"scale": scales}
    return {"sources": [source]}
