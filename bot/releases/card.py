"""A release's model card: from frozen facts to the text of README.md.

The functions here decide what may be claimed; the words are in templates/model_card.md.j2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from bot.contest.findings import Kind
from bot.releases.card_facts import CardFacts, Contender, Estimate, TaskFacts
from bot.sources.rules import OWN_TAG
from templates.escaping import link_target, plain
from templates.markdown import render

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PARETO_PICTURE = "pareto.png"
PROGRESS_PICTURE = "progress.png"
_PUBLIC_HUB = "https://huggingface.co"


class Standing(StrEnum):
    """Where the release stands against a group of models at one skill."""

    AHEAD = "ahead of all"
    LEVEL = "not told apart from the best"
    BEHIND = "behind one at least"


@dataclass(frozen=True)
class Claim:
    """What the intervals allow to say of one skill: `rival` is the model that the sentence names."""

    skill: str
    standing: Standing
    own: float
    rival: str
    rival_score: float


@dataclass(frozen=True)
class Column:
    """One column of the table of coefficients; `source` is None for a parameter that the sources share."""

    parameter: str
    source: str | None
    values: tuple[float, ...]


def write_card(facts: CardFacts) -> str:
    """README.md of a release: YAML front matter and Markdown, with the two pictures as relative links."""
    body = render(
        "model_card.md.j2",
        facts=facts,
        name=facts.repo.rpartition("/")[2],
        turned=any(not task.higher_is_better for skill in facts.skills for task in skill.tasks),
        public=facts.hub_url.rstrip("/") == _PUBLIC_HUB,
        claims=claims(facts, Kind.SOURCE),
        plain_claims=claims(facts, Kind.PLAIN),
        bold=bold(facts),
        coefficient_columns=coefficient_columns(facts),
        address=lambda repo, sha=None: _address(facts.hub_url, repo, sha),
        pareto=PARETO_PICTURE,
        progress=PROGRESS_PICTURE,
        Standing=Standing,
    )
    return f"---\n{front_matter(facts)}\n---\n\n{body}"


def front_matter(facts: CardFacts) -> str:
    """The card's YAML, as huggingface_hub writes it; every value is one line of visible characters."""
    from huggingface_hub import ModelCardData

    parents = [*(source.repo for source in facts.sources), *([facts.base.repo] if facts.base else [])]
    data = ModelCardData(
        model_name=plain(facts.repo.rpartition("/")[2]),
        license=plain(facts.licence.id),
        license_name=plain(facts.licence.name) if facts.licence.name else None,
        license_link=link_target(facts.licence.link) if facts.licence.link else None,
        language=[plain(language) for language in facts.languages] or None,
        library_name="transformers",
        pipeline_tag=plain(facts.pipeline_tag),
        base_model=[plain(parent) for parent in dict.fromkeys(parents)],
        base_model_relation="merge",
        tags=["merge", "evolutionary-merge", OWN_TAG],
        eval_results=[_result(facts, task) for skill in facts.skills for task in skill.tasks],
    )
    return data.to_yaml()


def _result(facts: CardFacts, task: TaskFacts) -> EvalResult:
    """One row of the model-index. What the number rests on stands in the metric's args, beside the number."""
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=plain(facts.pipeline_tag),
        dataset_type=plain(task.task),
        dataset_name=plain(task.task),
        metric_type=plain(task.metric),
        metric_name=plain(task.metric),
        metric_value=_rounded(task.score.mean),
        metric_args={
            "split": "report",
            "items": task.items.report,
            "num_fewshot": task.num_fewshot,
            "interval_95": [_rounded(task.score.low), _rounded(task.score.high)],
        },
    )


def claims(facts: CardFacts, kind: Kind) -> dict[Standing, list[Claim]]:
    """What may be said of each skill against all models of a kind, by standing; empty without such models."""
    rivals = [contender for contender in facts.contenders if contender.kind is kind]
    made = [_claim(facts, rivals, column) for column in range(len(facts.skills))] if rivals else []
    by_standing = {standing: [claim for claim in made if claim.standing is standing] for standing in Standing}
    return {standing: found for standing, found in by_standing.items() if found}


def _claim(facts: CardFacts, rivals: list[Contender], column: int) -> Claim:
    position = standing(rival.leads[column] for rival in rivals)
    named = _better(rivals, column) if position is Standing.BEHIND else rivals
    best = max(named, key=lambda rival: rival.scores[column].mean)
    own, other = facts.scores[column].mean, best.scores[column].mean
    return Claim(facts.skills[column].name, position, own, best.name, other)


def standing(leads: Iterable[Estimate]) -> Standing:
    """Where the paired differences (release minus rival, with 95 % intervals) put the release."""
    leads = tuple(leads)
    if any(lead.high < 0 for lead in leads):
        return Standing.BEHIND
    return Standing.AHEAD if all(lead.low > 0 for lead in leads) else Standing.LEVEL


def _better(rivals: Iterable[Contender], column: int) -> list[Contender]:
    return [rival for rival in rivals if rival.leads[column].high < 0]


def bold(facts: CardFacts) -> tuple[tuple[bool, ...], ...]:
    """Which scores are set in bold: a row for the release, then one per contender; a column per skill.

    It is the highest of its column, where chance does not explain it: the release's if the paired interval of
    its lead over every contender lies above zero, a contender's if that of the lead over it lies below.
    """
    columns = [_bold_column(facts, column) for column in range(len(facts.skills))]
    return tuple(zip(*columns, strict=True))


def _bold_column(facts: CardFacts, column: int) -> list[bool]:
    others = [contender.scores[column].mean for contender in facts.contenders]
    best = max([facts.scores[column].mean, *others])
    release = standing(contender.leads[column] for contender in facts.contenders) is Standing.AHEAD
    better = _better(facts.contenders, column)
    return [release, *(c in better and c.scores[column].mean == best for c in facts.contenders)]


def coefficient_columns(facts: CardFacts) -> list[Column]:
    """The recipe's numbers as columns of a table, a row per tensor group."""
    sources = [source.repo for source in facts.sources]
    return [
        Column(parameter, sources[row] if len(rows) == len(sources) else None, values)
        for parameter, rows in facts.recipe.parameters
        for row, values in enumerate(rows)
    ]


def _address(hub_url: str, repo: str, sha: str | None) -> str:
    page = f"{hub_url.rstrip('/')}/{repo}"
    return f"{page}/tree/{sha}" if sha else page


def _rounded(value: float) -> float:
    return round(value, 4)
