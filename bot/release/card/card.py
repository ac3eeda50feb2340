"""Renders the facts of a release as its model card, README.md.

What may be claimed is decided in `claims`; the wording is in templates/model_card.md.j2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.hub.front_matter import write_front_matter
from bot.hub.rules import OWN_TAG
from bot.release.card.claims import CLAIM_ALPHA, Standing, choose_bold, find_standings, make_claims
from bot.release.card.facts import CardFacts, TaskFacts, WeightMergeFacts
from bot.release.card.kinds import USAGE
from bot.search.results import BaselineKind
from merging.kinds import KINDS
from templates.escaping import plain
from templates.markdown import render_markdown

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PARETO_PICTURE = "pareto.png"
PROGRESS_PICTURE = "progress.png"
PATH_PICTURE = "path.png"
_PUBLIC_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Column:
    """One column of the table of coefficients; `source` is None for a parameter that all sources share."""

    parameter: str
    source: str | None
    values: tuple[float, ...]


def render_release_card(facts: CardFacts) -> str:
    """README.md of a release: YAML front matter and Markdown, with relative links to its pictures."""
    body = render_markdown(
        "model_card.md.j2",
        facts=facts,
        name=facts.repo.rpartition("/")[2],
        several=any(len(skill.tasks) > 1 for skill in facts.skills),
        turned=any(not task.higher_is_better for skill in facts.skills for task in skill.tasks),
        public=facts.hub_url.rstrip("/") == _PUBLIC_HUB,
        claims=make_claims(facts.table, BaselineKind.SOURCE),
        plain_claims=make_claims(facts.table, BaselineKind.PLAIN),
        bold=choose_bold(facts.table),
        positions=find_standings(facts.table),
        claim_alpha=CLAIM_ALPHA,
        generating=[(skill, task) for skill in facts.skills for task in skill.tasks if task.answers is not None],
        languages=list(dict.fromkeys(task.language for s in facts.skills for task in s.tasks if task.language)),
        path=facts.recipe.path,
        usage=USAGE[facts.kind],
        draws=any(weight_merge.draws for weight_merge in facts.recipe.weight_merges),
        coefficient_columns=coefficient_columns,
        address=lambda repo, sha=None: _address(facts.hub_url, repo, sha),
        pareto=PARETO_PICTURE,
        progress=PROGRESS_PICTURE,
        path_picture=PATH_PICTURE,
        Standing=Standing,
    )
    return _front_matter(facts) + body


def _front_matter(facts: CardFacts) -> str:
    return write_front_matter(
        facts.licence,
        [source.repo for source in (*facts.sources, *([facts.base] if facts.base else []))],
        ["merge", "evolutionary-merge", OWN_TAG],
        KINDS[facts.kind].library,
        facts.pipeline_tag,
        name=facts.repo.rpartition("/")[2],
        languages=facts.languages,
        results=[_eval_result(facts, task) for skill in facts.skills for task in skill.tasks],
    )


def _eval_result(facts: CardFacts, task: TaskFacts) -> EvalResult:
    """One row of the model-index; the metric's args say what the number is based on."""
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
            **({"language": plain(task.language)} if task.language else {}),
        },
    )


def coefficient_columns(weight_merge: WeightMergeFacts) -> list[Column]:
    """A weight merge's parameters as columns of a table with one row per tensor group."""
    sources = weight_merge.sources
    return [
        Column(parameter, sources[row] if len(rows) == len(sources) else None, values)
        for parameter, rows in weight_merge.parameters
        for row, values in enumerate(rows)
    ]


def _address(hub_url: str, repo: str, sha: str | None) -> str:
    page = f"{hub_url.rstrip('/')}/{repo}"
    return f"{page}/tree/{sha}" if sha else page


def _rounded(value: float) -> float:
    return round(value, 4)
