"""The models of a merge in its one vocabulary: their weights with its rows, and the small files of the result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import UNION
from merging.models.stored_model import StoredModel, read_stored_model
from merging.sources.checkpoint import SINGLE_NAME, Checkpoint
from merging.sources.json_object import read_json_object
from merging.sources.weights import AdaptedTensor, Weights
from merging.tokenizers.source_tokenizer import CONFIG, SourceTokenizer, read_source_tokenizer
from merging.tokenizers.view import VocabularyView, vocabulary_views
from merging.tokenizers.vocabulary import Vocabulary, plan_vocabulary
from merging.writing.atomic import atomic_folder
from merging.writing.companions import read_companions


@dataclass(frozen=True)
class AlignedModels:
    """Models in one vocabulary.

    views: every model's weights with the vocabulary's rows. files: name → content of the result's small files, its
    config.json among them.
    """

    views: Mapping[ModelId, VocabularyView]
    files: Mapping[str, bytes]


def plan_shared_vocabulary(deciding: Sequence[ModelId], tokenizers: Mapping[ModelId, SourceTokenizer]) -> Vocabulary:
    """The vocabulary of a recipe (`WeightMerge.vocabulary`): the deciding models' tokens together, the first leading.

    tokenizers: of all models, also of those that do not decide. MergingError as `plan_vocabulary`.
    """
    return plan_vocabulary(tokenizers, UNION, base=deciding[0], among=deciding)


def align_models(deciding: Sequence[ModelId], weights: Mapping[ModelId, Weights]) -> AlignedModels:
    """Bring models into the vocabulary that some of them decide on.

    weights: of every model, the deciding ones among them; their folders have the small files. MergingError, before a
    weight is read, for vocabularies that cannot be merged.
    """
    stored = {model: read_stored_model(one) for model, one in weights.items()}
    tokenizers = {model: _read_tokenizer(model, one, stored[model]) for model, one in weights.items()}
    vocabulary = plan_shared_vocabulary(deciding, tokenizers)
    views = vocabulary_views(vocabulary, weights, {model: one.by_token for model, one in stored.items()})
    config = vocabulary.apply_to(stored[vocabulary.leading].config)
    return AlignedModels(views, {**vocabulary.files, CONFIG: f"{json.dumps(config, indent=2)}\n".encode()})


@contextmanager
def in_one_vocabulary(
    deciding: Sequence[ModelId], weights: Mapping[ModelId, Weights], config_source: Path
) -> Iterator[tuple[Mapping[ModelId, Weights], Path]]:
    """(weights in the vocabulary of a recipe, the folder of its config and tokenizer), within the block.

    Where no model decides, all have the same vocabulary: the weights and the config source are given back as they are.
    """
    if not deciding:
        yield weights, config_source
        return
    aligned = align_models(deciding, weights)
    with TemporaryDirectory(prefix="shoal-") as folder:
        for name, content in aligned.files.items():
            (Path(folder) / name).write_bytes(content)
        yield aligned.views, Path(folder)


def keep_aligned(aligned: AlignedModels, folder: Path) -> None:
    """Write the small files and the rearranged rows of models, from which `open_kept` makes the same weights at once.

    The folder appears whole or not at all; MergingError as `atomic_folder`.
    """
    from safetensors.torch import save_file

    with atomic_folder(folder) as partial:
        for name, content in aligned.files.items():
            (partial / name).write_bytes(content)
        for number, view in enumerate(aligned.views.values()):
            if view.rearranged:
                (partial / str(number)).mkdir()
                save_file({name: view.tensor(name) for name in view.rearranged}, partial / str(number) / SINGLE_NAME)


def open_kept(folder: Path, weights: Mapping[ModelId, Weights]) -> dict[ModelId, Weights]:
    """The weights of models in a vocabulary, their rows mapped from the folder in which `keep_aligned` put them.

    weights: of the same models, in the same order.
    """
    return {model: _KeptRows(own, folder / str(number), folder) for number, (model, own) in enumerate(weights.items())}


class _KeptRows(Weights):
    """A model whose tensors with a row per token are in a folder of their own, or are the first of its own rows."""

    def __init__(self, own: Weights, rows: Path, merged: Path) -> None:
        count = read_json_object(merged / CONFIG)["vocab_size"]
        self._own, self._count = own, count
        self._by_token = frozenset(read_stored_model(own).by_token.values())
        self._kept = Checkpoint.open(rows) if rows.is_dir() else None
        resized = {
            name: replace(header, shape=(count, *header.shape[1:])) if name in self._by_token else header
            for name, header in own.headers.items()
        }
        super().__init__(own.folder, resized)

    def tensor(self, name: str) -> Tensor:
        """A tensor as a view of a mapped file."""
        if name not in self._by_token:
            return self._own.tensor(name)
        return self._kept.tensor(name) if self._kept else self._own.tensor(name)[: self._count]

    def adapted(self, name: str) -> AdaptedTensor | None:
        """What the model's adapter changes in a tensor that has the model's own rows."""
        return None if name in self._by_token else self._own.adapted(name)

    def verify(self) -> None:
        """Read every weight of the model as it is stored."""
        self._own.verify()


def _read_tokenizer(model: ModelId, weights: Weights, stored: StoredModel) -> SourceTokenizer:
    config = weights.folder / CONFIG
    try:
        files = read_companions(weights.folder) | {CONFIG: config.read_bytes()}
    except OSError as error:
        raise MergingError(f"{config}: cannot be read ({error.strerror})") from error
    return read_source_tokenizer(str(model), files, stored.rows)
