"""What is done with past cycles, with the genuine client against a local Hub: reviews and exports.

No search is run: the releases are plain merges of the zoo, written and recorded as a cycle does it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import get_session
from transformers import AutoModelForCausalLM

from bot.cycle.context import CycleContext
from bot.cycle.past.export import export_member, export_recipe
from bot.cycle.past.front import find_member, front_members
from bot.cycle.past.review import ReleaseReview, publish_releases, reject_releases, review_cycle, waiting_cycles
from bot.cycle.rejections import refuse_rejected
from bot.cycle.sources import describe_equal_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.pool.pool import Pool, remove_members
from bot.ledger.decisions import cycle_decisions, keep_documents, rejected_recipes
from bot.ledger.ledger import EvaluationEntry, Ledger, ReleaseEntry, State
from bot.release.folder import FileState, read_release_documents
from bot.release.report import CycleFacts, update_cycle_report
from bot.release.verify import hash_files
from bot.release.write import write_release_folder
from bot.search.results import GateResult
from bot.service.page.views import Desk as PageDesk
from bot.watchlist.watchlist import Watchlist
from fixtures import cycles
from fixtures.cycles import MATH, NAMESPACE, Listener, client, published, small_watchlist
from fixtures.golden import report_facts
from fixtures.pools import find_pool
from localhub import Running
from merging.merge_tensor import make_loader, merge_tensor
from merging.partition import Partition
from merging.recipes.recipe import read_recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from zoo.repo import MODELS

CYCLE = "small-1"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
WATCHLIST = small_watchlist(publish={"mode": "review"})
ROLES = {"balanced": 1.0, "best-math": 3.0}
CARD = "---\nlicense: mit\ntags: [shoal-merge]\n---\n# A merge\n"


@dataclass(frozen=True)
class Desk:
    """A home with a cycle that waits for review, and the Hub that its releases go to."""

    home: Home
    server: Running
    listener: Listener

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)

    def folder(self, role: str) -> Path:
        return self.home.release(CYCLE, role)

    def publish(self, *names: str, edited: bool = False) -> None:
        hub = client(self.server)
        publish_releases(self.ledger, self.home, hub, CYCLE, names, self.listener, edited=edited)

    def reject(self, *names: str, note: str = "answers in\nthe wrong language") -> None:
        reject_releases(self.ledger, self.home, client(self.server), CYCLE, names, note, self.listener)

    def review(self, role: str = "balanced") -> ReleaseReview:
        shown = review_cycle(self.ledger, self.home, client(self.server), CYCLE)
        (release,) = [one for one in shown.releases if one.role == role]
        return release

    def states(self, role: str = "balanced") -> dict[str, FileState]:
        return {file.name: file.state for file in self.review(role).files}

    def on_the_hub(self, repo: str, name: str) -> bytes:
        return self.server.store.read(repo, name)


def write_cycle(home: Home, pool: Pool) -> None:
    """A cycle that ends with two releases waiting for review."""
    ledger = Ledger(home.ledger)
    cycle = ledger.begin(WATCHLIST.name, WATCHLIST.digest, NOON).id
    ledger.keep(cycle, "watchlist", WATCHLIST, Watchlist)
    ledger.keep(cycle, "pool", pool, Pool)
    by_name = {member.ref: MODELS[member.repo] for member in pool.members}
    sources = tuple(member.ref for member in pool.sources)
    whole = Partition.even(2, 1, modules_apart=False, ends_apart=False)
    releases = []
    for role, weight in ROLES.items():
        weights = ("weight", ((weight,), (1.0,)))
        recipe = WeightMerge("linear", sources, None, whole, (weights,), "float32", 0)
        ledger.record_evaluation(json.dumps(recipe.to_json()), EvaluationEntry(recipe.digest, "set", 1.0, None), [])
        folder = home.release(cycle, role)
        write_release_folder(recipe, by_name, pool.sources[0].ref, folder, cycle)
        (folder / "README.md").write_text(f"{CARD}{role}\n")
        (folder / "pareto.png").write_bytes(b"a picture")
        entry = ReleaseEntry(cycle, role, recipe.digest, f"{NAMESPACE}/small-{role}", hash_files(folder))
        keep_documents(ledger, cycle, role, read_release_documents(folder, entry.files))
        ledger.record_release(entry, None)
        releases.append(replace(report_facts().releases[0], role=role, repo=entry.repo, commit=None))
    third = WeightMerge("linear", sources, None, whole, (("weight", ((1.0,), (3.0,))),), "float32", 0)
    ledger.record_evaluation(json.dumps(third.to_json()), EvaluationEntry(third.digest, "set", 1.0, None), [])
    front = [entry.recipe for entry in ledger.releases(cycle)] + [third.digest]
    ledger.record_front(cycle, 1, [(digest, (0.9 - place / 10, 0.5)) for place, digest in enumerate(front)])
    results = tuple(GateResult(one, (0.8, 0.4), one != third.digest, "too near", 0.5, 0.05, ()) for one in front)
    ledger.keep(cycle, "gate", results, tuple[GateResult, ...])
    facts = replace(report_facts(), cycle=cycle, releases=tuple(releases))
    ledger.keep(cycle, "report", facts, CycleFacts)
    ledger.finish(cycle, State.REVIEW, "2 releases waiting for review", NOON)
    update_cycle_report(ledger, home, cycle)
    ledger.close()


@pytest.fixture(scope="module")
def written(stocked: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("written")
    home = Home(folder / "home")
    with cycles.copy_of(stocked, folder / "hub") as server:
        found = find_pool(client(server), WATCHLIST, NOON)
        damaged = [one.refuse("damaged") for one in found.sources if one.repo not in MODELS]
        write_cycle(home, remove_members(found, damaged))
    return home


@pytest.fixture
def desk(written: Home, server: Running, home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("USER", "anna")
    monkeypatch.setenv("LOGNAME", "anna")
    shutil.copytree(written.folder, home.folder)
    return Desk(home, server, Listener())


# -- what waits ---------------------------------------------------------------------------------------------------


def test_a_review_shows_address_folder_and_files_and_the_commands_for_this_home_and_hub(desk: Desk) -> None:
    ledger, hub = desk.ledger, client(desk.server)
    assert waiting_cycles(ledger) == (CYCLE,)
    shown = review_cycle(ledger, desk.home, hub, CYCLE)
    where = f"--home {desk.home.folder} --endpoint {desk.server.endpoint}"
    assert shown.publish == f"shoal publish {CYCLE} {where}"
    assert shown.reject == f"shoal reject {CYCLE} balanced {where}"
    release = shown.releases[0]
    assert (release.role, release.state, release.waiting) == ("balanced", "waiting", True)
    assert release.url == f"{desk.server.endpoint}/{NAMESPACE}/small-balanced"
    assert release.folder == str(desk.folder("balanced"))
    states = desk.states()
    assert states["model.safetensors"] is FileState.UNCHECKED
    assert {state for name, state in states.items() if name != "model.safetensors"} == {FileState.AS_WRITTEN}
    (desk.folder("balanced") / "README.md").write_text(CARD + "By hand.")
    (desk.folder("balanced") / "shoal.json").unlink()
    (desk.folder("balanced") / "notes.txt").write_text("mine")
    states = desk.states()
    found = [states[name] for name in ("README.md", "shoal.json", "notes.txt")]
    assert found == [FileState.EDITED, FileState.GONE, FileState.ADDED]


def test_nothing_new_says_what_still_waits(desk: Desk) -> None:
    ledger, hub = desk.ledger, client(desk.server)
    context = CycleContext(WATCHLIST, desk.home, hub, ledger, desk.listener, ledger.cycle(CYCLE))
    said = describe_equal_cycle(context, CYCLE)
    assert "watchlist as small-1; 2 of its releases still wait for review: shoal review small-1 --home" in said
    desk.reject("balanced")
    assert "; 1 of its releases still waits for review: shoal review" in describe_equal_cycle(context, CYCLE)
    desk.reject("best-math")
    assert describe_equal_cycle(context, CYCLE).endswith("watchlist as small-1")


# -- one by one ---------------------------------------------------------------------------------------------------


def test_releases_are_published_one_by_one_and_the_report_says_what_became_of_each(desk: Desk) -> None:
    desk.publish("best-math")
    ledger = desk.ledger
    assert set(published(desk.server)) == {f"{NAMESPACE}/small-best-math"}
    cycle = ledger.cycle(CYCLE)
    assert cycle.state is State.REVIEW and cycle.finished == NOON
    expected = f"1 release published ({NAMESPACE}/small-best-math), 1 waiting for review: shoal review small-1 --home"
    assert cycle.note.startswith(expected)
    decision = cycle_decisions(ledger, CYCLE)["best-math"]
    assert (decision.verdict, decision.who, decision.note) == ("published", "anna", "")
    report = desk.home.report(CYCLE).read_text()
    assert f", published by anna on {decision.when:%Y-%m-%d} |" in report and "| waiting for review |" in report

    desk.publish()
    assert ledger.cycle(CYCLE).state is State.PUBLISHED
    before = published(desk.server)
    assert len(before) == 2
    desk.publish()
    assert "nothing to publish: 2 releases published" in desk.listener.said[-1]
    assert published(desk.server) == before and "waiting" not in desk.home.report(CYCLE).read_text()
    with pytest.raises(ShoalError, match="is on the Hub already"):
        desk.reject("balanced")


def test_what_is_rejected_is_not_published_with_the_others_and_not_offered_again(desk: Desk) -> None:
    desk.reject("small-balanced")
    ledger = desk.ledger
    described = desk.review().state
    assert described.startswith("rejected by anna on 20") and described.endswith(": answers in the wrong language")
    desk.publish()
    assert set(published(desk.server)) == {f"{NAMESPACE}/small-best-math"}
    assert ledger.cycle(CYCLE).state is State.PUBLISHED
    assert ledger.cycle(CYCLE).note == f"1 release published ({NAMESPACE}/small-best-math), 1 rejected"
    assert "rejected by anna" in desk.home.report(CYCLE).read_text()
    # A later cycle does not choose it.
    recipe = desk.review().recipe
    results = tuple(GateResult(one, (), True, "better", 0.01, 0.02, ()) for one in (recipe, "another"))
    refused, other = refuse_rejected(results, rejected_recipes(ledger, "small"))
    assert not refused.passed and refused.reason.endswith("the wrong language (cycle small-1)") and other.passed
    assert rejected_recipes(ledger, "another-watchlist") == {}
    # Whoever names it has changed their mind.
    desk.publish("balanced")
    assert len(published(desk.server)) == 2 and rejected_recipes(ledger, "small") == {}


def test_a_cycle_of_which_everything_was_rejected_has_nothing_to_publish(desk: Desk) -> None:
    desk.reject("balanced", f"{NAMESPACE}/small-best-math")
    assert desk.ledger.cycle(CYCLE).state is State.REJECTED
    desk.publish()
    assert published(desk.server) == {} and "nothing to publish: 2 rejected" in desk.listener.said[-1]


@pytest.mark.parametrize("act", [Desk.publish, Desk.reject])
def test_an_unknown_release_is_refused_and_nothing_is_done(desk: Desk, act: object) -> None:
    with pytest.raises(ShoalError, match=r"RELEASE: got 'best': .* choose from balanced, best-math"):
        act(desk, "balanced", "best")  # type: ignore[operator]
    assert published(desk.server) == {} and cycle_decisions(desk.ledger, CYCLE) == {}


# -- edited and deleted -------------------------------------------------------------------------------------------


def test_an_edited_card_is_published_only_when_that_is_asked_for(desk: Desk) -> None:
    (desk.folder("best-math") / "README.md").write_text(CARD + "By hand.")
    with pytest.raises(ShoalError, match=r"best-math/README\.md: edited since it was written; .* add --edited"):
        desk.publish()
    assert published(desk.server) == {}
    desk.publish(edited=True)
    repo = f"{NAMESPACE}/small-best-math"
    assert desk.on_the_hub(repo, "README.md") == (CARD + "By hand.").encode()
    decisions = cycle_decisions(desk.ledger, CYCLE)
    assert decisions["best-math"].note == "with an edited README.md" and decisions["balanced"].note == ""
    assert hash_files(desk.folder("best-math")) == dict(desk.ledger.releases(CYCLE)[1].files)


def test_weights_that_were_changed_are_never_published_and_are_written_again_once_they_are_deleted(desk: Desk) -> None:
    weights = desk.folder("balanced") / "model.safetensors"
    scored = weights.read_bytes()
    weights.write_bytes(b"\x01" + scored[1:])
    with pytest.raises(ShoalError, match=r"model\.safetensors: changed since it was checked .* delete the file"):
        desk.publish("balanced", edited=True)
    assert not client(desk.server).api.repo_exists(f"{NAMESPACE}/small-balanced")
    weights.unlink()
    (desk.folder("balanced") / "README.md").write_text(CARD + "By hand.")
    desk.publish("balanced", edited=True)
    assert desk.on_the_hub(f"{NAMESPACE}/small-balanced", "model.safetensors") == scored
    assert desk.on_the_hub(f"{NAMESPACE}/small-balanced", "README.md").endswith(b"By hand.")


def test_a_deleted_release_is_written_again_byte_by_byte_from_its_recipe(desk: Desk) -> None:
    """Its sources are fetched again: the home has none of them."""
    before = {role: hash_files(desk.folder(role)) for role in ROLES}
    shutil.rmtree(desk.home.releases(CYCLE))
    assert not desk.home.sources.exists()
    desk.publish()
    assert {role: hash_files(desk.folder(role)) for role in ROLES} == before
    assert len(published(desk.server)) == 2


def test_a_deleted_card_is_written_again_without_its_sources(desk: Desk) -> None:
    (desk.folder("balanced") / "README.md").unlink()
    desk.publish("balanced")
    assert desk.on_the_hub(f"{NAMESPACE}/small-balanced", "README.md").decode() == f"{CARD}balanced\n"
    assert not desk.home.sources.exists()


def test_a_cycle_that_is_not_to_be_reviewed_says_its_state(desk: Desk) -> None:
    desk.ledger.finish(CYCLE, State.WRITTEN, "", NOON)
    with pytest.raises(ShoalError, match=r"its state is 'written'; publishing was off: set publish\.mode"):
        desk.publish()


# -- exports ------------------------------------------------------------------------------------------------------


def test_any_front_member_is_exported_as_a_model_that_says_it_is_no_release(desk: Desk, tmp_path: Path) -> None:
    ledger, hub, out = desk.ledger, client(desk.server), tmp_path / "third"
    exported = export_member(ledger, desk.home, hub, CYCLE, "3", out, desk.listener)
    assert (exported.number, exported.recipe) == (3, ledger.front(CYCLE)[2][0])
    model = AutoModelForCausalLM.from_pretrained(out)
    recipe = read_recipe(json.loads(ledger.recipe(exported.recipe)))
    load = make_loader(recipe, {origin: Checkpoint.open(MODELS[origin.location]) for origin in recipe.origins})
    assert isinstance(recipe, WeightMerge)
    name = "model.embed_tokens.weight"
    assert torch.equal(model.state_dict()[name], merge_tensor(recipe, name, load))
    assert exported.files == hash_files(out) and json.loads((out / "shoal.json").read_text())["cycle"] == CYCLE
    card = (out / "README.md").read_text()
    assert "# Front member 3 of cycle small-1" in card and "**This is not a release.** It is one of 3 members" in card
    assert "The gate held back it" not in card and "The gate held it back: too near." in card
    assert "| Split | math | cross |\n|---|---|---|\n| search | 0.700 | 0.500 |\n| validation | 0.800 | 0.400 |" in card
    assert ModelCard(card).data.base_model == [origin.location for origin in recipe.origins]
    url = f"{desk.server.endpoint}/api/validate-yaml"
    assert get_session().post(url, json={"repoType": "model", "content": card}).json()["errors"] == []
    with pytest.raises(ShoalError, match="third: already exists"):
        export_member(ledger, desk.home, hub, CYCLE, "3", out, desk.listener)


def test_an_export_of_a_release_has_its_weights_and_names_it(desk: Desk, tmp_path: Path) -> None:
    release = desk.ledger.releases(CYCLE)[0]
    hub = client(desk.server)
    exported = export_member(
        desk.ledger, desk.home, hub, CYCLE, release.recipe[:8].upper(), tmp_path / "a", desk.listener
    )
    assert exported.files["model.safetensors"] == release.files["model.safetensors"]
    assert f"The release `{release.repo}` was made by the same recipe" in (tmp_path / "a" / "README.md").read_text()
    nobody = Hub("http://127.0.0.1:9", "token", sleep=lambda _: None)  # the sources are in the home now
    export_recipe(desk.ledger, desk.home, nobody, CYCLE, "3", tmp_path / "third.yml")
    assert yaml.safe_load((tmp_path / "third.yml").read_text())["merge_method"] == "linear"


def test_the_page_has_scores_coefficients_card_and_recipe_of_a_member_that_was_not_released(desk: Desk) -> None:
    shown = PageDesk(desk.home, client(desk.server))
    third = desk.ledger.front(CYCLE)[2][0]
    chosen = shown.cycle(CYCLE, None, None, third).chosen
    assert chosen is not None and (chosen.member.number, chosen.merge, chosen.release) == (3, "linear", None)
    assert [(row.split, row.scores) for row in chosen.scores] == [("search", (0.7, 0.5)), ("validation", (0.8, 0.4))]
    assert chosen.facts is not None and chosen.facts.weight_merges[0].parameters == (("weight", ((1.0,), (3.0,))),)
    card = shown.member_card(CYCLE, third)
    assert "**This is not a release.**" in card.card and "base_model:" in card.front_matter
    assert read_recipe(json.loads(shown.member_recipe(CYCLE, third))).digest == third
    assert yaml.safe_load(shown.member_mergekit(CYCLE, third))["merge_method"] == "linear"
    released = shown.cycle(CYCLE, None, None, desk.ledger.releases(CYCLE)[0].recipe).chosen
    assert released is not None and released.release is not None and released.release.role == "balanced"


def test_a_merge_of_a_source_that_is_gone_cannot_be_built_again(desk: Desk, tmp_path: Path) -> None:
    desk.server.store.delete_repo(MATH)
    with pytest.raises(ShoalError, match=rf"{MATH}@\w+: no longer on the Hub, .* its merges cannot be built again"):
        export_member(desk.ledger, desk.home, client(desk.server), CYCLE, "3", tmp_path / "third", desk.listener)
    assert not (tmp_path / "third").exists()


def test_a_recipe_alone_is_yaml_for_mergekit_and_fetches_no_weights(desk: Desk, tmp_path: Path) -> None:
    from mergekit.config import MergeConfiguration

    out = tmp_path / "third.yml"
    desk.server.faults.clear()
    export_recipe(desk.ledger, desk.home, client(desk.server), CYCLE, "3", out)
    config = MergeConfiguration.model_validate(yaml.safe_load(out.read_text()))
    assert config.merge_method == "linear" and len(config.referenced_models()) == 2
    assert not [path for _, path in desk.server.faults.seen if path.endswith(".safetensors")]
    with pytest.raises(ShoalError, match="already exists"):
        export_recipe(desk.ledger, desk.home, client(desk.server), CYCLE, "3", out)


@pytest.mark.parametrize("name", ["0", "4", "f" * 10, "abc", ""])
def test_a_name_that_is_no_front_member_is_refused(desk: Desk, name: str) -> None:
    members = front_members(desk.ledger, CYCLE)
    with pytest.raises(ShoalError, match=r"RECIPE: got .*: names none of the 3 front members; write a number up to 3"):
        find_member(members, CYCLE, name)
    with pytest.raises(ShoalError, match="has no front yet"):
        find_member((), CYCLE, "1")
