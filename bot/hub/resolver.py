"""Resolves a model's identity: its config, tokenizer and headers before weights are read, its files, its weights.

A model is a folder on this machine or a repo of the Hub at a commit, with or without an adapter. Repos are inspected
without their weights, so that what cannot be merged is refused before the download.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused
from bot.hub.client import Hub
from bot.hub.discovery.candidate import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Candidate
from bot.hub.discovery.conversion import prefer_conversion
from bot.hub.discovery.query import query_source
from bot.hub.discovery.rules import form_refusal
from bot.hub.inspection.lora import choose_lora, inspect_lora
from bot.hub.inspection.member import Member, RemoteWeights, Unfit
from bot.hub.inspection.part import choose_part, read_part
from bot.hub.inspection.reading import check_config, inspect_candidate, read_adapter_headers
from merging.dtypes import BITS
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import COMPANION_FILES, kind_of
from merging.sources.family import TensorHeader
from merging.sources.json_object import parse_json_object, read_json_object
from merging.tokenizers.comparison import TokenizerDigests, digest_tokenizer
from merging.tokenizers.source_tokenizer import CONFIG, TOKENIZER
from merging.writing.companions import read_companions
from templates.escaping import plain

if TYPE_CHECKING:
    from merging.kinds.kind import ModelKind
    from merging.models.stored_model import StoredModel
    from merging.sources.weights import Weights

_PICKLES = ("*.bin", "*.pt", "*.pth")
ON = ".on."
"""Stands between an adapter's commit and its base's in the name of the folder with what the one adds to the other."""

OF = ".of."
"""Stands between a commit and the hash of a file's path in the name of the folder with that file alone."""

_WEIGHTS_ENDINGS = (".safetensors", *(pattern.removeprefix("*") for pattern in _PICKLES), ".ckpt")
"""Endings of files that hold weights, which are read or refused."""

_FOLDER_STARTS = ("/", "~", ".")
"""Beginnings of names that can only be a folder's."""


def is_commit(revision: str | None) -> bool:
    """Whether a revision can only be a commit."""
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def source_folder(sources: Path, repo: ModelId) -> Path:
    """The folder of a repo at a commit, once it is fetched; of one file alone, if that is meant.

    sources: the folder of all that is fetched.
    """
    of = f"{OF}{hashlib.sha256(repo.file.encode()).hexdigest()[:12]}" if repo.file else ""
    return sources / repo.location.replace("/", "--") / f"{repo.revision}{of}"


def open_weights(model: ModelId, folders: Mapping[ModelId, Path]) -> Weights:
    """A model's weights: its files, whole or in shards, with the changes of its adapter if it has one.

    folders: the model's own folder, then its adapter's if it has one. MergingError names the file that is wrong.
    """
    from merging.sources.renamed import open_model

    base = folders[model.plain]
    weights = open_model(base)
    return weights if model.adapter is None else folder_kind(base).adapt(weights, adapter_place(model, folders))


def adapter_place(model: ModelId, folders: Mapping[ModelId, Path]) -> Path:
    """The folder of a model's adapter, or the file in it that is meant."""
    assert model.adapter is not None  # asked of such models alone
    return _place_of(model.adapter, folders)


def _place_of(part: ModelId, folders: Mapping[ModelId, Path]) -> Path:
    """The folder of a model or an adapter, or the file in it that is meant."""
    return folders[part] / part.file if part.file else folders[part]


def folder_kind(folder: Path) -> ModelKind:
    """The kind of the model in a folder."""
    from merging.sources.model_config import read_model_config

    return kind_of(read_model_config(folder))


def differences_folder(adapter: Path, base: ModelId) -> Path:
    """The folder of what a fetched adapter adds to its base. adapter: the adapter's folder."""
    return adapter.with_name(f"{adapter.name}{ON}{base.revision}")


def open_sources(
    models: Iterable[ModelId], folders: Mapping[ModelId, Path], carrier: Path | None = None
) -> dict[ModelId, Weights]:
    """The weights of a pool's models, as `open_weights` opens them: each base once, and what adapters add from a file.

    folders: as `fetch_pool` gives them. carrier: folder of the model that merges are like, within which those are read
    that are only parts of one; without it there may be none. What an adapter adds is computed where it is not stored;
    the bits are the same.
    """
    from merging.sources.renamed import open_model, open_within

    whole: dict[ModelId, Weights] = {}
    found: dict[ModelId, Weights] = {}
    for model in models:
        if model.plain not in whole:
            place = _place_of(model.plain, folders)
            whole[model.plain] = open_model(place) if carrier is None else open_within(carrier, place)
        base = whole[model.plain]
        if model.adapter is None:
            found[model] = base
            continue
        stored = differences_folder(folders[model.adapter], model.plain)
        kind = folder_kind(folders[model.plain])
        found[model] = kind.adapt(base, adapter_place(model, folders), stored if stored.is_dir() else None)
    return found


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model or of an adapter.

    id: the folder as it is written, or repo@commit; random draws are keyed by it.
    place: the folder, or the repo with its headers.
    """

    id: ModelId
    place: Path | RemoteWeights

    @property
    def remote(self) -> RemoteWeights | None:
        """The repo; None for a folder."""
        return None if isinstance(self.place, Path) else self.place

    @property
    def place_in_words(self) -> str:
        """What a name that is not on the Hub means."""
        return "a file" if isinstance(self.place, Path) and self.place.is_file() else "a folder"

    def folder(self, sources: Path) -> Path:
        """The folder of the files on this machine, once they are fetched."""
        return self.place if isinstance(self.place, Path) else source_folder(sources, self.place.ref)

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """The model's config and its other small files by path, before anything is fetched."""
        if isinstance(self.place, Path):
            config = self.place / CONFIG  # a pipeline's is among its companions
            return read_companions(self.place) | ({CONFIG: config.read_bytes()} if config.is_file() else {})
        repo, sha = self.place.repo, self.place.sha
        names = [file.path for file in self.place.candidate.wanted_files if file.path in (CONFIG, *COMPANION_FILES)]
        return {name: hub.read(repo, sha, name) for name in names}


@dataclass(frozen=True)
class ResolvedModel:
    """A model before its weights are read.

    written: its name in the recipe.
    tokenizer: the meaning of its tokenizer.json; None without one.
    adapter: files of the adapter whose changes are added to it; None without one.
    """

    written: ModelId
    files: ModelFiles
    stored_model: StoredModel
    tokenizer: TokenizerDigests | None
    adapter: ModelFiles | None = None

    @property
    def id(self) -> ModelId:
        """The model with its adapter; random draws are keyed by it."""
        return replace(self.files.id, adapter=self.adapter.id if self.adapter else None)

    @property
    def parts(self) -> tuple[ModelFiles, ...]:
        """The model's files, and its adapter's."""
        return (self.files, self.adapter) if self.adapter else (self.files,)

    @property
    def remotes(self) -> tuple[RemoteWeights, ...]:
        """The repos among them."""
        return tuple(part.remote for part in self.parts if part.remote)

    @property
    def headers(self) -> dict[str, TensorHeader]:
        """The headers of its tensors, by the names in its files."""
        return {header.name: header for header in self.stored_model.stored.values()}

    @property
    def changed_components(self) -> frozenset[str] | None:
        """Components whose weights are not as in its files, by folder; None of what is only a part of a pipeline."""
        return frozenset()

    @property
    def renamed_tensor(self) -> str | None:
        """The first tensor in its files for which merges have another name; None if there is none."""
        from merging.sources.checkpoint import Checkpoint

        place = self.files.place
        stored = Checkpoint.open(place).names if isinstance(place, Path) else place.headers
        return min(set(stored) - self.headers.keys(), default=None)

    @property
    def stored_bytes(self) -> int:
        """Bytes of its tensors as they are stored."""
        stored = self.stored_model.stored.values()
        return sum(math.prod(header.shape) * BITS[header.dtype] for header in stored) // 8

    def read_companions(self, sources: Path) -> dict[str, bytes]:
        """The files that belong to its weights and config, by name, once they are fetched."""
        return read_companions(self.files.folder(sources))

    def read_small_files(self, hub: Hub) -> dict[str, bytes]:
        """Those files and config.json, before anything is fetched."""
        return self.files.read_small_files(hub)

    def stored_names(self, sources: Path) -> dict[str, str]:
        """Name of each tensor in its files → the name that merges have for it, once they are fetched."""
        from merging.sources.renamed import open_model

        weights = open_model(self.files.folder(sources))
        return {weights.stored_name(name): name for name in weights.names}

    def open_weights(self, sources: Path) -> Weights:
        """Its weights, once they are fetched; MergingError for what headers alone could not show."""
        from merging.models.stored_model import read_stored_model
        from merging.sources.renamed import open_model

        folders = {part.id: part.folder(sources) for part in self.parts}
        if self.files.remote:
            # Only now can the copies of a tied weight that is stored twice be compared.
            read_stored_model(open_model(folders[self.files.id]))
        return open_weights(self.id, folders)


class Resolver:
    """Finds models by their identities; each page of the Hub is read once, so that a branch means one commit."""

    def __init__(self, hub: Hub, relative_to: Path, *, convert_pickles: bool = False) -> None:
        """relative_to: folder of the file that names the models; relative folders are also looked for there.

        convert_pickles: whether repos whose weights are pickled are taken, to be converted.
        """
        self.hub = hub
        self._convert_pickles = convert_pickles
        self._relative_to = relative_to
        self.find_repo = cache(self._query)

    def identify(self, model: ModelId) -> ModelId:
        """The canonical identity, equal for all spellings: the real absolute path or repo@commit, with the adapter.

        Raises:
            Unfit: there is no such model.
            ShoalError: the Hub cannot be asked.
        """
        place = self.find_place(model)
        if place:
            found = ModelId(str(place.resolve()), model.revision)
        else:
            candidate = self.find_repo(model.location, model.revision)
            found = ModelId(candidate.repo, candidate.sha, file=model.file)
        return replace(found, adapter=self.identify(model.adapter) if model.adapter else None)

    def find_spellings(self, models: Iterable[ModelId]) -> dict[ModelId, ModelId]:
        """Models that are written in several ways: each later spelling → the first one."""
        first: dict[ModelId, ModelId] = {}
        found: dict[ModelId, ModelId] = {}
        for model in models:
            try:
                identity = self.identify(model)
            except Unfit:
                continue  # `resolve` says why
            except ShoalError:
                break  # the Hub is down: every other repo would only time out too
            if (one := first.setdefault(identity, model)) != model:
                found[model] = one
        return found

    def resolve(self, model: ModelId) -> ResolvedModel:
        """Read a model, and the adapter on top of it, as far as that needs no weights.

        Raises:
            Unfit: one of them cannot be merged.
            ShoalError: the Hub cannot be asked.
        """
        place = self.find_place(model)
        found = _read_folder(model, place) if place else self._read_repo(model)
        if model.adapter is None:
            return found
        where = self.find_place(model.adapter)
        if where:
            return replace(found, adapter=_read_adapter_folder(model.adapter, where, found))
        return replace(found, adapter=self._read_adapter_repo(model.adapter, found))

    def find_place(self, model: ModelId) -> Path | None:
        """The folder or file that a name means, from here or from where the recipe is; None for a repo of the Hub.

        Unfit for one that is not there.
        """
        given = Path(model.location).expanduser()
        places = (given, self._relative_to / given)
        found = next((place for place in places if place.is_dir() or _is_weights_file(place)), None)
        if found is None and (model.location.startswith(_FOLDER_STARTS) or model.location.count("/") != 1):
            raise Unfit("there is no such folder here; check the path, or write a Hub repo as org/name")
        if found is not None and model.revision:
            raise Unfit("a folder has no revisions; leave @… out")
        if found is not None and model.file and not (found / model.file).is_file():
            raise Unfit(f"there is no {model.file} in this folder; check the name")
        return found / model.file if found is not None and model.file else found

    def _query(self, repo: str, revision: str | None) -> Candidate:
        try:
            candidate = query_source(self.hub, repo, revision)
            # A commit that is written is meant: the Hub's conversion would be at another one.
            if self._convert_pickles and not is_commit(revision):
                candidate = prefer_conversion(self.hub, candidate)
            return candidate
        except (HubNotFound, HubForbidden, HubRefused) as error:
            raise Unfit(str(error).removeprefix(f"{repo}: ")) from error
        except ValueError as error:  # the client's own check of a repo's name
            raise Unfit("neither a folder here nor a repo's name; check it") from error

    def _read_repo(self, model: ModelId) -> ResolvedModel:
        from merging.models.stored_model import stored_model_from_headers

        member = self.inspect(model)
        try:
            config = parse_json_object(CONFIG, self.hub.read(member.repo, member.sha, CONFIG))
            stored_model = stored_model_from_headers(member.repo, config, member.headers)
        except MergingError as error:
            raise Unfit(plain(str(error))) from error
        return ResolvedModel(model, ModelFiles(member.ref, *member.remotes), stored_model, member.tokenizer)

    def check_pickles(self, candidate: Candidate) -> None:
        """Raise Unfit for a repo whose weights are pickled, unless these are taken."""
        if candidate.is_pickled and not self._convert_pickles:
            remedy = "add --convert-pickles to have them converted, or name another model"
            raise Unfit(f"its weights are pickled, without safetensors; {remedy}")

    def _read_adapter_repo(self, adapter: ModelId, base: ResolvedModel) -> ModelFiles:
        from merging.sources.adapter_plan import plan_adapter
        from merging.sources.header_names import name_adapter_headers

        try:
            candidate = self.find_repo(adapter.location, adapter.revision)
            self.check_pickles(candidate)
            if not (candidate.is_adapter and candidate.weight_files):
                lacking = ADAPTER_WEIGHTS if candidate.is_adapter else ADAPTER_CONFIG
                raise Unfit(f"{adapter} has no {lacking}; name an adapter saved by peft in safetensors")
            stored = read_adapter_headers(self.hub, candidate)
            headers = name_adapter_headers(base.stored_model.config, stored, str(base.written))
            content = self.hub.read(candidate.repo, candidate.sha, ADAPTER_CONFIG)
            settings = parse_json_object(f"{adapter}: {ADAPTER_CONFIG}", content)
            plan_adapter(str(adapter), settings, headers, base.headers)
        except (Unfit, HubNotFound, HubForbidden, HubRefused, MergingError) as error:
            raise Unfit(f"its adapter: {plain(str(error))}") from error
        remote = RemoteWeights(candidate, stored)
        return ModelFiles(remote.ref, remote)

    def find_weights(self, model: ModelId) -> tuple[RemoteWeights, ...]:
        """The repos of a model of any kind that is on the Hub: its own, or its base's, then its adapter's.

        Raises as `resolve`.
        """
        candidate = self.find_repo(model.location, model.revision)
        if model.adapter is None:
            part = choose_part(candidate, model.file)
            return (read_part(self.hub, part),) if part else self.inspect(model).remotes
        if candidate.is_pipeline:
            base = self.inspect(model)
            try:
                return (*base.remotes, self.read_lora(model.adapter, base.config, base.headers))
            except Unfit as error:
                raise Unfit(f"its adapter: {error}") from error
        return self.resolve(model).remotes

    def read_lora(
        self, adapter: ModelId, config: Mapping[str, object], headers: Mapping[str, TensorHeader]
    ) -> RemoteWeights:
        """A LoRA on the Hub that is added to a pipeline with this config and these headers; raises as `resolve`."""
        candidate = choose_lora(self.find_repo(adapter.location, adapter.revision), adapter.file)
        return inspect_lora(self.hub, candidate, config, headers)[0]

    def inspect(self, model: ModelId) -> Member:
        """Read a model of any kind that is on the Hub; raises as `resolve`."""
        candidate = self.find_repo(model.location, model.revision)
        if reason := form_refusal(candidate):
            raise Unfit(f"{reason}; name another model")
        self.check_pickles(candidate)
        return inspect_candidate(self.hub, candidate)


def _is_weights_file(path: Path) -> bool:
    return path.suffix in _WEIGHTS_ENDINGS and path.is_file()


def _read_folder(model: ModelId, folder: Path) -> ResolvedModel:
    from merging.models.stored_model import read_stored_model
    from merging.sources.renamed import open_model

    if not folder.is_dir():
        raise Unfit("it is a file; name a folder")
    if (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file():
        raise Unfit("it is an adapter, not a whole model; write it after its base as base+adapter")
    try:
        check_config(read_json_object(folder / CONFIG))
        if not list(folder.glob("model*.safetensors")) and any(list(folder.glob(kind)) for kind in _PICKLES):
            raise Unfit("its weights are pickled, without safetensors; save it again with save_pretrained")
        stored_model = read_stored_model(open_model(folder))
        path = folder / TOKENIZER
        tokenizer = digest_tokenizer(path.read_bytes()) if path.is_file() else None
    except MergingError as error:
        raise Unfit(str(error)) from error
    return ResolvedModel(model, ModelFiles(model.plain, folder), stored_model, tokenizer)


def _read_adapter_folder(adapter: ModelId, folder: Path, base: ResolvedModel) -> ModelFiles:
    from merging.models.stored_model import HeaderOnlyWeights
    from merging.sources.adapter import AdapterCheckpoint

    try:
        AdapterCheckpoint.open(HeaderOnlyWeights(str(adapter), base.headers, base.stored_model.config), folder)
    except MergingError as error:
        raise Unfit(f"its adapter: {error}") from error
    return ModelFiles(adapter, folder)
