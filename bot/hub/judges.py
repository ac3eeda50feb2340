"""The models that judge pictures: looked up at their commits before a search, and fetched beside the sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused, TransferFailed
from bot.hub.client import Hub
from bot.hub.discovery.candidate import SINGLE, Candidate
from bot.hub.discovery.query import query_model
from bot.hub.discovery.rules import custom_code, oversized, unsafe
from bot.hub.download import Damaged, fetch_repo
from bot.hub.inspection.member import RemoteWeights, Unfit
from bot.hub.inspection.reading import check_config, check_measured, read_model_headers, read_remote_json
from bot.hub.resolver import source_folder
from bot.watchlist.watchlist import Watchlist
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.suites import FIND_JUDGES
from merging.errors import MergingError
from templates.escaping import plain

_WEIGHTS = re.compile(r".*\.safetensors")
_SHARD = re.compile(r"model-[0-9]+-of-[0-9]+\.safetensors")
_RULES = (custom_code, oversized, unsafe)
"""Rules that hold for models that are only asked: no merge takes them in."""


@dataclass(frozen=True)
class JudgeModel:
    """A judge's model before it is fetched. repo: as task files name it."""

    STAGE: ClassVar[str] = "judges"
    """The name under which a cycle keeps its judges."""

    repo: JudgeRepo
    weights: RemoteWeights

    @property
    def download_bytes(self) -> int:
        """Bytes to fetch."""
        return self.weights.candidate.download_bytes

    @property
    def licence(self) -> str | None:
        """The licence that its card declares."""
        return self.weights.candidate.licence


def find_judges(hub: Hub, watchlist: Watchlist) -> tuple[JudgeModel, ...]:
    """Look up the models that judge a watchlist's tasks; no weights are read.

    ShoalError, which names the repo, for one that is gone, too large, or that cannot be used without its own code or
    without reading pickles; and if the Hub cannot be asked.
    """
    find = FIND_JUDGES.get(watchlist.kind)
    repos = find(watchlist.asked_skills, watchlist.task_paths) if find else ()
    return tuple(JudgeModel(repo, _inspect(hub, repo, watchlist.watch.max_bytes)) for repo in repos)


def judge_folders(judges: Sequence[JudgeModel], sources: Path) -> dict[JudgeRepo, Path]:
    """The folders of judges that are fetched. sources: the folder of all that is fetched."""
    return {judge.repo: source_folder(sources, judge.weights.ref) for judge in judges}


def fetch_judges(
    hub: Hub,
    judges: Sequence[JudgeModel],
    folder: Path,
    on_bytes: Callable[[str, int], None] = lambda _, __: None,
) -> Mapping[JudgeRepo, Path]:
    """Fetch and check judges as sources are, each once; their folders. ShoalError for one whose files are damaged."""
    for judge in judges:
        try:
            fetch_repo(hub, judge.weights, folder, on_bytes)
        except Damaged as error:
            raise _refusal(judge.repo, f"damaged: {error}") from error
    return judge_folders(judges, folder)


def _inspect(hub: Hub, repo: JudgeRepo, most_bytes: int) -> RemoteWeights:
    try:
        candidate = _without_other_weights(query_model(hub, repo.repo, repo.revision))
        reasons = (rule(candidate, None, None) for rule in _RULES)
        if reason := next((reason for reason in reasons if reason), None):
            raise Unfit(reason)
        if candidate.is_pickled:
            raise Unfit("its weights are pickled, without safetensors")
        if candidate.download_bytes > most_bytes:
            raise Unfit(f"its files are {candidate.download_bytes:,} bytes, more than watch.max_bytes ({most_bytes:,})")
        check_measured(candidate)
        config = read_remote_json(hub, candidate, "config.json")
        check_config(config)
        return RemoteWeights(candidate, read_model_headers(hub, candidate, config))
    except (Unfit, MergingError) as error:
        raise _refusal(repo, str(error)) from error
    except (HubNotFound, HubForbidden, HubRefused, TransferFailed) as error:
        raise _refusal(repo, str(error).removeprefix(f"{repo.repo}: ").partition(";")[0]) from error


def _without_other_weights(candidate: Candidate) -> Candidate:
    """A repo without weights of other variants beside the model's own."""
    single = candidate.file(SINGLE) is not None

    def is_own(path: str) -> bool:
        return path == SINGLE if single else _SHARD.fullmatch(path) is not None

    files = (file for file in candidate.files if not _WEIGHTS.fullmatch(file.path) or is_own(file.path))
    return replace(candidate, files=tuple(files))


def _refusal(repo: JudgeRepo, reason: str) -> ShoalError:
    return ShoalError(f"judge {repo}: {plain(reason)}; name another model in the task's file")
