"""A release's model card: from frozen facts to the text of README.md.

What may be claimed is decided in `claims`; the words are in templates/model_card.md.j2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.hub.rules import OWN_TAG
from bot.release.card.claims import CLAIM_ALPHA, Standing, bold, claims, standings
from bot.release.card.facts import CardFacts, TaskFacts, WeightMergeFacts
from bot.search.results import BaselineKind
from templates.escaping import link_target, plain
from templates.markdown import render

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

PARETO_PICTURE = "pareto.png"
PROGRESS_PICTURE = "progress.png"
PATH_PICTURE = "path.png"
_PUBLIC_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Column:
    """One column of the table of coefficients; `source` is None for a parameter that the sources share."""

    parameter: str
    source: str | None
    values: tuple[float, ...]


def write_card(facts: CardFacts) -> str:
    """README.md of a release: YAML front matter and Markdown, with its pictures as relative links."""
    body = render(
        "model_card.md.j2",
        facts=facts,
        name=facts.repo.rpartition("/")[2],
        several=any(len(skill.tasks) > 1 for skill in facts.skills),
        turned=any(not task.higher_is_better for skill in facts.skills for task in skill.tasks),
        public=facts.hub_url.rstrip("/") == _PUBLIC_HUB,
        claims=claims(facts.table, BaselineKind.SOURCE),
        plain_claims=claims(facts.table, BaselineKind.PLAIN),
        bold=bold(facts.table),
        positions=standings(facts.table),
        claim_alpha=CLAIM_ALPHA,
        generating=[(skill, task) for skill in facts.skills for task in skill.tasks if task.answers is not None],
        languages=list(dict.fromkeys(task.language for s in facts.skills for task in s.tasks if task.language)),
        path=facts.recipe.path,
        draws=any(weight_merge.draws for weight_merge in facts.recipe.weight_merges),
        coefficient_columns=coefficient_columns,
        address=lambda repo, sha=None: _address(facts.hub_url, repo, sha),
        pareto=PARETO_PICTURE,
        progress=PROGRESS_PICTURE,
        path_picture=PATH_PICTURE,
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
            **({"language": plain(task.language)} if task.language else {}),
        },
    )


def coefficient_columns(weight_merge: WeightMergeFacts) -> list[Column]:
    """A weighted merge's numbers as columns of a table, a row per tensor group."""
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
