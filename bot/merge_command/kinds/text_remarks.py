"""What a person should know of a merge of models of text besides its plan, a line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from bot.hub.client import Hub
from bot.merge_command.kinds.text_vocabularies import uncompared_remarks
from bot.merge_command.planned import InputModel, PlannedStage
from merging.errors import MergingError
from merging.mergekit.config import dotted
from merging.models.components import language_names
from merging.models.layer_config import is_tied
from merging.models.settings import (
    LANGUAGE_KEY,
    carrier_mismatch,
    language_settings,
    noted_differences,
    read_settings,
    settings_mismatch,
)
from merging.tensor_names import count_layers


def text_remarks(planned: PlannedStage, hub: Hub) -> Iterator[str]:
    """Differences that shapes do not show, and settings whose effect may surprise."""
    yield from _tied_head_remark(planned)
    yield from _setting_remarks(planned)
    yield from uncompared_remarks(planned.stage, planned.models, hub)
    yield from _wide_dtype_remark(planned)
    yield from planned.mergekit_limits


def _tied_head_remark(planned: PlannedStage) -> Iterator[str]:
    """A remark on a last slice without layers, meant for the head alone, where the head is tied to the embedding."""
    first, *_, last = (planned.stage.config.slices[0], *planned.stage.config.slices)
    models = [", ".join(str(entry.model) for entry in one.inputs) for one in (first, last)]
    without_layers = all(entry.layers and entry.layers[0] == entry.layers[1] for entry in last.inputs)
    if without_layers and models[0] != models[1] and is_tied(planned.assembly.config):
        place = f"{dotted(last.place)}: the head is the embedding, and so that of {models[0]}"
        yield f"{place}; {models[1]} gives the final norm alone"


def _setting_remarks(planned: PlannedStage) -> Iterator[str]:
    """A remark for each model whose settings differ from the config source's, but for depth, which slices change."""
    config_source = _settings(planned.config_source)
    for name, model in planned.models.items():
        settings = _settings(model)
        difference = (carrier_mismatch if planned.assembly.components else settings_mismatch)(config_source, settings)
        noted = [
            f"its config says {one}" for one in noted_differences(*map(language_settings, (config_source, settings)))
        ]
        for remark in [difference] if difference else noted:
            yield f"{name}: {remark}; the result has that of {planned.assembly.lead}"


def _wide_dtype_remark(planned: PlannedStage) -> Iterator[str]:
    """A remark if the file gives no dtype, and few tensors of another dtype make the whole result float32."""
    found = [(header, name) for name, model in planned.models.items() for header in model.stored_model.stored.values()]
    counts = Counter(header.dtype for header, _ in found)
    if planned.stage.config.dtype is None and len(counts) > 1:
        rare = min(counts, key=lambda dtype: counts[dtype])
        header, name = next(one for one in found if one[0].dtype == rare)
        stray = f"{counts[rare]:,} of {len(found):,} tensors are {rare}, such as {header.name} of {name}"
        yield f"dtype: none is given and {stray}: the result is float32; write `dtype: bfloat16` for a smaller one"


def _settings(model: InputModel) -> dict[str, object]:
    try:
        stored = model.stored_model
        found = read_settings(stored.config, count_layers(language_names(stored.stored, stored.components)))
    except MergingError:
        return {}
    chosen = ("vocab_size", "tie_word_embeddings")  # the merge decides on these by all of its models
    return {
        key: value
        for key, value in found.items()
        if "layer" not in key and key.removeprefix(LANGUAGE_KEY) not in chosen
    }
