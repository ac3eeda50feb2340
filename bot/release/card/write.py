"""Writes a release's card: results become facts, and facts become README.md and its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bot.hub.licences import notice_file
from bot.release.card.card import (
    PARETO_PICTURE,
    PATH_PICTURE,
    PROGRESS_PICTURE,
    REPORT_PICTURE,
    render_release_card,
)
from bot.release.card.collect import card_facts
from bot.release.card.shown import picture_files
from bot.release.plots.forest import report_plot
from bot.release.plots.path import path_plot
from bot.release.plots.scores import Mark, ParetoFacts, pareto_plot, progress_plot
from bot.release.results import CycleResults
from bot.search.results import BaselineKind
from bot.search.run import make_outcome
from bot.search.selection import Chosen
from evaluation.splits import Split
from merging.writing.atomic import atomic_file


def write_card_files(results: CycleResults, chosen: Chosen, repos: Mapping[str, str], folder: Path) -> None:
    """Write the card and its pictures into a release's folder. repos: role → repo."""
    facts = card_facts(results, chosen, repos, folder)
    pictures = picture_files(results, chosen.recipe, repos[chosen.role])
    for name, content in (pictures | notice_file(facts.licence)).items():
        with atomic_file(folder / name) as file:
            file.write(content)
    (folder / "README.md").write_text(render_release_card(facts), encoding="utf-8")
    (folder / REPORT_PICTURE).write_bytes(report_plot(facts.table))
    (folder / PARETO_PICTURE).write_bytes(pareto_plot(pareto_facts(results)))
    (folder / PROGRESS_PICTURE).write_bytes(progress_plot([volume for _, volume in results.summary.generations]))
    if facts.recipe.path:
        (folder / PATH_PICTURE).write_bytes(path_plot(facts.recipe.path))


def pareto_facts(results: CycleResults) -> ParetoFacts:
    """The scores on the search split that the picture of the front shows."""
    split = results.splits[Split.SEARCH]
    skills = split.skills
    front = {
        digest: (found.objectives or ())[: len(skills)]  # depth may be one more objective
        for digest, (_, found) in results.front.items()
    }
    releases = [Mark(chosen.role, BaselineKind.RELEASE, front[chosen.recipe]) for chosen in results.chosen]
    marks = [
        Mark(baseline.name, baseline.kind, objectives)
        for baseline, evaluation in split.baselines
        if (objectives := make_outcome(evaluation, skills, dict(split.eval_set.directions)).objectives) is not None
    ]
    return ParetoFacts(
        skills=tuple(skill.name for skill in skills),
        candidates=results.summary.points,
        front=tuple(front.values()),
        marks=(*releases, *marks),
    )
