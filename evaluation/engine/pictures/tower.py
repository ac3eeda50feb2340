"""What a model that sees pictures gives its decoder, caught on the way: no family needs to be known by name."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import BatchFeature, PreTrainedModel


class _CaughtError(Exception):
    """Ends a forward pass at the decoder."""


@torch.no_grad()
def decoder_inputs(model: PreTrainedModel, inputs: BatchFeature) -> dict[str, Any]:
    """What a forward pass gives the model's decoder, by name; the decoder itself does not run."""
    caught: dict[str, Any] = {}

    def catch(_decoder: torch.nn.Module, unnamed: tuple[Any, ...], named: dict[str, Any]) -> None:
        caught.update({f"argument {number}": value for number, value in enumerate(unnamed)}, **named)
        raise _CaughtError

    hook = model.get_decoder().register_forward_pre_hook(catch, with_kwargs=True)
    try:
        model(**inputs.to(model.device, model.dtype), use_cache=False)
    except _CaughtError:
        pass
    finally:
        hook.remove()
    return caught


def picture_rows(model: PreTrainedModel, inputs: BatchFeature, image_token: int) -> Tensor:
    """What the decoder is given in the places of one text's image tokens, [tokens, width]."""
    given: Tensor = decoder_inputs(model, inputs)["inputs_embeds"]
    return given[0, inputs["input_ids"][0].to(given.device) == image_token]


def picture_refusal(model: PreTrainedModel, inputs: BatchFeature, image_token: int) -> str | None:
    """The reason why pictures are more to a model's decoder than rows in the places of tokens; None if they are not.

    inputs: of one text with a picture. The decoder's masks and positions must be those of plain text, because the
    engine makes its own; further inputs would have to be made for every row of the engine's.
    """
    given = decoder_inputs(model, inputs)
    rows = given.pop("inputs_embeds", None)
    if not isinstance(rows, Tensor):
        return "its decoder is not given embeddings"
    tokens = inputs["input_ids"].to(rows.device)
    text = tokens != image_token
    if not torch.equal(rows[text].nan_to_num(), model.get_input_embeddings()(tokens)[text].nan_to_num()):
        return "its decoder is given other embeddings of text beside pictures"
    places = torch.arange(tokens.shape[1])
    plain = {"attention_mask": torch.ones(tokens.shape), "position_ids": places[None], "cache_position": places}
    for name, value in given.items():
        usual = name in plain and isinstance(value, Tensor) and torch.equal(value.cpu().long(), plain[name].long())
        if not usual and value is not None and not isinstance(value, int | float | str):
            return f"its decoder is given {name} of its own"
    return None


def tower_digest(model: PreTrainedModel) -> str:
    """sha256 of all weights outside the decoder and its head: what a picture's rows depend on."""
    language = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    own = {id(weight) for part in language for weight in chain(part.parameters(), part.buffers())}
    made = hashlib.sha256()
    for name, weight in chain(model.named_parameters(), model.named_buffers()):
        if id(weight) not in own:
            made.update(name.encode())
            made.update(as_bytes(weight))
    return made.hexdigest()


def as_bytes(tensor: Tensor) -> memoryview:
    """A tensor's values as bytes on this machine, without a copy where there need not be one."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
