"""A model on the Hub as the bot knows it before it downloads any weights, as frozen values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from bot.watchlist.licence_ids import LICENCES, NAMED
from merging.errors import MergingError
from merging.kinds import COMPANION_FILES, KINDS
from merging.kinds.kind import MIB
from merging.pickles.names import PICKLE_INDEX, PICKLED_ADAPTER, SINGLE_PICKLE, is_pickle
from merging.pipelines.index import INDEX as PIPELINE_INDEX
from merging.pipelines.index import needed_files
from merging.pipelines.lora_files import USUAL_LORA
from templates.escaping import plain

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

WEIGHTS = "model*.safetensors"
"""Pattern of weight files; the watchlist limits their sizes (watch.max_bytes)."""

_LICENCE_FILE = re.compile(r"(licen[sc]e|notice|copying|use_policy)([-_.][\w.-]{1,40})?", re.IGNORECASE)
_LICENCE_ENDINGS = ("", ".md", ".txt", ".rst")

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of a LoRA adapter. A repo with the first of them is one, for transformers too, whatever else it has."""

MAX_INDEX_BYTES = 16 * MIB

LIMITS: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("config.json", ADAPTER_CONFIG), MIB),
        "model.safetensors.index.json": MAX_INDEX_BYTES,
        PIPELINE_INDEX: MIB,
        **{path: file.max_bytes for path, file in COMPANION_FILES.items()},
    }
)
"""Files that may be fetched besides the weights and the licences: path → most bytes."""

_SHARD_INDEX = ".safetensors.index.json"

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
"""The files that whole weights in safetensors begin with: one of them is there."""

UNFINISHED_SCAN = "(its scan is not done)"
"""Stands among the flagged files of a model while the Hub scans it."""

_WHOLE, BUFFERS = frozenset({"F64", "F32", "F16", "BF16"}), frozenset({"BOOL", "I64"})
"""Dtypes, as safetensors names them, of weights that average, and of masks and positions that some files hold too."""

_COMMA = ", "
OTHER_LICENCE = "other"
"""The Hub's id for licences that have none; the card gives a name."""

_LICENCE_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,99}", re.ASCII)
_PIPELINE_TAG = "diffusers:"
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_OTHER_LANGUAGES = frozenset({"code", "multilingual", "other"})


def is_wanted(path: str) -> bool:
    """Whether a file of a model or an adapter that is at the top of its repo is fetched, whatever else it has."""
    known = path in LIMITS or path == ADAPTER_WEIGHTS or is_licence_file(path) or fnmatchcase(path, WEIGHTS)
    return known and "/" not in path


def most_bytes(path: str) -> int | None:
    """Largest size of a file that is fetched besides the weights; None for weights, and for what is not fetched."""
    if path == PICKLE_INDEX or path.endswith(_SHARD_INDEX):
        return MAX_INDEX_BYTES
    return MIB if is_licence_file(path) else LIMITS.get(path)


def is_licence_file(path: str) -> bool:
    """Whether a file holds a licence, a notice or a use policy, which even permissive licences want passed on."""
    return bool(_LICENCE_FILE.fullmatch(path)) and PurePosixPath(path).suffix.lower() in _LICENCE_ENDINGS


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repo. Its size in bytes and its hash are None where the Hub was not asked for them.

    sha256: hash of the content, for files in LFS. blob_id: git's SHA-1, for all others.
    """

    path: str
    size: int | None
    sha256: str | None
    blob_id: str | None

    @property
    def content_id(self) -> str | None:
        """Equal for equal content."""
        return self.sha256 or self.blob_id


@dataclass(frozen=True)
class Verdict:
    """Whether a candidate was accepted, and the reason in one line. Text from the Hub in it is made harmless."""

    repo: str
    sha: str | None
    accepted: bool
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", plain(self.reason))


@dataclass(frozen=True)
class Candidate:
    """A repo at a commit, as the Hub describes it. Its texts come from a stranger: escape them when shown.

    repo: the name with which the Hub answers, which may be newer than the one that was asked for.
    relation: how the model descends from base_models, if its card says so: finetune, merge, adapter, quantized.
    inferred_relation: the same by the Hub, which goes by all files: a rounded copy beside the weights is "quantized".
    languages: the declared ones that the Hub accepts in a card. quantised: the quantisation method, if there is one.
    dtypes: the dtypes of its safetensors weights as far as the Hub counts them.
    security: files the Hub warns of; None where the Hub was not asked.
    pinned: index among the sources that the watchlist names, None for a model found by listing.
    stated: whether the licence is not the card's, but the watchlist's statement.
    lora_file: the one file that is meant, of a repo with LoRAs that peft did not save; None for anything else.
    checkpoint_file: the same of a repo with checkpoints in one file. denoiser_files: paths of the files that are meant
    of a repo with a denoiser alone.
    pull_request: number of the Hub's pull request with a conversion of its pickled weights, whose files these are; the
    rest of the description is that of the commit for which it was made. None for the model's own files.
    unused_conversion: why a conversion of the Hub's is not used; None if there is none, or it is.
    index: the content of a pipeline's model_index.json; None where it has not been read, and of other models.
    """

    repo: str
    sha: str
    author: str
    licence: str | None
    languages: tuple[str, ...]
    tags: tuple[str, ...]
    base_models: tuple[str, ...]
    relation: str | None
    downloads: int
    last_modified: datetime | None
    parameters: int | None
    architectures: tuple[str, ...]
    custom_code: bool
    quantised: str | None
    files: tuple[RemoteFile, ...]
    gated: bool
    private: bool
    security: tuple[str, ...] | None
    pinned: int | None = None
    inferred_relation: str | None = None
    dtypes: tuple[str, ...] = ()
    stated: bool = False
    lora_file: str | None = None
    checkpoint_file: str | None = None
    denoiser_files: frozenset[str] = frozenset()
    pull_request: int | None = None
    unused_conversion: str | None = None
    index: Mapping[str, object] | None = None

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences that its card lists, usually one."""
        return tuple(self.licence.split(_COMMA)) if self.licence else ()

    @property
    def has_whole_weights(self) -> bool:
        """Whether the Hub counts safetensors weights of it that are all plain floating-point numbers."""
        return bool(_WHOLE.intersection(self.dtypes)) and set(self.dtypes) <= _WHOLE | BUFFERS

    @property
    def is_pipeline(self) -> bool:
        """Whether it is a pipeline of several components, each in a folder of its own."""
        return self.meant_file is None and self.file(PIPELINE_INDEX) is not None

    @property
    def meant_file(self) -> str | None:
        """The one of its files that is meant, a LoRA or a checkpoint; None where it is not one file that counts."""
        return self.lora_file or self.checkpoint_file

    @property
    def is_part(self) -> bool:
        """Whether what is meant is read within a whole model: a checkpoint in one file, or a denoiser alone."""
        return self.checkpoint_file is not None or bool(self.denoiser_files)

    @property
    def about(self) -> Mapping[str, object] | None:
        """What is known of its config, by which kinds of models are told; None of a pipeline that shows nothing yet."""
        if self.index is None and self.is_pipeline and not self.architectures:
            return None
        return self.index or {"architectures": self.architectures}

    @cached_property
    def _pipeline_paths(self) -> frozenset[str]:
        """The files of a pipeline that are fetched; of one that is not read yet, or that is refused, the least."""
        companions = [file.path for kind in KINDS.values() for file in kind.files]
        try:
            return needed_files(self.index or {}, [file.path for file in self.files], companions)
        except MergingError:
            return frozenset({PIPELINE_INDEX})

    @property
    def is_pickled(self) -> bool:
        """Whether its weights are there as pickles alone."""
        return bool(self._pickle_paths)

    @cached_property
    def _pickle_paths(self) -> frozenset[str]:
        """The pickles that hold its weights, and their index; none where there are safetensors."""
        paths = {file.path for file in self.files}
        if self.is_pipeline or self.is_part:
            return frozenset()
        if self.is_adapter:
            return frozenset({PICKLED_ADAPTER} & paths if ADAPTER_WEIGHTS not in paths else ())
        pickles = {path for path in paths if is_pickle(path)}
        if not pickles or not paths.isdisjoint((SINGLE, INDEX)):
            return frozenset()
        return frozenset({SINGLE_PICKLE} if SINGLE_PICKLE in paths else {*pickles, PICKLE_INDEX})

    @property
    def flagged(self) -> tuple[str, ...]:
        """What the Hub's scan holds against fetching it: an unfinished scan, and files that would be fetched."""
        return tuple(path for path in self.security or () if path == UNFINISHED_SCAN or self._wants(path))

    @property
    def flagged_beside(self) -> tuple[str, ...]:
        """Files that the Hub's scan warns of and that are never fetched."""
        return tuple(path for path in self.security or () if path not in self.flagged)

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter as peft saves them, or one of a repo's files is meant as one."""
        return self.lora_file is not None or (self.file(ADAPTER_CONFIG) is not None and not self.is_part)

    @property
    def is_said_to_be_adapter(self) -> bool:
        """Whether its card, the Hub, or the usual name of a LoRA's file says that it is an adapter."""
        said = "adapter" in (self.relation, self.inferred_relation)
        return said or "lora" in {tag.lower() for tag in self.tags} or self.file(USUAL_LORA) is not None

    @property
    def wanted_files(self) -> tuple[RemoteFile, ...]:
        """The files that are fetched; of an adapter no whole weights that may lie beside it."""
        return tuple(file for file in self.files if self._wants(file.path))

    @property
    def weight_files(self) -> tuple[RemoteFile, ...]:
        """The files with its tensors."""
        return tuple(file for file in self.wanted_files if file.path.endswith((".safetensors", ".bin")))

    @property
    def pickle_files(self) -> tuple[RemoteFile, ...]:
        """The files that a conversion replaces: pickles and their index; none of a model that has safetensors."""
        return tuple(file for file in self.wanted_files if file.path in self._pickle_paths)

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch, as far as sizes are known."""
        return sum(file.size or 0 for file in self.wanted_files)

    @property
    def rank(self) -> tuple[int, int, str]:
        """Sorts the best first: pinned ones in the watchlist's order, then by downloads, then by name."""
        return (10**9 if self.pinned is None else self.pinned, -self.downloads, self.repo)

    def _wants(self, path: str) -> bool:
        if self.meant_file is not None:
            return path == self.meant_file or is_licence_file(path)
        if self.denoiser_files:
            return path in self.denoiser_files or is_licence_file(path)
        if self.is_pipeline:
            return path in self._pipeline_paths or is_licence_file(path)
        if self.is_adapter and fnmatchcase(path, WEIGHTS):
            return False
        return is_wanted(path) or path in self._pickle_paths

    def refuse(self, reason: str) -> Verdict:
        """The verdict that refuses this candidate."""
        return Verdict(self.repo, self.sha or None, False, reason)

    def file(self, path: str) -> RemoteFile | None:
        """The file at `path`, if there is one."""
        return next((file for file in self.files if file.path == path), None)


def to_candidate(info: ModelInfo, pinned: int | None = None) -> Candidate:
    """Convert an entry of the Hub's list, or the answer for one model."""
    card: Mapping[str, object] = vars(info.card_data) if info.card_data else {}
    config = info.config if isinstance(info.config, dict) else {}
    base_models, relation, inferred = _lineage(info, card, config)
    return Candidate(
        repo=info.id,
        sha=info.sha or "",
        author=info.author or info.id.split("/")[0],
        licence=_declared_licence(card),
        languages=tuple(word for word in _words(card.get("language")) if _is_language(word)),
        tags=tuple(info.tags or ()),
        base_models=base_models,
        relation=relation,
        downloads=info.downloads or 0,
        last_modified=info.last_modified,
        parameters=info.safetensors.total if info.safetensors else None,
        architectures=_words(config.get("architectures")) or _pipeline_class(info, config),
        custom_code=bool(config.get("auto_map")) or "custom_code" in (info.tags or ()),
        quantised=_quantisation_method(config),
        files=tuple(_remote_file(sibling) for sibling in info.siblings or ()),
        gated=bool(info.gated),
        private=bool(info.private),
        security=_flagged_files(info.security_repo_status),
        pinned=pinned,
        inferred_relation=inferred,
        dtypes=tuple(sorted(info.safetensors.parameters)) if info.safetensors else (),
    )


def _pipeline_class(info: ModelInfo, config: Mapping[str, object]) -> tuple[str, ...]:
    """The class of a pipeline, as far as the Hub shows it: in the config, or as a tag."""
    shown = config.get("diffusers")
    tagged = [tag.removeprefix(_PIPELINE_TAG) for tag in info.tags or () if tag.startswith(_PIPELINE_TAG)]
    name = shown.get("_class_name") if isinstance(shown, dict) else None
    return (name,) if isinstance(name, str) and name else tuple(tagged[:1])


def _words(value: object) -> tuple[str, ...]:
    """The texts of a card's field, which may hold one text, a list of them, or anything else."""
    items: Iterable[object] = value if isinstance(value, list | tuple) else (value,)
    return tuple(item for item in items if isinstance(item, str) and item)


def _declared_licence(card: Mapping[str, object]) -> str | None:
    """The licences that a card lists; the name of one that the Hub has no id for, unless it is another one's id."""
    listed = _words(card.get("license"))
    named = card.get("license_name")
    if listed == (OTHER_LICENCE,) and isinstance(named, str) and _LICENCE_NAME.fullmatch(named):
        return OTHER_LICENCE if named.lower() in LICENCES.keys() - NAMED else named
    return _COMMA.join(listed) or None


def _is_language(word: str) -> bool:
    """Whether the Hub accepts it as a language: one wrong word would make a release's whole card invalid."""
    return _LANGUAGE.fullmatch(word) is not None or word in _OTHER_LANGUAGES


def _lineage(
    info: ModelInfo, card: Mapping[str, object], config: Mapping[str, object]
) -> tuple[tuple[str, ...], str | None, str | None]:
    """Declared base models; the relation to them by the card; and by the Hub, which guesses it from the files.

    Where neither names any, the Hub shows the base that an adapter's settings name.
    """
    answer: object = info.base_models
    models: list[object] = []
    guesses: list[object] = []
    if isinstance(answer, dict):
        models = [entry.get("id") for entry in answer.get("models", ()) if isinstance(entry, dict)]
        guesses = [answer.get("relation")]
    elif isinstance(answer, list):
        models = answer
    peft = config.get("peft")
    adapted = _words(peft.get("base_model_name_or_path")) if isinstance(peft, dict) else ()
    bases = _words(card.get("base_model")) or _words(models) or adapted
    tags = [tag.split(":") for tag in info.tags or ()]
    guesses += [parts[1] for parts in tags if parts[0] == "base_model" and len(parts) == 3]
    declared = _words(card.get("base_model_relation"))
    return tuple(dict.fromkeys(bases)), next(iter(declared), None), next(iter(_words(guesses)), None)


def _quantisation_method(config: Mapping[str, object]) -> str | None:
    found = config.get("quantization_config")
    return str(found.get("quant_method") or "unnamed") if isinstance(found, dict) else None


def _remote_file(sibling: RepoSibling) -> RemoteFile:
    lfs = sibling.lfs
    return RemoteFile(
        path=sibling.rfilename,
        size=lfs.size if lfs else sibling.size,
        sha256=lfs.sha256 if lfs else None,
        blob_id=None if lfs else sibling.blob_id,
    )


def _flagged_files(status: object) -> tuple[str, ...] | None:
    """Names of the files the Hub warns of; an unfinished scan counts as one."""
    if not isinstance(status, dict):
        return None
    issues = status.get("filesWithIssues") or ()
    paths = [str(issue.get("path", issue)) if isinstance(issue, dict) else str(issue) for issue in issues]
    return tuple(paths) if status.get("scansDone", True) else (UNFINISHED_SCAN, *paths)
