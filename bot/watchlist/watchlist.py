"""The watchlist: everything that a person asks of the bot, as one frozen value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from bot.watchlist.domain import GateSettings, Guard, Reference
from bot.watchlist.sections import (
    AUDITIONED_A_PLACE,
    ROUNDS,
    AuditionSection,
    Base,
    Carrier,
    GateSection,
    GuardSection,
    ItemsSection,
    KindName,
    NotifySection,
    PinnedModel,
    PublishSection,
    ScheduleSection,
    SearchSection,
    Section,
    SkillSection,
    SourceReference,
    WatchSection,
    WorkersSection,
)
from bot.watchlist.values import Slug, Text
from evaluation.skills import Skill, SkillTask
from evaluation.splits import SplitSizes
from merging.evolution.outcomes import SearchSettings
from merging.kinds.picture_size import LARGEST_SIZE, SMALLEST_SIZE
from merging.methods import METHODS

_LATER_KEYS: Mapping[tuple[str, ...], object] = {
    ("kind",): "language",
    ("carrier",): "auto",
    ("picture_size",): None,
    ("watch", "language_models"): None,
    ("search", "components"): {},
    ("search", "last_stage"): None,
    ("search", "steps"): None,
    ("search", "picture_sizes"): None,
}
"""Keys that digests leave out at their defaults."""


class Watchlist(Section):
    """A watchlist: which models to find, which skills to search for, and where to publish the merges."""

    # The properties below say what the keys mean to evaluation, merging and the gate. They are not cached, because
    # pydantic's `model_copy` would carry cached values over into the changed copy.

    name: Slug = Field(description="a short name, part of the names of releases")
    kind: KindName = Field(default="language", description="the kind of the models that merges are")
    watch: WatchSection = Field(default=WatchSection(), description="what to find on the Hub")
    pinned: tuple[SourceReference, ...] = Field(
        default=(),
        description="models to use in addition, before all others; owner/name, owner/name:file.safetensors for one "
        "file of several, or with keys",
    )
    base: Base = Field(
        default="auto",
        description="the common ancestor: owner/name or with keys, auto (the one that models declare), or null",
    )
    carrier: Carrier = Field(
        default="auto",
        description="of kinds with several components, the source that merges are built in: they have its config, its "
        "processor and the components that are not merged; auto: the first source that has all components, else the "
        "base",
    )
    picture_size: int | None = Field(
        default=None,
        ge=SMALLEST_SIZE,
        le=LARGEST_SIZE,
        description="pixels to which pictures are scaled for models that see: their longest edge, or the root of their "
        "area where the carrier's processor bounds that; smaller is faster; null: that processor's own size",
    )
    max_sources: int = Field(default=4, ge=2, le=16, description="most models in one merge")
    audition: AuditionSection | None = Field(
        default=AuditionSection(),
        description="choose by their scores where more models fit than max_sources; null: take the most downloaded",
    )
    noncommercial: bool = Field(
        default=False, description="accept licences that forbid commercial use; releases then take them over"
    )
    skills: tuple[SkillSection, ...] = Field(
        min_length=1, max_length=4, description="objectives of the search, usually two or three"
    )
    guards: tuple[GuardSection, ...] = Field(
        default=(),
        max_length=4,
        description="skills that the search does not optimise, but that a merge must keep; only the front and the "
        "baselines are scored on them",
    )
    task_folders: tuple[Text, ...] = Field(
        default=(), description="folders with your own lm-eval tasks, relative to this file"
    )
    items: ItemsSection = Field(default=ItemsSection(), description="items of each task in each split")
    search: SearchSection = Field(default=SearchSection(), description="how merges are searched")
    workers: WorkersSection = Field(default=WorkersSection(), description="how candidates are scored on this machine")
    gate: GateSection = Field(default=GateSection(), description="what a merge must show before it is published")
    publish: PublishSection = Field(default=PublishSection(), description="where releases go")
    notify: NotifySection = Field(default=NotifySection(), description="which ends of a cycle people are told of")
    schedule: ScheduleSection | None = Field(default=None, description="when `shoal serve` runs it; null: only by hand")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of every key that affects scores or recipes.

        It leaves out where and when (publish, schedule), who is told (notify), this machine (workers), and the task
        folders, whose content has digests of its own. A key that came later counts only where it is not at its default:
        the cycles of watchlists that were written before it still count as theirs.
        """
        canonical = json.dumps(self.digested, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def digested(self) -> dict[str, Any]:
        """The keys of which `digest` is made, as plain values."""
        values = self.model_dump(mode="json", exclude={"publish", "schedule", "notify", "workers", "task_folders"})
        for (*sections, key), default in _LATER_KEYS.items():
            section = values
            for name in sections:
                section = section[name]
            if section[key] == default:
                del section[key]
        for source in values["pinned"]:
            if source["file"] is None:
                del source["file"]
        if stage := values["search"].get("last_stage"):
            stage["file"] = stage["adapter"].pop("file")  # where it was written before adapters had short forms
        return values

    @property
    def named_sources(self) -> tuple[tuple[str, PinnedModel], ...]:
        """The sources that it names, best first, each with its key: the carrier unless it is the base, then the pinned.

        A carrier that is pinned too counts once.
        """
        pinned = [(f"pinned[{index}]", model) for index, model in enumerate(self.pinned)]
        carrier, base = self.carrier, self.base
        if carrier == "auto" or (base is not None and base != "auto" and base.repo == carrier.repo):
            return tuple(pinned)
        return (("carrier", carrier), *((key, model) for key, model in pinned if model.repo != carrier.repo))

    @property
    def needs_base(self) -> bool:
        """Whether merges are made of differences from a base; paths through the sources alone are not."""
        return self.search.space != "dataflow" and METHODS[self.search.method].needs_base

    @property
    def evaluation_skills(self) -> tuple[Skill, ...]:
        """The skills that are objectives, with their tasks."""
        return tuple(_evaluation_skill(skill, in_search=True) for skill in self.skills)

    @property
    def evaluation_guards(self) -> tuple[Guard, ...]:
        """The guards with their tasks."""
        return tuple(
            Guard(_evaluation_skill(guard, in_search=False), guard.max_drop, Reference(guard.reference))
            for guard in self.guards
        )

    @property
    def asked_skills(self) -> tuple[Skill, ...]:
        """Everything that models are asked: the objectives, then the guards."""
        return (*self.evaluation_skills, *(guard.skill for guard in self.evaluation_guards))

    @property
    def asked_keys(self) -> tuple[tuple[str, int], ...]:
        """The key and index in the file of each of `asked_skills`."""
        sections = (("skills", self.skills), ("guards", self.guards))
        return tuple((key, index) for key, entries in sections for index in range(len(entries)))

    @property
    def skill_names(self) -> tuple[str, ...]:
        """The names of the skills, in the order of the file."""
        return tuple(skill.name for skill in self.skills)

    @property
    def task_paths(self) -> tuple[Path, ...]:
        """The folders with the person's own lm-eval tasks."""
        return tuple(map(Path, self.task_folders))

    @property
    def split_sizes(self) -> SplitSizes:
        """The largest number of items of a task in each split."""
        return SplitSizes(self.items.search, self.items.validation, self.items.report)

    @property
    def most_auditioned(self) -> int:
        """The most sources that are compared; as many as a merge may have, if none are."""
        if self.audition is None:
            return self.max_sources
        return self.audition.sources or AUDITIONED_A_PLACE * self.max_sources

    @property
    def rounds(self) -> int:
        """The number of rounds in which candidates answer the search items; 1 without racing."""
        racing = self.search.racing
        return 1 if racing is None else racing.rounds or ROUNDS

    @property
    def search_settings(self) -> SearchSettings:
        """Population, budget and seed of the search, and whether a model chooses its candidates."""
        search = self.search
        budget = search.budget
        return SearchSettings(search.population, budget.candidates, budget.minutes, search.seed, search.surrogate)

    @property
    def gate_settings(self) -> GateSettings:
        """The requirements that a merge must meet before it is published."""
        return GateSettings(self.gate.confidence, self.gate.minimum, self.gate.max_degenerate)


def _evaluation_skill(section: SkillSection, *, in_search: bool) -> Skill:
    tasks = tuple(SkillTask(t.task, t.metric, t.filter, t.weight, t.num_fewshot) for t in section.tasks)
    return Skill(section.name, tasks, section.chat_template, section.language, in_search)
