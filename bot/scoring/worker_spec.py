"""The specification that a worker gets before it scores anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from bot.scoring.resources import Resources
from evaluation.pictures.judges.judge import JudgeRepo
from evaluation.skills import Skill
from evaluation.splits import SplitSizes
from merging.identity import ModelId


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs to score candidates; small, because each process receives a copy.

    kind: name of the kind of model that candidates are.
    sources: every model that candidates may read.
    checkpoints: folder of every repo that they are made of, complete and verified; and of the config source's config
        and tokenizer.
    config_source: the source whose config and tokenizer the candidates use.
    vocabulary: folder of the config, the tokenizer and the rows that candidates have instead, as `keep_aligned` writes
        it; None where all sources have the same vocabulary.
    judges: folder of the files of each repo with a model that judges.
    picture_size: size to which their processor scales pictures; None for its own.
    template: folder whose chat template is used where their own tokenizer has none; None for no other.
    dtype: dtype of the candidates.
    seed: seed of the splits.
    rounds: number of rounds that each evaluation set is divided into, for candidates that may stop early.
    search_share: share of each task's search items that is asked, the first ones; an audition asks only a part.
    """

    kind: str
    sources: tuple[ModelId, ...]
    checkpoints: tuple[tuple[ModelId, Path], ...]
    config_source: ModelId
    dtype: str
    skills: tuple[Skill, ...]
    task_folders: tuple[Path, ...]
    sizes: SplitSizes
    seed: int
    resources: Resources
    rounds: int = 1
    search_share: float = 1.0
    vocabulary: Path | None = None
    template: Path | None = None
    judges: tuple[tuple[JudgeRepo, Path], ...] = ()
    picture_size: int | None = None

    def alone(self, model: ModelId) -> WorkerSpec:
        """The specification of one worker that scores a source as it is published, with its own config and tokenizer.

        It is asked with the candidates' chat template if it has none.
        """
        asked = self.resources
        return replace(
            self,
            sources=(model,),
            checkpoints=tuple((part, folder) for part, folder in self.checkpoints if part in (model, *model.parts)),
            config_source=model,
            resources=replace(asked, workers=1, threads=asked.workers * asked.threads),
            rounds=1,
            vocabulary=None,
            template=self.config_folder,
        )

    @property
    def config_folder(self) -> Path:
        """Folder of the candidates' config and tokenizer."""
        return self.vocabulary or dict(self.checkpoints)[self.config_source]
