"""What the decoys of every kind are made of: changed weights and settings, and a card that is true to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from zoo.repo import HubRepo

Files = dict[str, bytes | Path]
Tensors = dict[str, Tensor]

OWN_MERGE, GATED = "own earlier merge", "gated"
"""Reasons to refuse a repo that its card and the Hub's settings give."""

_LICENCES = {"licence forbids it": "cc-by-nc-nd-4.0", "unknown licence": "unknown"}


@dataclass(frozen=True)
class Disguise:
    """What all decoys of a demo have on their cards. parents: the models that the earlier merge was made of."""

    tag: str
    base: str
    parents: tuple[str, str]
    library: str
    pipeline: str
    most_likes: int = 11

    def publish(self, number: int, name: str, reason: str, made: tuple[Files, str]) -> HubRepo:
        """A repo of files, with the card that tells their story. number: its place among the decoys, from 0.

        Each is downloaded less often than the one before, and less than the models worth merging.
        """
        files, story = made
        relation = "merge" if reason == OWN_MERGE else "adapter" if reason.startswith("adapter") else "finetune"
        card = decoy_card(
            name,
            story,
            licence=_LICENCES.get(reason, "apache-2.0"),
            base_models=self.parents if relation == "merge" else (self.base,),
            relation=relation,
            library="peft" if relation == "adapter" else self.library,
            tags=(self.tag, "merge", "shoal-merge") if relation == "merge" else (self.tag,),
            pipeline=self.pipeline,
        )
        return HubRepo(
            name,
            files | {"README.md": card},
            created=f"2026-09-{number + 1:02}T08:00:00.000Z",
            downloads=90 - 5 * number,
            likes=self.most_likes - number,
            gated=reason == GATED,
            refused_for=reason,
        )


def decoy_card(
    name: str,
    story: str,
    *,
    licence: str,
    base_models: tuple[str, ...],
    relation: str,
    library: str,
    tags: tuple[str, ...],
    pipeline: str = "text-generation",
) -> bytes:
    """A model card, true to what the repo holds."""
    listed = "".join(f"- {model}\n" for model in base_models)
    tagged = "".join(f"- {tag}\n" for tag in tags)
    return (
        f"---\nlicense: {licence}\nlanguage:\n- en\n- ja\nlibrary_name: {library}\n"
        f"pipeline_tag: {pipeline}\nbase_model:\n{listed}base_model_relation: {relation}\n"
        f"tags:\n{tagged}---\n# {name.partition('/')[2]}\n\n{story}\n\n"
        "One of the decoys of shoal's demo: a bot that merges models has to leave it alone.\n"
    ).encode()


def read_json(path: Path) -> dict[str, Any]:
    """A model's JSON file."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def to_json(content: object) -> bytes:
    """A JSON file as repos have them."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def read_tensors(path: Path) -> Tensors:
    """A model's safetensors file."""
    tensors: Tensors = load_file(path)
    return tensors


def to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """A safetensors file as repos have them."""
    return bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"}))


def shake(tensors: Mapping[str, Tensor], number: int, share: float) -> Tensors:
    """Weights moved by a share of themselves, so that they are no duplicate. number: the seed."""
    generator = torch.Generator().manual_seed(number)
    return {
        name: (tensor * (1 + share * torch.randn(tensor.shape, generator=generator))).to(tensor.dtype)
        for name, tensor in tensors.items()
    }


def resize(tensors: Mapping[str, Tensor], sizes: Mapping[int, int], number: int) -> Tensors:
    """Untrained tensors of other shapes. sizes: a size → what it becomes wherever it occurs. number: the seed."""
    generator = torch.Generator().manual_seed(number)
    return {
        name: (torch.randn([sizes.get(size, size) for size in tensor.shape], generator=generator) * 0.02).to(
            tensor.dtype
        )
        for name, tensor in tensors.items()
    }
