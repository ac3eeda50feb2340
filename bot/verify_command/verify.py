"""Verifies a release: fetches it and its pinned sources, builds it again, and scores it again."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.judges import fetch_judges, find_judges
from bot.hub.resolver import open_sources
from bot.lock import hold_home
from bot.progress import Narrator
from bot.release.evidence import TASKS_FOLDER, WATCHLIST_FILE, Evidence, read_evidence, read_record
from bot.release.publish import PROVENANCE
from bot.scoring.evaluator import Failure, own_drawing
from bot.scoring.process_pool import ProcessPool
from bot.scoring.resources import Resources, inspect_machine
from bot.scoring.worker_spec import WorkerSpec
from bot.verify_command.fetch import fetch_release, fetch_sources, no_release
from bot.verify_command.verdicts import (
    CardScore,
    CheckOutcome,
    ReleaseCheck,
    Verification,
    compare_files,
    compare_scores,
    compare_tensors,
)
from bot.watchlist.values import ShortForm
from bot.watchlist.watchlist import Watchlist
from evaluation.eval_set import ItemResults
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.splits import Split, SplitSizes
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds.picture_size import with_picture_size
from merging.recipes.recipe import Recipe, read_recipe
from merging.writing.release import write_release


def parse_release(text: str) -> ModelId:
    """Read `owner/name` or `owner/name@revision`, before the Hub is asked for what may be a misspelt folder."""
    if re.fullmatch(ShortForm.pattern, text) is None:
        remedy = "write owner/name, owner/name@revision or a folder"
        raise ShoalError(f"RELEASE: got {text!r}: is neither a folder here nor a Hub repo; {remedy}")
    return ModelId.parse_plain(text)


@dataclass(frozen=True)
class Verifier:
    """Verifies releases.

    items: report items of each task to score again; None for all. trusted: whether the release's own tasks, which may
    hold code, may run. convert_pickles: whether sources with pickled weights are fetched and converted again.
    """

    hub: Hub
    home: Home
    narrator: Narrator
    items: int | None
    trusted: bool
    convert_pickles: bool = False

    def verify(self, release: str) -> Verification:
        """Verify a release: a folder, or `owner/name` with or without `@revision`.

        Raises:
            ShoalError, MergingError: there is no such release, it lacks its record, or the Hub cannot be asked.
        """
        self.home.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="verify-", dir=self.home.folder) as place:
            folder, sha = Path(release), None
            if not folder.is_dir():
                model = parse_release(release)
                folder = Path(place, "release")
                sha = fetch_release(self.hub, model.location, model.revision, folder, self.narrator)
            elif not (folder / PROVENANCE).is_file():
                raise no_release(release)
            weights = self._check_weights(folder, Path(place, "rebuilt"))
            return Verification(release, sha, (*weights, self.check_scores(folder)))

    def _check_weights(self, folder: Path, rebuilt: Path) -> tuple[ReleaseCheck, ReleaseCheck]:
        provenance = read_provenance(folder)
        recipe, config_source = provenance.recipe, provenance.config_source
        folders, problem = fetch_sources(
            self.hub,
            self.home,
            {*recipe.origins, config_source},
            self.narrator,
            convert_pickles=self.convert_pickles,
        )
        if problem is not None:
            return ReleaseCheck("bytes", CheckOutcome.UNCHECKED, problem), ReleaseCheck(
                "tensors", CheckOutcome.UNCHECKED, problem
            )
        with self.narrator.bar("building it again", None):
            weights = open_sources(recipe.origins, folders, folders[config_source])
            with with_picture_size(folders[config_source], provenance.picture_size) as settings:
                write_release(recipe, weights, rebuilt, {}, config_source=settings)
        with self.narrator.bar("comparing", None):
            return compare_files(folder, rebuilt), compare_tensors(folder, rebuilt)

    def check_scores(self, folder: Path) -> ReleaseCheck:
        """Score a release's folder again; the verdict says why not, where its own evidence does not allow it."""
        try:
            evidence = read_evidence(folder)
        except ShoalError as error:
            return ReleaseCheck("scores", CheckOutcome.UNCHECKED, str(error))
        if reason := self._refuse_tasks(folder, evidence.watchlist):
            return ReleaseCheck("scores", CheckOutcome.UNCHECKED, reason)
        card = read_card_scores(folder)
        try:
            judges = self._fetch_judges(evidence.watchlist)
        except ShoalError as error:
            return ReleaseCheck("scores", CheckOutcome.UNCHECKED, str(error).partition(";")[0])
        with self.narrator.bar("scoring it again", None):
            measured = self._score(folder, evidence, judges)
        if isinstance(measured, Failure):
            return ReleaseCheck("scores", CheckOutcome.UNCHECKED, f"it could not be scored: {measured.reason}")
        return compare_scores(evidence.items, measured.scores, card, all_items=self.items is None)

    def _refuse_tasks(self, folder: Path, watchlist: Watchlist) -> str | None:
        """Why the release's tasks may not run here; None if they may: it brings none, or it is trusted."""
        if not watchlist.task_folders:
            return None
        own = (folder / TASKS_FOLDER).resolve()
        if not all(path.resolve().is_relative_to(own) for path in watchlist.task_paths):
            return f"{WATCHLIST_FILE}: task_folders: must be in {TASKS_FOLDER}"
        if self.trusted:
            return None
        code = "which may run any code; read them, then add --trust-remote-code"
        return f"the release brings tasks of its own ({TASKS_FOLDER}/), {code}"

    def _fetch_judges(self, watchlist: Watchlist) -> Mapping[JudgeRepo, Path]:
        judges = find_judges(self.hub, watchlist)
        if not judges:
            return {}
        size = sum(judge.download_bytes for judge in judges)
        with hold_home(self.home), self.narrator.bar("fetching the judges", size, in_bytes=True) as advance:
            return fetch_judges(self.hub, judges, self.home.sources, lambda repo, count: advance(count, repo))

    def _score(self, folder: Path, evidence: Evidence, judges: Mapping[JudgeRepo, Path]) -> ItemResults | Failure:
        watchlist, itself = evidence.watchlist, ModelId(str(folder))
        most = watchlist.items.report
        limit = most if self.items is None else min(self.items, most or self.items)
        stated = evidence.items
        machine = inspect_machine(stated.device)
        device = stated.device if machine.cuda_devices else "cpu"
        spec = WorkerSpec(
            kind=watchlist.kind,
            sources=(itself,),
            checkpoints=((itself, folder),),
            config_source=itself,
            dtype=watchlist.search.dtype,
            skills=watchlist.asked_skills,
            task_folders=watchlist.task_paths,
            sizes=SplitSizes(watchlist.items.search, watchlist.items.validation, limit),
            seed=watchlist.search.seed,
            resources=Resources(1, machine.cores, device, stated.batch_size),
            judges=tuple(judges.items()),
        )
        with ProcessPool(spec) as workers:
            return workers.evaluate_folder(folder, Split.REPORT, own_drawing(read_provenance(folder).recipe))


@dataclass(frozen=True)
class Provenance:
    """What a release's record says of its making.

    config_source: the model whose config, tokenizer and processor it has. picture_size: size to which that processor
    scales pictures; None for its own.
    """

    recipe: Recipe
    config_source: ModelId
    picture_size: int | None = None


def read_provenance(folder: Path) -> Provenance:
    """The record of a release; ShoalError if it has no recipe or no config_source."""
    record = read_record(folder / PROVENANCE)
    data, source = record.get("recipe"), record.get("config_source")
    if not isinstance(data, dict) or not isinstance(source, dict):
        raise ShoalError(f"{PROVENANCE}: has no recipe or no config_source; an older shoal wrote it, or none did")
    try:
        recipe = read_recipe(data)
        config_source = ModelId.from_json(source)
    except (MergingError, KeyError, TypeError, ValueError) as error:
        raise ShoalError(f"{PROVENANCE}: its recipe cannot be read: {error}") from error
    if recipe.digest != record.get("recipe_digest"):
        raise ShoalError(f"{PROVENANCE}: recipe_digest is not that of its recipe ({recipe.digest[:12]}…)")
    size = record.get("picture_size")
    if size is not None and type(size) is not int:
        raise ShoalError(f"{PROVENANCE}: picture_size: got {str(size)[:60]!r}: is no number of pixels")
    return Provenance(recipe, config_source, size)


def read_card_scores(folder: Path) -> tuple[CardScore, ...]:
    """The results in the metadata of a release's card; none if it has none that can be read."""
    from huggingface_hub import ModelCard, ModelCardData
    from yaml import YAMLError

    try:
        data = ModelCard((folder / "README.md").read_text(encoding="utf-8")).data
        results = (data.eval_results if isinstance(data, ModelCardData) else None) or []
        return tuple(CardScore(one.dataset_type, one.metric_type, float(one.metric_value)) for one in results)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, YAMLError, RecursionError):
        return ()
