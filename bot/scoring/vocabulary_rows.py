"""The rows of a pool's models in the vocabulary of its merges: made once, and mapped by every worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import merging
from bot.home import Home
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Family
from bot.hub.pool.unite import ReadFiles
from bot.hub.resolver import open_weights
from evaluation.fingerprint import sources_digest
from merging.identity import ModelId
from merging.tokenizers.source_tokenizer import CONFIG
from merging.writing.companions import read_companions


def read_fetched(folders: Mapping[ModelId, Path]) -> ReadFiles:
    """Read members' small files once they are fetched."""

    def read(member: Member) -> Mapping[str, bytes]:
        folder = folders[member.ref]
        return {**read_companions(folder), CONFIG: (folder / CONFIG).read_bytes()}

    return read


def prepare_rows(home: Home, pool: Family, folders: Mapping[ModelId, Path]) -> Path | None:
    """The folder of a pool's rows, which is made if it is not there yet; None where all members have one vocabulary.

    MergingError for a full disk, or for weights that do not fit their tokenizer.
    """
    from merging.tokenizers.aligned import align_models, keep_aligned

    if pool.vocabulary is None:
        return None
    models = [member.ref for member in pool.members]
    target = home.vocabularies / _name(pool.deciding, models)
    if not target.is_dir():
        weights = {model: open_weights(model, folders) for model in models}
        keep_aligned(align_models(pool.deciding, weights), target)
    return target


def _name(deciding: tuple[ModelId, ...], models: list[ModelId]) -> str:
    """A name that covers all that decides on the rows: the models, and the code that makes them."""
    code = sources_digest(Path(merging.__file__).parent)
    ids = [[model.to_json() for model in some] for some in (deciding, models)]
    return hashlib.sha256(json.dumps([code, ids]).encode()).hexdigest()[:40]
