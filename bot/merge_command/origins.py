"""Finding the models that a merge names: folders on this machine, and repos of the Hub at a commit.

A repo is looked at as far as that goes without its weights: what cannot be merged is refused before the download.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bot.hub.client import Hub, HubForbidden, HubNotFound, HubRefused
from bot.hub.discovery import look
from bot.hub.download import place
from bot.hub.inspection import BYTES, Member, Unfit, check_config, inspect
from bot.hub.rules import unmergeable
from bot.merge_command.adapters import AdapterOrigin, find_adapter_folder, find_adapter_repo
from merging.errors import MergingError
from merging.mergekit.config import ModelName
from merging.sources.family import TensorHeader
from merging.tokenizers.comparison import Tokenizer, read_tokenizer
from merging.tokenizers.source_tokenizer import CONFIG
from merging.writing.companions import COMPANIONS, companion_files
from templates.escaping import plain

if TYPE_CHECKING:
    from merging.models.stored_model import StoredModel
    from merging.sources.weights import Weights

_PICKLES = ("*.bin", "*.pt", "*.pth")
_ELSEWHERE = ("/", "~", ".")
"""How the name of a folder begins that is no repo's name."""


@dataclass(frozen=True)
class Origin:
    """A model that a merge names, before its weights are read.

    name: as the file has it. folder: where it lies, None while it is on the Hub alone. member: the repo, None for
    a folder. tokenizer: what its tokenizer.json means, if it has one. adapter: what is put on top of it, if anything.
    """

    name: ModelName
    folder: Path | None
    member: Member | None
    stored_model: StoredModel
    tokenizer: Tokenizer | None
    adapter: AdapterOrigin | None = None

    @property
    def plain(self) -> str:
        """The model without its adapter: repo@sha, or the folder as it was given."""
        return str(self.member.ref) if self.member else str(self.name.plain)

    @property
    def pinned(self) -> str:
        """What draws are keyed by: the model, and its adapter if it has one."""
        return f"{self.plain}+{self.adapter.pinned}" if self.adapter else self.plain

    @property
    def members(self) -> tuple[Member, ...]:
        """The repos of the Hub that it is made of."""
        found = (self.member, self.adapter.member if self.adapter else None)
        return tuple(member for member in found if member is not None)

    @property
    def headers(self) -> dict[str, TensorHeader]:
        """Of its tensors, by the names that they have in its files."""
        return {header.name: header for header in self.stored_model.stored.values()}

    def open_weights(self, sources: Path) -> Weights:
        """Its weights, all of them here by now; MergingError for what headers alone could not tell."""
        from merging.models.stored_model import read_stored_model
        from merging.sources.adapter import AdapterCheckpoint
        from merging.sources.checkpoint import Checkpoint

        model = Checkpoint.open(self.lies_in(sources))
        if self.folder is None:
            read_stored_model(model)  # a tied weight that is stored twice counted as equal until its values were here
        return AdapterCheckpoint.open(model, self.adapter.lies_in(sources)) if self.adapter else model

    def lies_in(self, sources: Path) -> Path:
        """Its folder; a repo's is below `sources`, once it is fetched."""
        if self.folder is None and self.member is not None:
            return place(sources, self.member.ref)
        assert self.folder is not None
        return self.folder

    def companions(self, sources: Path) -> dict[str, bytes]:
        """The files beside its weights and its config, here by now."""
        return companion_files(self.lies_in(sources))

    def small_files(self, hub: Hub) -> dict[str, bytes]:
        """The same and config.json, wherever it lies."""
        if self.folder is not None:
            return companion_files(self.folder) | {CONFIG: (self.folder / CONFIG).read_bytes()}
        assert self.member is not None
        names = [file.path for file in self.member.candidate.wanted_files if file.path in (CONFIG, *COMPANIONS)]
        return {name: hub.read(self.member.repo, self.member.sha, name) for name in names}

    @property
    def bytes(self) -> int:
        """Bytes of its tensors as they are stored; all of what can be merged is wider than a byte."""
        stored = self.stored_model.stored.values()
        return sum(math.prod(header.shape) * BYTES[header.dtype] for header in stored)

    @property
    def repo(self) -> str | None:
        """The repo on the Hub, None for a folder."""
        return self.member.repo if self.member else None


def find(name: ModelName, beside: Path, hub: Hub) -> Origin:
    """A model and the adapter on top of it.

    beside: the folder of the file that names them.

    Raises:
        Unfit: one of them cannot be merged, in words.
        ShoalError: the Hub cannot be asked.
    """
    folder = folder_of(name, beside)
    found = find_folder(name, folder) if folder else find_repo(name, hub)
    if name.adapter is None:
        return found
    where = folder_of(name.adapter, beside)
    if where:
        return replace(found, adapter=find_adapter_folder(name.adapter, where, found.headers))
    return replace(found, adapter=find_adapter_repo(name.adapter, hub, found.headers))


def folder_of(name: ModelName, beside: Path) -> Path | None:
    """The folder that a name means: as seen from here, else from where the file lies; None for a Hub repo."""
    given = Path(name.path).expanduser()
    found = next((folder for folder in (given, beside / given) if folder.is_dir()), None)
    if found or not (name.path.startswith(_ELSEWHERE) or name.path.count("/") != 1):
        return found
    raise Unfit("there is no such folder here; check the path, or write a Hub repo as org/name")


def find_folder(name: ModelName, folder: Path) -> Origin:
    """A model in a folder.

    Raises:
        Unfit: it cannot be merged, in words.
    """
    from merging.models.stored_model import read_config_json, read_stored_model
    from merging.sources.checkpoint import Checkpoint

    if name.revision:
        raise Unfit("a folder has no revisions; leave @… out")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise Unfit("it is an adapter, not a whole model; write it behind its base as base+adapter")
    try:
        check_config(read_config_json(folder))
        if not list(folder.glob("model*.safetensors")) and any(list(folder.glob(kind)) for kind in _PICKLES):
            raise Unfit("its weights are pickled, without safetensors; save it again with save_pretrained")
        stored_model = read_stored_model(Checkpoint.open(folder))
        words = folder / "tokenizer.json"
        tokenizer = read_tokenizer(words.read_bytes()) if words.is_file() else None
    except (MergingError, ValueError) as error:
        raise Unfit(str(error)) from error
    return Origin(name, folder, None, stored_model, tokenizer)


def find_repo(name: ModelName, hub: Hub) -> Origin:
    """A model on the Hub, at the commit that its revision means now.

    Raises:
        Unfit: it is not there, or cannot be merged, in words.
        ShoalError: the Hub cannot be asked.
    """
    from merging.models.stored_model import stored_model_from_headers

    try:
        candidate = look(hub, name.path, name.revision)
    except (HubNotFound, HubForbidden, HubRefused) as error:
        raise Unfit(str(error).removeprefix(f"{name.path}: ")) from error
    except ValueError as error:  # the client's own check of a repo's name
        raise Unfit("neither a folder here nor a repo's name; check it") from error
    if reason := unmergeable(candidate):
        raise Unfit(f"{reason}; name another model")
    member = inspect(hub, candidate)
    try:
        config = json.loads(hub.read(member.repo, member.sha, "config.json"))
        stored_model = stored_model_from_headers(member.repo, config, member.headers)
    except (MergingError, ValueError) as error:
        raise Unfit(plain(str(error))) from error
    return Origin(name, None, member, stored_model, member.tokenizer)
