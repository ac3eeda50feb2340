"""One merge from its YAML to a folder: read, resolve, plan, fetch, write."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.download import Damaged, fetch_repo
from bot.hub.resolver import Resolver
from bot.lock import hold_home
from bot.merge_command.documents import render_documents
from bot.merge_command.plan import MergePlan, plan_merge
from bot.merge_command.planned import Writing
from bot.merge_command.recipe_file import read_recipe_file
from bot.progress import Narrator
from merging.identity import ModelId
from merging.writing.release import MAX_SHARD_BYTES


@dataclass(frozen=True)
class Merged:
    """A merge that was written, or only planned.

    files: the files that were written, name → SHA-256 (hex); empty if it was only planned.
    seconds: duration in seconds.
    """

    plan: MergePlan
    target: Path
    files: dict[str, str]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """The command's --json output."""
        plan = self.plan
        return {
            "folder": str(self.target),
            "written": bool(self.files),
            "method": plan.config.method,
            "stages": [{"name": one.stage.name, "method": one.assembly.method} for one in plan.stages[:-1]],
            "models": [
                {
                    "name": str(name),
                    "repo": source.files.remote.repo if source.files.remote else None,
                    "sha": source.files.remote.sha if source.files.remote else None,
                    "folder": str(source.files.place) if isinstance(source.files.place, Path) else None,
                    "adapter": str(source.adapter.id) if source.adapter else None,
                }
                for name, source in plan.sources.items()
            ],
            "dtype": plan.assembly.dtype,
            "layers": plan.result.layers,
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
    """Plans and writes merges.

    max_shard_bytes: largest size of a weight file; larger merges are split into several files.
    seed: seed of the methods that draw random numbers.
    threads: number of processor threads; None leaves it to torch. remarks: what a person should know besides.
    convert_pickles: whether repos whose weights are pickled are taken, to be converted.
    """

    home: Home
    hub: Hub
    narrator: Narrator
    max_shard_bytes: int = MAX_SHARD_BYTES
    seed: int = 0
    threads: int | None = None
    remarks: tuple[str, ...] = ()
    convert_pickles: bool = False

    def check(self, recipe: Path, target: Path) -> Merged:
        """Read and plan everything, and write nothing.

        Raises:
            ShoalError: everything that prevents the merge, a line each.
        """
        start = time.monotonic()
        return Merged(self._plan(recipe, target), target, {}, time.monotonic() - start)

    def merge(self, recipe: Path, target: Path) -> Merged:
        """Write the merge into the new folder `target`, whole or not at all.

        Raises:
            ShoalError, MergingError: what prevents the merge; fetched files stay for the next run.
        """
        start = time.monotonic()
        plan = self._plan(recipe, target)
        folders = self._fetch(plan)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        documents = render_documents(plan, folders, target.name, self.hub.endpoint)
        with self.narrator.bar("merging", plan.result.made_bytes, in_bytes=True) as advance:
            how = Writing(self.home.sources, self.seed, self.max_shard_bytes, advance)
            hashes = plan.result.write(target, documents, how)
        return Merged(plan, target, hashes, time.monotonic() - start)

    def _plan(self, recipe: Path, target: Path) -> MergePlan:
        resolver = Resolver(self.hub, recipe.parent, convert_pickles=self.convert_pickles)
        with self.narrator.bar("looking", None) as advance:
            read = read_recipe_file(recipe, resolver)
            plan = plan_merge(read, target, self.home, resolver, lambda words: advance(0, words))
        return replace(plan, remarks=(*self.remarks, *plan.remarks))

    def _fetch(self, plan: MergePlan) -> dict[ModelId, Path]:
        """The folder of every source, after those that are missing are fetched and checked."""
        with ExitStack() as stack:
            if plan.missing:
                stack.enter_context(hold_home(self.home))
            advance = stack.enter_context(self.narrator.bar("fetching", plan.download_bytes, in_bytes=True))
            for member in plan.missing:
                try:
                    report = lambda repo, count: advance(count, repo)  # noqa: E731
                    fetch_repo(self.hub, member, self.home.sources, report, self.narrator.say)
                except Damaged as error:
                    what = f"{member.repo}@{member.sha}: {error.finding}"
                    raise ShoalError(f"{what}: {error}; name another model") from error
        return {name: source.files.folder(self.home.sources) for name, source in plan.sources.items()}
