"""The limits of mergekit 0.1.5 with models of several components, as sentences for comments and remarks."""

from __future__ import annotations

from collections.abc import Collection, Iterator

_DEFINED = frozenset({"gemma3", "llama4", "mistral3", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe"})
"""model_type of the families whose tensors mergekit has a list of: it stops where a model lacks one of them."""

_NO_PLACE = (
    "mergekit takes no language model ({}) into a model of several components: it writes another kind of model, or "
    "leaves out nearly all tensors, and ends without an error. shoal merge writes them all."
)
_RENAMED = (
    "mergekit leaves out tensors of this family that files name otherwise than transformers does in memory, such as {} "
    "of {}, and ends without an error. shoal merge writes them all."
)
_NO_PLACE_IN_MODULES = (
    "mergekit takes no language model ({}) into a model of several components: it stops at the modules, or where the "
    "language model lacks a tensor. shoal merge writes them all."
)
_NO_MODULES = (
    "mergekit has no list of the modules of this family ({}) and stops at the first. shoal merge writes all tensors."
)
_LEFT_OUT = (
    "mergekit leaves out the tensors of modules that the file does not name ({}), and ends without an error. shoal "
    "merge takes them from the model that the result is like."
)

SLICES_WITHOUT_MODULES = (
    "mergekit takes no slices of models of several components but in modules, and stops. shoal merge writes the path; "
    "the other components are those of the part that gives the embedding, or of the carrier."
)


JOINED_FILTERS = "mergekit knows no filters of several parts, and stops. shoal merge reads them."


def component_limits(
    model_type: str,
    inside: Collection[str],
    renamed: Collection[tuple[str, str]],
    left_out: Collection[str] | None = None,
) -> Iterator[str]:
    """What somebody should know who runs the recipe of such models with mergekit.

    model_type: that of the result. inside: names of the merged language models. renamed: (model, a tensor in its
    files), where the files have another name for it than transformers has in memory. left_out: the components that the
    recipe has no module for; None where it has no modules.
    """
    if left_out is not None:
        if inside:
            yield _NO_PLACE_IN_MODULES.format(", ".join(inside))
        elif model_type not in _DEFINED:
            yield _NO_MODULES.format(model_type)
        elif left_out:
            yield _LEFT_OUT.format(", ".join(left_out))
    elif inside:
        yield _NO_PLACE.format(", ".join(inside))
    elif renamed and model_type not in _DEFINED:
        model, tensor = next(iter(renamed))
        yield _RENAMED.format(tensor, model)
