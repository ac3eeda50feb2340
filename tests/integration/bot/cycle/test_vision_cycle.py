"""A cycle of vision-language models: a carrier, another that sees, a language model; searched, published, verified."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from bot.cycle.past.export import render_recipe_file
from bot.cycle.run import run_cycle
from bot.demo import fill_hub
from bot.home import Home
from bot.ledger.ledger import Ledger, State
from bot.merge_command.merge import Merger
from bot.release.verify import sha256_of
from bot.search.results import MeasuredRow
from bot.verify_command.verify import read_provenance
from bot.watchlist.watchlist import Watchlist
from fixtures.cycles import NAMESPACE, Listener, client
from fixtures.finished import Finished, kind_watchlist
from fixtures.vision_pool import BASE, EYE, LENS, TONGUE, publish_vision_pool, write_vision_tasks
from localhub import running

CYCLE = "sight-1"


def make_watchlist(tasks: Path) -> Watchlist:
    return kind_watchlist(
        "sight",
        tasks,
        ("see", "read"),
        "acc",
        kind="vision-language",
        watch={"tags": ["seeing"], "pipeline_tag": "image-text-to-text", "language_models": {"tags": ["reading"]}},
        base=BASE,
        carrier=EYE,
        picture_size=16,  # what its tower sees; another size is tried on a worker
        items={"search": 24, "validation": 60, "report": 40},
        search={"budget": {"candidates": 32}},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("sight")
    watchlist = make_watchlist(write_vision_tasks(folder / "tasks", 130))
    with running(folder / "hub") as server:
        fill_hub(server.store, NAMESPACE, lambda _: publish_vision_pool(server.store))
        home, listener = Home(folder / "home"), Listener()
        run_cycle(watchlist, home, client(server), listener)
        yield Finished(CYCLE, server, home, Ledger(home.ledger), listener.said)


def test_a_merge_of_models_that_see_and_of_one_that_reads_is_published(finished: Finished) -> None:
    cycle = finished.ledger.cycle(CYCLE)
    assert cycle.state is State.PUBLISHED, cycle.note
    verdicts = {verdict.repo: verdict.reason for verdict in finished.ledger.verdicts(CYCLE) if verdict.accepted}
    assert verdicts.keys() == {EYE, LENS, TONGUE}
    assert verdicts[EYE].endswith("the carrier: merges have its settings and its own other components")
    assert verdicts[TONGUE].endswith(f"merged into the language model of {EYE}")
    (rows,) = (finished.ledger.kept(CYCLE, "measured", tuple[MeasuredRow, ...]),)
    assert {row.name for row in rows or ()} >= {EYE, LENS, TONGUE, BASE}  # the language models inside the carrier


def test_the_release_is_the_merge_under_the_carriers_names_with_its_tower(finished: Finished) -> None:
    model = AutoModelForImageTextToText.from_pretrained(finished.folder)
    folders = {model.location: folder for model, folder in finished.folders.items()}
    eye, lens = (AutoModelForImageTextToText.from_pretrained(folders[repo]).state_dict() for repo in (EYE, LENS))
    texts = {repo: AutoModelForCausalLM.from_pretrained(folders[repo]).state_dict() for repo in (BASE, TONGUE)}
    recipe = finished.recipe
    weights = dict(zip([source.name for source in recipe.sources], dict(recipe.parameters)["weight"], strict=True))
    for name, tensor in model.state_dict().items():
        own = name.replace("model.language_model.", "model.")
        if own not in texts[BASE]:
            assert torch.equal(tensor, eye[name]), name
            continue
        base, states = texts[BASE][own], {EYE: eye[name], LENS: lens[name], TONGUE: texts[TONGUE][own]}
        expected = base + sum(weights[repo][0] * (state - base) for repo, state in states.items() if repo in weights)
        assert torch.allclose(tensor, expected, atol=1e-5), name
    written, own = (load_file(folder / "model.safetensors") for folder in (finished.folder, folders[EYE]))
    assert written.keys() == own.keys()
    for name in ("config.json", "processor_config.json"):
        assert json.loads((finished.folder / name).read_bytes()) == json.loads((folders[EYE] / name).read_bytes())


def test_the_published_release_is_verified_from_the_hub_alone(finished: Finished, tmp_path: Path) -> None:
    outcomes = finished.verify(tmp_path / "other")
    assert len(outcomes) == 3 and all(outcome.startswith("equal") for outcome in outcomes.values()), outcomes
    assert read_provenance(finished.folder).picture_size == 16


def test_the_card_s_recipe_makes_the_same_weights_again(finished: Finished, tmp_path: Path) -> None:
    """By `shoal merge`; mergekit would stop, which the first line says."""
    recipe = finished.folder / "mergekit_config.yml"
    assert recipe.read_text("utf-8").startswith("# mergekit takes no language model (reef/plankton@")
    merged = Merger(Home(tmp_path / "other"), finished.hub, Listener()).merge(recipe, tmp_path / "merged")
    assert merged.files["model.safetensors"] == sha256_of(finished.folder / "model.safetensors")
    arguments = (finished.ledger, finished.home, finished.hub, CYCLE, finished.release.recipe)
    assert render_recipe_file(*arguments) == recipe.read_text("utf-8")  # from headers alone


def test_the_cards_code_asks_about_the_picture_beside_it(
    finished: Finished, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (finished.folder / "README.md").read_text("utf-8")
    assert ModelCard(card).data.pipeline_tag == "image-text-to-text"
    assert "whose config and processor it has; but pictures are scaled to 16 pixels." in card
    assert card.count("\n`<image> ") == 3  # where the shown pictures stand in their prompts
    hub = finished.hub
    files = hub.api.list_repo_files(finished.release.repo)
    shown = re.findall('<img src="(pictures/[^"]+)"', card)
    assert len(shown) == 3 and {*shown, "pictures/example-1.png"} <= set(files)
    for repo in (EYE, LENS, TONGUE, BASE):
        assert card.count(f"| [{repo}](") >= 3, repo
    code = next(token.content for token in MarkdownIt().parse(card) if token.info == "python")
    # The client has read its Hub's address long ago, so the repo is the folder here, and files are found in it.
    monkeypatch.setenv("HF_ENDPOINT", "unset afterwards")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda folder, name, **_: Path(folder, name))
    exec(code.replace(repr(finished.release.repo), repr(str(finished.folder))), {})
    answer = re.search(r"It prints.*?```text\n(.*?)```", card, re.DOTALL)
    assert capsys.readouterr().out == (answer[1] if answer else "\n")
