"""A cycle of image generators: killed in the search and resumed, published, verified, exported."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard
from PIL import Image

from bot.cycle.past.export import export_member, export_recipe
from bot.cycle.past.front import front_members
from bot.cycle.past.rebuild import stored_recipe
from bot.cycle.run import run_cycle
from bot.demo import fill_hub
from bot.home import Home
from bot.hub.resolver import open_sources
from bot.ledger.ledger import EvaluationEntry, Ledger, State
from bot.merge_command.merge import Merger
from bot.release.card.gallery import GALLERY_ROWS, gallery_files
from bot.release.results import Gallery
from bot.release.verify import hash_files
from bot.search.results import GateResult, MeasuredRow
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import (
    NAMESPACE,
    SCORED_BEFORE_DEATH,
    Listener,
    SharedWorkers,
    client,
    copy_scores,
    run_and_die,
)
from fixtures.finished import Finished, kind_watchlist
from fixtures.image_pool import (
    BASE,
    CHALK,
    INK,
    OIL,
    TAG,
    image_card,
    make_pipelines,
    pipeline_files,
    publish_image_pool,
    write_image_tasks,
)
from fixtures.tiny_pipelines import draw
from localhub import Store, running
from merging.kinds import KINDS
from merging.writing.companions import RECIPE_NAME
from merging.writing.release import write_release

CYCLE = "brush-1"


def make_watchlist(tasks: Path) -> Watchlist:
    return kind_watchlist(
        "brush",
        tasks,
        ("shapes", "places"),
        "score",
        kind="image",
        watch={"tags": [TAG], "pipeline_tag": "text-to-image"},
        base=BASE,
        carrier=OIL,
        items={"search": 12, "validation": 24, "report": 16},
        search={"components": {"text encoder": "choose"}, "budget": {"candidates": 24}},
    )


def publish_pool(store: Store) -> None:
    """The pool of image generators, of which one is there as its denoiser alone."""
    publish_image_pool(store)
    files = pipeline_files(make_pipelines()[CHALK])
    alone = {path.removeprefix("unet/"): content for path, content in files.items() if path.startswith("unet/")}
    store.delete_repo(CHALK)
    store.commit(CHALK, {**alone, "README.md": image_card(CHALK)})


@dataclass(frozen=True)
class Drawn(Finished):
    """scored: (digest of a recipe, of an evaluation set) of each score that was taken, in both runs. undisturbed: the
    home of a cycle that knew all scores, and was left alone until its release was to be uploaded."""

    scored: list[tuple[str, str]]
    undisturbed: Home


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    folder = tmp_path_factory.mktemp("brush")
    watchlist, workers = make_watchlist(write_image_tasks(folder / "tasks", 64)), SharedWorkers()
    with running(folder / "hub") as server:
        fill_hub(server.store, NAMESPACE, lambda _: publish_pool(server.store))
        home, undisturbed = Home(folder / "home"), Home(folder / "undisturbed")
        listener, scored = Listener(), []
        genuine = Ledger.record_evaluation

        def record(ledger: Ledger, recipe: str, entry: EvaluationEntry, items: Any) -> None:
            genuine(ledger, recipe, entry, items)
            scored.append((entry.recipe, entry.eval_set))

        with mock.patch.object(Ledger, "record_evaluation", record):
            run_and_die("in the search", watchlist, home, client(server), workers)
            assert len(scored) == SCORED_BEFORE_DEATH
            run_cycle(watchlist, home, client(server), listener, workers.get)
        copy_scores(home, undisturbed)
        run_and_die("before the upload", watchlist, undisturbed, client(server), workers)
        workers.close()
        yield Drawn(CYCLE, server, home, Ledger(home.ledger), listener.said, scored, undisturbed)


def test_a_cycle_killed_in_the_search_ends_as_one_that_was_left_alone(finished: Drawn) -> None:
    ledgers = finished.ledger, Ledger(finished.undisturbed.ledger)
    assert ledgers[0].front(CYCLE) == ledgers[1].front(CYCLE)
    gates = [ledger.kept(CYCLE, "gate", tuple[GateResult, ...]) for ledger in ledgers]
    measured = [ledger.kept(CYCLE, "measured", tuple[MeasuredRow, ...]) for ledger in ledgers]
    assert gates[0] == gates[1] is not None and measured[0] == measured[1] is not None
    assert [ledger.count_evaluations() for ledger in ledgers] == [len(finished.scored)] * 2
    files = [hash_files(home.release(CYCLE, finished.release.role)) for home in (finished.home, finished.undisturbed)]
    differing = {name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name)}
    assert differing <= {"README.md"}, differing  # it has the seconds that the search took


def test_a_merge_of_denoisers_is_published(finished: Drawn) -> None:
    cycle = finished.ledger.cycle(CYCLE)
    assert cycle.state is State.PUBLISHED, cycle.note
    accepted = {one.repo: one.reason for one in finished.ledger.verdicts(CYCLE) if one.accepted}
    assert accepted.keys() == {OIL, CHALK, INK}
    assert accepted[CHALK].endswith(f"; its denoiser within {OIL}, which gives all else")
    rows = finished.ledger.kept(CYCLE, "measured", tuple[MeasuredRow, ...])
    scores = {row.name: [score.mean for score in row.scores] for row in rows or ()}
    assert scores.keys() >= {OIL, CHALK, INK, BASE, "linear mean"}
    own = scores.pop(finished.release.role)
    assert all(min(own) > min(other) for other in scores.values()), (own, scores)
    assert len(finished.scored) == len(set(finished.scored)) > 2 * SCORED_BEFORE_DEATH
    card = ModelCard((finished.folder / "README.md").read_text("utf-8")).data
    assert (card.pipeline_tag, card.library_name, card.license) == ("text-to-image", "diffusers", "openrail++")
    packages = json.loads((finished.folder / "shoal.json").read_bytes())["packages"]
    assert {"diffusers", "Pillow", "torch"} <= packages.keys() and "lm_eval" not in packages


def test_plain_diffusers_draws_from_the_release_what_the_live_pipeline_drew(finished: Drawn) -> None:
    recipe, folders = finished.recipe, finished.folders
    loaded = DiffusionPipeline.from_pretrained(finished.folder)
    assert recipe.carrier is not None
    opened = open_sources(folders, folders, folders[recipe.carrier])
    live = KINDS["image"].live(folders[recipe.carrier], opened, dtype="float32")
    assert np.array_equal(draw(loaded), draw(recipe.live_model(live)))
    states = {model: make_pipelines()[model.name].unet.state_dict() for model in folders}
    weights = dict(recipe.parameters)["weight"]
    for name, tensor in loaded.unet.state_dict().items():
        base = states[recipe.base][name]
        rows = zip(recipe.sources, weights, strict=True)
        expected = base + sum(row[0] * (states[source][name] - base) for source, row in rows)
        assert torch.allclose(tensor, expected, atol=1e-5), name
    encoder = recipe.groups.whole["text encoder"]
    for component, owner in (("vae", recipe.carrier), ("text_encoder", encoder), ("tokenizer", encoder)):
        for path in (finished.folder / component).iterdir():
            assert path.read_bytes() == (folders[owner] / component / path.name).read_bytes(), path


def test_shoal_merge_makes_the_release_again_from_its_recipe_file(finished: Drawn, tmp_path: Path) -> None:
    """As the card says."""
    recipe, card = finished.folder / RECIPE_NAME, (finished.folder / "README.md").read_text("utf-8")
    assert f"`shoal merge {RECIPE_NAME} merged --endpoint {finished.server.endpoint}` fetches the same commits" in card
    assert "# mergekit does not merge pipelines.\n" in card and "mergekit 0.1.5" not in card
    merged = Merger(finished.home, finished.hub, Listener()).merge(recipe, tmp_path / "merged")
    for path in finished.folder.glob("*/*"):
        if path.parent.name != "shoal" and path.suffix != ".png":
            assert path.read_bytes() == (tmp_path / "merged" / path.parent.name / path.name).read_bytes(), path
    assert (merged.target / "model_index.json").read_bytes() == (finished.folder / "model_index.json").read_bytes()
    assert (merged.target / RECIPE_NAME).read_bytes() == recipe.read_bytes()


def test_the_card_shows_what_everybody_draws_from_the_same_noise_as_it_was_kept(finished: Drawn) -> None:
    release = finished.release
    gallery = finished.ledger.kept(CYCLE, f"gallery {release.role}", Gallery)
    assert gallery is not None and len(gallery.rows) == GALLERY_ROWS
    assert [name for name, _ in gallery.columns] == [BASE, OIL, CHALK, "task_arithmetic, weight 1", release.recipe]
    assert {row.item.skill for row in gallery.rows} == {"shapes", "places"}
    hub = finished.hub
    for name, content in gallery_files(gallery, release.repo):
        assert hub.read(release.repo, release.commit or "", name) == content == (finished.folder / name).read_bytes()
    loaded, row = DiffusionPipeline.from_pretrained(finished.folder), gallery.rows[1]
    assert row.question.drawing is not None
    noise = torch.Generator("cpu").manual_seed(row.question.drawing.seed)
    drawn = loaded(row.question.prompt, generator=noise, **row.question.drawing.arguments).images[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(row.own))), np.asarray(drawn))
    card = (finished.folder / "README.md").read_text("utf-8")
    assert f"| {CHALK}<br><sub>its denoiser" in card and f"| {OIL}<br><sub>source</sub> |" in card
    assert "## What it draws" in card and f"| {row.question.drawing.seed} |" in card
    report = finished.home.report(CYCLE).read_text("utf-8")
    assert "How pictures were judged" in report and f"| {release.role} | 32 | 0 | 0 | 0 | 0 |" in report


def test_the_published_release_is_verified_from_the_hub_alone(finished: Drawn, tmp_path: Path) -> None:
    outcomes = finished.verify(tmp_path / "other")
    assert len(outcomes) == 3 and all(outcome.startswith("equal") for outcome in outcomes.values()), outcomes


def test_any_member_of_the_front_is_exported_as_a_pipeline_or_as_a_recipe_file(finished: Drawn, tmp_path: Path) -> None:
    hub, target = finished.hub, tmp_path / "first"
    arguments: tuple[Any, ...] = (finished.ledger, finished.home, hub, CYCLE)
    assert export_member(*arguments, "1", target, Listener()).files
    assert draw(DiffusionPipeline.from_pretrained(target)).shape == (1, 16, 16, 3)
    assert 'pipeline = DiffusionPipeline.from_pretrained("path/to' in (target / "README.md").read_text()
    for number, digest in enumerate(one.recipe for one in front_members(finished.ledger, CYCLE)):
        file, folder = tmp_path / f"{number}.yml", tmp_path / str(number)
        export_recipe(*arguments, digest, file)
        recipe = stored_recipe(finished.ledger, digest)
        assert recipe.carrier is not None
        carrier = finished.folders[recipe.carrier]
        models = open_sources(recipe.origins, finished.folders, carrier)
        write_release(recipe, models, folder, {}, config_source=carrier)
        assert file.read_bytes() == (folder / RECIPE_NAME).read_bytes()
