"""One merge from its YAML to a folder: read, find, plan, fetch, write. Also what came of it, as values."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import Damaged, fetch_member
from bot.lock import hold
from bot.merge_command.documents import documents
from bot.merge_command.preparation import MergePlan, prepare
from bot.merge_command.recipe_file import read_recipe_file
from bot.progress import Advance, Narrator
from merging.mergekit.config import ModelName
from merging.writing.release import MAX_SHARD_BYTES, Contents, config_text, with_documents, write_folder


@dataclass(frozen=True)
class Merged:
    """files: what was written, file name → SHA-256 (hex); none where the merge was only planned."""

    plan: MergePlan
    target: Path
    files: dict[str, str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        plan = self.plan
        return {
            "folder": str(self.target),
            "written": bool(self.files),
            "method": plan.config.method,
            "stages": [{"name": one.stage.name, "method": one.assembly.method} for one in plan.stages[:-1]],
            "models": [
                {
                    "name": str(name),
                    "repo": origin.repo,
                    "sha": origin.member.sha if origin.member else None,
                    "folder": str(origin.folder) if origin.folder else None,
                    "adapter": origin.adapter.pinned if origin.adapter else None,
                }
                for name, origin in plan.origins.items()
            ],
            "dtype": plan.assembly.dtype,
            "layers": plan.layers,
            "tensors": len(plan.assembly.tasks),
            "parameters": plan.parameters,
            "bytes": plan.bytes,
            "bytes_read": plan.bytes_read,
            "download_bytes": plan.download_bytes,
            "remarks": list(plan.remarks),
            "files": self.files,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class Merger:
    """How merges are done.

    max_shard_bytes: weights beyond this go to several files. seed: of methods that draw random numbers.
    threads: of the processor; None leaves that to torch.
    """

    home: Home
    hub: Hub
    narrator: Narrator
    max_shard_bytes: int = MAX_SHARD_BYTES
    seed: int = 0
    threads: int | None = None

    def check(self, recipe: Path, target: Path) -> Merged:
        """Read and plan everything, and touch nothing.

        Raises:
            ShoalError: all that stands in the way, a line each.
        """
        start = time.monotonic()
        return Merged(self._plan(recipe, target), target, {}, time.monotonic() - start)

    def merge(self, recipe: Path, target: Path) -> Merged:
        """Write the merge into the new folder `target`, whole or not at all.

        Raises:
            ShoalError, MergingError: what stands in the way; what was fetched stays for the next time.
        """
        start = time.monotonic()
        plan = self._plan(recipe, target)
        folders = self._fetch(plan)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        with self.narrator.bar("merging", plan.bytes, in_bytes=True) as advance:
            contents = self._contents(plan, folders, target.name, advance)
            hashes = write_folder(target, contents, max_shard_bytes=self.max_shard_bytes)
        return Merged(plan, target, hashes, time.monotonic() - start)

    def _plan(self, recipe: Path, target: Path) -> MergePlan:
        with self.narrator.bar("looking", None) as advance:
            return prepare(read_recipe_file(recipe), target, self.home, self.hub, lambda words: advance(0, words))

    def _contents(self, plan: MergePlan, folders: Mapping[ModelName, Path], name: str, advance: Advance) -> Contents:
        """What the folder will hold. name: of the merge. advance: told the bytes of each tensor that is made."""
        make = plan.result.maker(self.home.sources, self.seed)

        def make_and_tell(tensor_name: str, memory: Tensor) -> Tensor:
            tensor = make(tensor_name, memory)
            advance(tensor.nbytes, tensor_name)
            return tensor

        files = plan.result.companions(self.home.sources)
        files["config.json"] = config_text(plan.assembly.config)
        everything = with_documents(files, documents(plan, folders, name, self.hub.endpoint))
        return Contents(plan.assembly.shapes, plan.assembly.dtype, make_and_tell, everything)

    def _fetch(self, plan: MergePlan) -> dict[ModelName, Path]:
        """Every model's folder, after fetching and checking those that are not here yet."""
        with ExitStack() as stack:
            if plan.missing:
                stack.enter_context(hold(self.home))
            advance = stack.enter_context(self.narrator.bar("fetching", plan.download_bytes, in_bytes=True))
            for member in plan.missing:
                try:
                    fetch_member(self.hub, member, self.home.sources, lambda repo, count: advance(count, repo))
                except Damaged as error:
                    raise ShoalError(f"{member.repo}@{member.sha}: damaged: {error}; name another model") from error
        return {name: origin.lies_in(self.home.sources) for name, origin in plan.origins.items()}
