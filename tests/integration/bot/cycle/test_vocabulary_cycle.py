"""A cycle over sources of different vocabularies: united, scored, written, verified and rebuilt."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from bot.cycle.past.export import export_member, export_recipe
from bot.cycle.past.rebuild import kept_pool, restore_release
from bot.cycle.run import run_cycle
from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.merge_command.merge import Merger
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from bot.search.results import MeasuredRow
from bot.verify_command.verify import Verifier
from evaluation.splits import Split
from fixtures.cycles import BASE, LANGUAGE, MATH, Listener, client, small_watchlist, stock
from fixtures.finished import Finished
from fixtures.vocabularies import BY_TOKEN, read_tokens, revised
from localhub import running
from merging.identity import ModelId
from merging.merge_tensor import make_loader, merge_tensor
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.writing.companions import RECIPE_NAME
from zoo.repo import MODELS

CYCLE = "tongues-1"
NOTE = "<|note|>"
WATCHLIST = small_watchlist(
    name="tongues",
    watch={"authors": {"allow": ["nobody-at-all"]}},
    pinned=[{"repo": MATH}, {"repo": LANGUAGE}],
    base={"repo": BASE},
    search={"vocabulary": "union"},
    publish={"mode": "off"},
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """The language model has its tokens in another order, a word and a special token more; the base has padded rows."""
    folder = tmp_path_factory.mktemp("tongues")
    stock(folder / "hub")
    tokens = read_tokens(MODELS[LANGUAGE])
    with running(folder / "hub") as server:
        server.store.commit(
            LANGUAGE, revised(LANGUAGE, tokens=[*tokens[:3], *tokens[:2:-1]], words=["ocean"], special=[NOTE])
        )
        server.store.commit(BASE, revised(BASE, padding=7))
        home, listener = Home(folder / "home"), Listener()
        assert run_cycle(WATCHLIST, home, client(server), listener) == CYCLE
        yield Finished(CYCLE, server, home, Ledger(home.ledger), listener.said)


def test_the_merge_is_that_of_the_same_models_in_one_vocabulary(finished: Finished) -> None:
    """The rows of tokens that all models have are those of a merge of the zoo's own files, in the leader's order."""
    recipe, written = finished.recipe, load_file(finished.folder / "model.safetensors")
    alike = replace(recipe, vocabulary=())
    names = {MATH: MODELS[MATH], LANGUAGE: MODELS[LANGUAGE], BASE: MODELS[BASE]}
    originals = {model: Checkpoint.open(names[model.location]) for model in recipe.origins}
    load = make_loader(alike, originals)
    for name, tensor in written.items():
        expected = merge_tensor(alike, name, load)
        assert torch.equal(tensor[: len(expected)], expected), name
    assert {len(written[name]) for name in BY_TOKEN} == {65 + 2}


def test_a_token_that_one_source_has_gets_its_row_in_all_others(finished: Finished) -> None:
    theirs = Checkpoint.open(next(finished.home.sources.glob("kotoba-lab--*/*")))
    written = load_file(finished.folder / "model.safetensors")
    recipe = finished.recipe
    for name in BY_TOKEN:
        added = theirs.tensor(name)[65:]  # ocean, then the special token
        if recipe.base is not None:  # all task vectors are zero where every model has the base's row
            assert torch.allclose(written[name][65:], added, atol=1e-6)


def test_plain_transformers_reads_every_token_at_the_row_that_was_scored(finished: Finished) -> None:
    tokenizer = AutoTokenizer.from_pretrained(finished.folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(finished.folder, trust_remote_code=False)
    own = read_tokens(MODELS[MATH])
    assert tokenizer.convert_tokens_to_ids([*own, "ocean", NOTE]) == list(range(67))
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().num_embeddings == 67
    assert model.generation_config.eos_token_id == model.config.eos_token_id == tokenizer.eos_token_id == 1
    assert NOTE not in tokenizer.decode(tokenizer(f"mia {NOTE} ocean").input_ids, skip_special_tokens=True)


def test_a_source_is_scored_as_it_is_published(finished: Finished) -> None:
    """The zoo's own language model computes the same with its own tokens, and its scores are the baseline's."""
    found = finished.ledger.kept(CYCLE, "measured", tuple[MeasuredRow, ...]) or ()
    shown = {row.name: row.scores for row in found if row.name in (MATH, LANGUAGE, BASE)}
    watchlist = finished.ledger.kept(CYCLE, "watchlist", type(WATCHLIST))
    assert watchlist is not None
    for repo, intervals in shown.items():
        model = ModelId(repo, "0" * 40)
        worker = Worker(
            WorkerSpec(
                kind="language",
                sources=(model,),
                checkpoints=((model, MODELS[repo]),),
                config_source=model,
                dtype="float32",
                skills=watchlist.asked_skills,
                task_folders=watchlist.task_paths,
                sizes=watchlist.split_sizes,
                seed=watchlist.search.seed,
                resources=Resources(1, 1, "cpu", 64),
            )
        )
        results = worker.evaluate(
            WeightMerge.single(model, finished.recipe.groups.single_group, "float32"), Split.REPORT
        )
        means = [
            sum(one.value for one in results.scores if one.skill == skill) / len(results.scores) * len(intervals)
            for skill in watchlist.skill_names
        ]
        assert means == pytest.approx([interval.mean for interval in intervals])
    assert len(shown) == 3


def test_a_release_is_verified_and_its_recipe_gives_its_bytes_again(finished: Finished, tmp_path: Path) -> None:
    verifier = Verifier(finished.hub, finished.home, Listener(), items=None, trusted=True)
    checks = verifier.verify(str(finished.folder)).checks
    assert [(check.subject, str(check.outcome)) for check in checks] == [
        ("bytes", "equal"),
        ("tensors", "equal"),
        ("scores", "equal"),
    ], checks
    merged = Merger(finished.home, finished.hub, Listener()).merge(finished.folder / RECIPE_NAME, tmp_path / "merged")
    assert merged.files["model.safetensors"] == finished.release.files["model.safetensors"]
    for name in ("tokenizer.json", "generation_config.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (finished.folder / name).read_bytes(), name


def test_every_front_member_can_be_exported_and_merged_again(finished: Finished, tmp_path: Path) -> None:
    ledger, home, hub = finished.ledger, finished.home, finished.hub
    exported = export_member(ledger, home, hub, CYCLE, "1", tmp_path / "member", Listener())
    export_recipe(ledger, home, hub, CYCLE, "1", tmp_path / "member.yml")
    text = (tmp_path / "member.yml").read_text()
    assert text == (tmp_path / "member" / RECIPE_NAME).read_text()
    section = yaml.safe_load(text)["tokenizer"]
    assert section["source"] == "union"
    assert [name.partition("@")[0] for name in section["models"]] == [MATH, LANGUAGE, BASE]
    merged = Merger(home, hub, Listener()).merge(tmp_path / "member.yml", tmp_path / "merged")
    assert merged.files["model.safetensors"] == exported.files["model.safetensors"]


def test_a_release_that_is_gone_is_written_again(finished: Finished, tmp_path: Path) -> None:
    release, home = finished.release, Home(Path(shutil.copytree(finished.home.folder, tmp_path / "home")))
    shutil.rmtree(home.release(CYCLE, release.role))
    restore_release(Ledger(home.ledger), home, finished.hub, release, Listener())
    assert load_file(home.release(CYCLE, release.role) / "model.safetensors").keys()


def test_card_and_report_say_whose_tokens_the_merges_have_and_who_was_asked_with_their_own(finished: Finished) -> None:
    card = (finished.folder / "README.md").read_text()
    assert f"67 tokens in 67 rows: those of {MATH}, {LANGUAGE} and {BASE} together, matched by their text" in card
    assert f"| {MATH} | 65 | 2 of {LANGUAGE} |  |" in card
    assert f"{MATH}, {LANGUAGE} and {BASE} answered the same items as they are published" in card
    report = finished.home.report(CYCLE).read_text()
    assert f"67 tokens in 67 rows, by `search.vocabulary: union`, led by {MATH}" in report


def test_the_vocabulary_is_said_on_the_way_and_in_the_ledger(finished: Finished) -> None:
    (line,) = [line for line in finished.said if line.startswith("the merges have")]
    assert line.startswith(f"the merges have 67 tokens, those of {MATH}, {LANGUAGE}, {BASE}, in 67 rows")
    vocabulary = kept_pool(finished.ledger, CYCLE).vocabulary
    assert vocabulary is not None
    assert {share.repo: (share.own, share.copied) for share in vocabulary.shares} == {
        MATH: (65, ((LANGUAGE, 2),)),
        LANGUAGE: (67, ()),
        BASE: (65, ((LANGUAGE, 2),)),
    }
