"""The grid of pictures on a card: which report items and models it shows, by rule, and how they were drawn again."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from bot.release.card.picture_facts import GRID_FILE, PICTURES_FOLDER, GridCell, GridColumn, GridFacts, GridRow
from bot.release.plots.grid import grid_plot
from bot.release.results import Gallery, GalleryRow, SplitResults
from bot.scoring.cached import CachedEvaluator
from bot.scoring.evaluator import Evaluation, Failure
from bot.search.baselines import Baseline
from bot.search.results import BaselineKind
from evaluation.answers.degenerate import FINE
from evaluation.eval_set import EvalItem, Sample
from evaluation.fingerprint import digest
from merging.recipes.recipe import Recipe

GALLERY_ROWS = 6
MOST_SOURCES = 5
"""More columns than these, the base, a plain merge and the release are narrower than anybody could see."""

CELL_SIDE, OWN_SIDE = 256, 512
"""Pixels of the longer side, at most, of a picture in the grid, and of the release's own beside it."""


def choose_gallery_items(report: SplitResults) -> tuple[EvalItem, ...]:
    """The first report items of each skill that is judged by pictures, by turns; none where there is no such skill.

    The split's order was drawn by its seed: nobody's pictures decide which items these are. Of items that are drawn
    alike, though by other tasks, the first is shown.
    """
    pictures = _pictures(report)
    of_skills = [[item for item in pictures if item.skill == skill.name] for skill in report.skills]
    found: dict[str, EvalItem] = {}
    for turn in zip_longest(*of_skills):
        for item in filter(None, turn):
            found.setdefault(pictures[item], item)
    return tuple(found.values())[:GALLERY_ROWS]


def _pictures(report: SplitResults) -> dict[EvalItem, str]:
    """The report items that are drawn, in their order, each with a digest of all that decides its picture."""
    drawing = {
        (task.skill, task.key): [dict(task.drawn.arguments), task.drawn.scheduler]
        for task in report.eval_set.tasks
        if task.drawn is not None
    }
    return {
        item: digest([drawing[item.skill, item.task], item.item])
        for item in report.eval_set.items
        if (item.skill, item.task) in drawing
    }


def choose_gallery_models(report: SplitResults, recipe: Recipe) -> tuple[Baseline, ...]:
    """The baselines beside a release: the base, its sources in their order, and the plain merge that ranks best.

    It ranks best whose ranks among the plain merges in all skills have the smallest sum; the first of several.
    """
    baselines = [baseline for baseline, _ in report.baselines]
    merged = {model.name for model in recipe.merged_models}
    bases = [one for one in baselines if one.kind is BaselineKind.BASE]
    sources = [one for one in baselines if one.kind is BaselineKind.SOURCE and one.name in merged]
    means = {
        baseline.name: [score.mean for score in scores.intervals]
        for baseline, scores in report.baseline_scores()
        if baseline.kind is BaselineKind.PLAIN
    }
    ranks = {
        name: sum(other[skill] > mean for other in means.values() for skill, mean in enumerate(own))
        for name, own in means.items()
    }
    best = min(ranks, key=ranks.__getitem__, default=None)
    return (*bases, *sources[:MOST_SOURCES], *(one for one in baselines if one.name == best))


def draw_gallery(evaluator: CachedEvaluator, report: SplitResults, recipe: Recipe) -> Gallery | Failure:
    """Have a release and the models beside it draw the chosen items, model by model; a failure if it cannot itself."""
    items = choose_gallery_items(report)
    own = [evaluator.ask_candidate(recipe, item) for item in items]
    if failures := [sample for sample in own if isinstance(sample, Failure)]:
        return failures[0]
    others = choose_gallery_models(report, recipe)
    pictures = [[_small(evaluator.ask_candidate(one.recipe, item), CELL_SIDE) for item in items] for one in others]
    samples = [sample for sample in own if isinstance(sample, Sample)]
    rows = tuple(
        GalleryRow(
            item=item,
            question=sample.question,
            pictures=(*(column[number] for column in pictures), _small(sample, CELL_SIDE)),
            own=_small(sample, OWN_SIDE) or b"",
        )
        for number, (item, sample) in enumerate(zip(items, samples, strict=True))
    )
    columns = (*((one.name, one.kind) for one in others), (recipe.digest, BaselineKind.RELEASE))
    return Gallery(recipe.digest, report.eval_set.digest, columns, rows)


def is_of(gallery: Gallery, report: SplitResults, recipe: Recipe) -> bool:
    """Whether a gallery that was kept is that of this release, among the same models on the same items."""
    models = choose_gallery_models(report, recipe)
    return (
        (gallery.recipe, gallery.eval_set) == (recipe.digest, report.eval_set.digest)
        and tuple(row.item for row in gallery.rows) == choose_gallery_items(report)
        and gallery.columns[:-1] == tuple((one.name, one.kind) for one in models)
    )


def grid_facts(gallery: Gallery, report: SplitResults) -> GridFacts:
    """What the card says about a gallery: names, prompts, seeds, and the scores on the report split."""
    metrics = {(task.skill, task.key): task.metric for task in report.eval_set.tasks}
    pictures = _pictures(report)
    own = report.merges[gallery.recipe]
    evaluations = {baseline.name: evaluation for baseline, evaluation in report.baselines}
    scored = [evaluations[name] for name, _ in gallery.columns[:-1]] + [own]
    places = {item: place for place, item in enumerate(report.eval_set.items)}
    rows = []
    for number, row in enumerate(gallery.rows, 1):
        assert row.question.drawing is not None  # it was drawn
        alike = [item for item, picture in pictures.items() if picture == pictures[row.item]]
        cells = zip(scored, row.pictures, strict=True)
        rows.append(
            GridRow(
                asked=tuple((item.skill, metrics[item.skill, item.task]) for item in alike),
                prompt=row.question.prompt,
                negative=str(row.question.drawing.arguments.get("negative_prompt") or ""),
                seed=row.question.drawing.seed,
                picture=_own_file(number),
                cells=tuple(_cell(one, [places[item] for item in alike], picture) for one, picture in cells),
            )
        )
    columns = tuple(GridColumn(None if kind is BaselineKind.RELEASE else name, kind) for name, kind in gallery.columns)
    return GridFacts(GRID_FILE, columns, tuple(rows))


def gallery_files(gallery: Gallery, name: str) -> Iterator[tuple[str, bytes]]:
    """The pictures of a card's gallery: PNG files by their paths in the release. name: the release's."""
    headers = [(name if kind is BaselineKind.RELEASE else one, kind) for one, kind in gallery.columns]
    yield GRID_FILE, grid_plot(headers, [row.pictures for row in gallery.rows])
    for number, row in enumerate(gallery.rows, 1):
        yield _own_file(number), row.own


def _own_file(row: int) -> str:
    return f"{PICTURES_FOLDER}/drawn-{row}.png"


def _cell(evaluation: Evaluation, places: Sequence[int], picture: bytes | None) -> GridCell:
    scores = [evaluation.scores[place] for place in places]
    fault = next((str(score.flag) for score in scores if score.flag not in (None, FINE)), "")
    return GridCell(tuple(score.value for score in scores), fault, picture is not None)


def _small(sample: Sample | Failure, side: int) -> bytes | None:
    """A drawn picture with at most so many pixels on its longer side; None where it could not be drawn."""
    from PIL import Image

    from evaluation.picture import encode_png

    if isinstance(sample, Failure):
        return None
    (content,) = sample.pictures
    image = Image.open(io.BytesIO(content))
    if max(image.size) <= side:
        return content
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return encode_png(image)
