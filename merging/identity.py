"""The identity of a model: where it is, at which commit, with which adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from merging.errors import MergingError

_FILE_ENDING = ".safetensors"


@dataclass(frozen=True)
class ModelId:
    """One model, on the Hub or in a folder. Random draws of merges are keyed by its `str`.

    location: a Hub repo (owner/name) or a folder.
    revision: a commit; a branch or tag until it is resolved; None for a folder, or where the default branch is meant.
    adapter: the LoRA adapter whose weights are added to the model's, or None.
    file: the one of its files that is meant, of a repo or folder with several adapters, in safetensors; None elsewhere.
    """

    location: str
    revision: str | None = None
    adapter: ModelId | None = None
    file: str | None = None

    def __str__(self) -> str:
        plain = f"{self.location}@{self.revision}" if self.revision else self.location
        plain = f"{plain}:{self.file}" if self.file else plain
        return f"{plain}+{self.adapter}" if self.adapter else plain

    @property
    def plain(self) -> ModelId:
        """The model without its adapter."""
        return replace(self, adapter=None)

    @property
    def parts(self) -> tuple[ModelId, ...]:
        """The model without its adapter, then the adapter if it has one."""
        return (self.plain, self.adapter) if self.adapter else (self,)

    @property
    def name(self) -> str:
        """The location by which one speaks of it: its adapter's, if it has one, as adapters share their base."""
        return self.parts[-1].location

    @classmethod
    def parse(cls, text: str) -> ModelId:
        """Read `location`, `location@revision` or either with `+` and an adapter, as `str` writes them.

        Raises:
            MergingError: anything else.
        """
        plain, *adapters = (cls.parse_plain(part) for part in text.split("+"))
        if len(adapters) > 1:
            raise MergingError(f"model: got {text[:120]!r}: only one adapter can be added to a model")
        return replace(plain, adapter=adapters[0] if adapters else None)

    @classmethod
    def parse_plain(cls, text: str) -> ModelId:
        """Read `location` or `location@revision`, either with `:` and a file; MergingError for anything else.

        A `+` belongs to the location.
        """
        named, file = text.strip(), None
        if named.endswith(_FILE_ENDING):
            named, colon, found = named.rpartition(":")
            named, file = (named, found) if colon else (found, None)
        location, at, revision = named.partition("@")
        if not location or "@" in revision or bool(at) != bool(revision):
            raise MergingError(f"model: got {text[:120]!r}: write org/name, org/name@revision or a folder")
        return cls(location, revision or None, file=file)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; from_json reads them back to an equal identity."""
        adapter = {"adapter": self.adapter.to_json()} if self.adapter else {}
        file = {"file": self.file} if self.file else {}
        return {"repo": self.location, "sha": self.revision, **adapter, **file}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> ModelId:
        """Read what to_json wrote; MergingError for anything else."""
        location, revision, adapter = data.get("repo"), data.get("sha"), data.get("adapter")
        file = data.get("file")
        if not isinstance(location, str) or not isinstance(revision, str | None) or not isinstance(file, str | None):
            raise MergingError(f"model: got {str(data)[:120]}: a repo and a sha are needed")
        if adapter is None:
            return cls(location, revision, file=file)
        if not isinstance(adapter, Mapping):
            raise MergingError(f"model: got {str(adapter)[:120]} as an adapter: a repo and a sha are needed")
        return cls(location, revision, cls.from_json(adapter), file)
