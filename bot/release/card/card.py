"""Renders the facts of a release as its model card, README.md.

What may be claimed is decided in `claims`; the wording is in templates/model_card.md.j2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.hub.discovery.rules import OWN_TAG
from bot.hub.front_matter import DrawnPrompt, write_front_matter
from bot.release.card.claims import CLAIM_ALPHA, Standing, choose_bold, find_standings, give_verdicts, list_unbeaten
from bot.release.card.facts import CardFacts, TaskFacts
from bot.release.card.kinds import USAGE, WORDS
from bot.release.card.merge_facts import BaseFacts, SourceFacts, WeightMergeFacts
from bot.release.card.picture_facts import PictureCounts, group_alike
from bot.release.hints import PUBLIC_HUB
from bot.release.plots.grid import column_letter
from merging.kinds import KINDS
from templates.escaping import plain
from templates.markdown import render_markdown

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

REPORT_PICTURE = "scores.png"
PARETO_PICTURE = "pareto.png"
PROGRESS_PICTURE = "progress.png"
PATH_PICTURE = "path.png"
_SKILLS_A_TABLE = 3  # more columns are wider than a phone


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
        public=facts.hub_url.rstrip("/") == PUBLIC_HUB,
        verdicts=give_verdicts(facts.table),
        unbeaten=list_unbeaten(facts.table),
        others=facts.table.others,
        bold=choose_bold(facts.table),
        standings=find_standings(facts.table),
        columns=_table_columns(len(facts.skills)),
        claim_alpha=CLAIM_ALPHA,
        generating=[(skill, task) for skill in facts.skills for task in skill.tasks if task.answers is not None],
        languages=list(dict.fromkeys(task.language for s in facts.skills for task in s.tasks if task.language)),
        path=facts.recipe.path,
        usage=USAGE[facts.kind],
        words=WORDS[facts.kind],
        judged=_judged(facts),
        judged_tasks=group_alike((skill, task.task, task.metric, drawn) for skill, task, drawn in facts.drawn_tasks),
        picture_faults=_picture_faults(facts),
        letter=column_letter,
        draws=any(weight_merge.draws for weight_merge in facts.recipe.weight_merges),
        coefficient_columns=coefficient_columns,
        adapted=adapted_bases(facts),
        address=lambda repo, sha=None: _address(facts.hub_url, repo, sha),
        scores=REPORT_PICTURE,
        pareto=PARETO_PICTURE,
        progress=PROGRESS_PICTURE,
        path_picture=PATH_PICTURE,
        Standing=Standing,
    )
    return _front_matter(facts) + body


def adapted_bases(facts: CardFacts) -> list[BaseFacts]:
    """The bases of adapters, each once, but for those that the card names as sources or as the base."""
    named = _named_sources(facts)
    bases = {source.adapted.repo: source.adapted for source in named if source.adapted}
    return [base for repo, base in bases.items() if repo not in {source.repo for source in named}]


def _named_sources(facts: CardFacts) -> tuple[SourceFacts, ...]:
    single = [one for one in (facts.base, facts.last_stage) if one is not None]
    return (*facts.sources, *single, *facts.token_sources)


def _front_matter(facts: CardFacts) -> str:
    parents = [*(source.repo for source in _named_sources(facts)), *(base.repo for base in adapted_bases(facts))]
    return write_front_matter(
        facts.licence,
        parents,
        ["merge", "evolutionary-merge", OWN_TAG],
        KINDS[facts.kind].library,
        facts.pipeline_tag,
        name=facts.repo.rpartition("/")[2],
        languages=facts.languages,
        results=[_eval_result(facts, task) for skill in facts.skills for task in skill.tasks],
        widget=_widget(facts),
        thumbnail=f"{_address(facts.hub_url, facts.repo, None)}/resolve/main/{facts.grid.picture}"
        if facts.grid
        else None,
    )


def _widget(facts: CardFacts) -> list[DrawnPrompt]:
    """The pictures that the Hub shows beside the card: the release's own in the grid, or that of its example."""
    if facts.grid:
        return [DrawnPrompt(row.prompt, row.negative, row.picture) for row in facts.grid.rows]
    example = facts.example
    negative = str(example.drawing.arguments.get("negative_prompt") or "") if example.drawing else ""
    return [DrawnPrompt(example.prompt, negative, example.picture)] if example.picture else []


def _judged(facts: CardFacts) -> list[tuple[str, str]]:
    """Each pair of judges in words: that of search and gate, and that of the report."""
    pairs = ((drawn.judge.words, drawn.report_judge.words) for _, _, drawn in facts.drawn_tasks)
    return list(dict.fromkeys(pairs))


def _picture_faults(facts: CardFacts) -> list[tuple[str, str, PictureCounts]]:
    """The skills that use a task, the task, and the counts of its pictures, drawn once for all its metrics."""
    users: dict[str, list[str]] = {}
    counted = {}
    for skill, task, drawn in facts.drawn_tasks:
        users.setdefault(task.task, []).append(skill)
        counted[task.task] = drawn.counts
    return [(", ".join(dict.fromkeys(users[task])), task, counts) for task, counts in counted.items() if counts]


def _eval_result(facts: CardFacts, task: TaskFacts) -> EvalResult:
    """One row of the model-index; the metric's args, which the Hub types as strings, say what its value is based on."""
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
            "items": str(task.items.report),
            **_asked(task),
            "interval_95": f"{_rounded(task.score.low)} to {_rounded(task.score.high)}",
            **({"language": plain(task.language)} if task.language else {}),
        },
    )


def _asked(task: TaskFacts) -> dict[str, str]:
    """How a task's items were asked, for its metric's args."""
    if task.drawn is None:
        return {"num_fewshot": str(task.num_fewshot)}
    return {"drawn": plain(task.drawn.how), "judge": plain(task.drawn.report_judge.words)}


def _table_columns(skills: int) -> list[range]:
    """The skills of each table of scores, as equally many as possible."""
    tables = -(-skills // _SKILLS_A_TABLE)
    size = -(-skills // tables)
    return [range(first, min(first + size, skills)) for first in range(0, skills, size)]


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
