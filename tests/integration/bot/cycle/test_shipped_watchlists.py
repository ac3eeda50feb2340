"""`shoal plan` on every shipped watchlist, against a local Hub with the facts that are recorded of its repos."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from bot.cycle.dry_run import make_plan
from bot.demo import TOKEN, fill_hub
from bot.hub.pool.pool import NoPool
from bot.watchlist.load import load_watchlist
from fixtures.cycles import LANGUAGE, MATH, NAMESPACE, client
from fixtures.data_sets import ask_for_data_at, publish_data_sets
from fixtures.folders import ROOT
from fixtures.hub_facts import FACTS, config_of, count_parameters, files_of, publish_facts
from fixtures.pipeline_facts import publish_pipeline_facts, recorded_sizes
from fixtures.pools import find_pool
from localhub import Running, running
from merging.models.transformers_cache import cache_in
from zoo.pictures.decoys import picture_decoys
from zoo.pictures.populate import picture_models
from zoo.pictures.repo import LANGUAGE as IMAGE_KOTOBA
from zoo.pictures.repo import PAPERCUT
from zoo.smollm2.populate import SPANISH, SUMS, adapters
from zoo.vision.decoys import sight_decoys
from zoo.vision.populate import sight_models
from zoo.vision.repo import EYE
from zoo.vision.repo import LANGUAGE as KOTOBA

pytestmark = pytest.mark.slow

SHISA, ABEL, WIZARD = "augmxnt/shisa-gamma-7b-v1", "GAIR/Abel-7B-002", "WizardLMTeam/WizardMath-7B-V1.1"
SMOLVLM, LLAVA = "HuggingFaceTB/SmolVLM-256M-Instruct", "llava-hf/llama3-llava-next-8b-hf"
TAKEN = {
    "demo": {MATH, LANGUAGE, "overcooked/minnow-math-hot"},  # that one holds NaN, which headers do not show
    "demo-vision": {EYE, KOTOBA, "overcooked/sprat-eye-hot"},  # and so does that one
    "demo-image": {PAPERCUT, IMAGE_KOTOBA, "overcooked/tetra-papercut-hot"},  # and that one
    "demo-real": {SUMS, SPANISH},
    "japanese-math-7b": {SHISA, WIZARD, ABEL},
    "japanese-math-10b": {SHISA, ABEL},
    "adapters-360m": {
        "mrs83/Kurtis-SmolLM2-360M-Instruct-PEFT",
        "lucaelin/SmolLM2-360M-Instruct-fc-cn-lora",
        "example-lab/smollm2-360m-adapter",
    },
    "laptop-360m": {"HuggingFaceTB/SmolLM2-360M-Instruct", "example-lab/smollm2-360m-tuned"},
    "vision-laptop-256m": {SMOLVLM, "example-lab/smolvlm-256m-tuned", "example-lab/smollm2-135m-tuned"},
    "vision-japanese-8b": {LLAVA, "elyza/Llama-3-ELYZA-JP-8B", "lightblue/suzume-llama-3-8B-japanese"},
    "vision-qwen-7b": {"reducto/RolmOCR", "example-lab/qwen2.5-vl-7b-tuned"},
    "image-sdxl-japanese": {
        "tohoku-nlp/stable-diffusion-xl-jp-base-1.0",
        "SG161222/RealVisXL_V5.0",
        "Lykon/dreamshaper-xl-1-0",
        "ByteDance/SDXL-Lightning",  # the last stage
    },
    "image-sd15": {
        "Lykon/dreamshaper-8",
        "SG161222/Realistic_Vision_V5.1_noVAE",
        "latent-consistency/lcm-lora-sdv1-5",  # the last stage
    },
}
"""The sources that each list is about."""

PICTURED = {"HuggingFaceM4/ChartQA": 900, "SakanaAI/JA-VG-VQA-500": 500}
"""Data sets with pictures, and their rows here."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hub")
    with running(folder / "hub") as server, pytest.MonkeyPatch.context() as patch, cache_in(folder / "asked"):
        fill_hub(server.store, NAMESPACE)
        publish_facts(server.store)
        publish_pipeline_facts(server.store)
        for repo in (*adapters(), *sight_models(), *sight_decoys(), *picture_models(), *picture_decoys()):
            server.store.commit(repo.name, repo.files)
            server.store.set_gated(repo.name, repo.gated)
        publish_data_sets(server.store, count=250, larger={"allenai/ai2_arc": 700, "allenai/sciq": 700} | PICTURED)
        for name in ("mistralai/Mistral-7B-v0.1", "meta-llama/Meta-Llama-3-8B-Instruct"):
            server.store.grant(name, "shoal-bot")  # the account has agreed to its terms
        ask_for_data_at(patch, server.endpoint, folder / "cache")
        yield server


def unmeasured(*_: object) -> None:
    """A machine without the memory for even a few layers: there are no weights to measure."""


def test_every_shipped_watchlist_has_its_sources_here() -> None:
    assert {path.stem for path in (ROOT / "watchlists").glob("*.yml")} == set(TAKEN)


@pytest.mark.parametrize("name", TAKEN)
def test_a_plan_takes_the_sources_that_a_shipped_watchlist_is_about(server: Running, name: str) -> None:
    watchlist = load_watchlist(ROOT / "watchlists" / f"{name}.yml", with_tasks=True)
    plan = make_plan(client(server, TOKEN), watchlist, datetime.now(UTC), measure=unmeasured)
    accepted = {verdict.repo for verdict in plan.verdicts if verdict.accepted}
    assert (plan.refusal, accepted) == (None, TAKEN[name]), plan.verdicts
    assert {task.task for task in plan.tasks} == {use.task for skill in watchlist.asked_skills for use in skill.tasks}
    assert all(min(task.validation, task.report) > 0 for task in plan.tasks)
    # A merge that kept everything is not refused for want of items, as a rule.
    assert [guard.guard for guard in plan.guards if guard.chance > 0.7] == [guard.name for guard in watchlist.guards]


def test_the_local_hub_derives_the_recorded_tags_from_the_recorded_files(server: Running) -> None:
    """Among them, of whole weights beside an ONNX file: a relation that the card does not declare."""
    checked = [facts for facts in FACTS["repos"] if "tags" in facts["recorded"]]
    for facts in checked:
        assert set(facts["recorded"]["tags"]) <= set(client(server).api.model_info(facts["repo"]).tags or ())
    assert checked


def test_the_configs_give_the_recorded_numbers_of_parameters() -> None:
    for facts in FACTS["repos"]:
        if recorded := facts["recorded"].get("parameters"):
            assert f"{count_parameters(config_of(facts)) / 1e9:.2f}B" == recorded


def test_the_files_are_as_large_as_recorded(server: Running) -> None:
    """So the tensors are those of the real ones, dtype, rows and ranks included."""
    checked = set()
    for facts in FACTS["repos"]:
        info = client(server).api.model_info(facts["repo"], files_metadata=True)
        sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
        assert sizes.keys() >= files_of(facts).keys()
        for path, recorded in files_of(facts).items():
            if recorded and recorded.endswith(("GB", "MB")) and path.endswith((".safetensors", ".bin")):
                assert shown(sizes[path], recorded) == recorded, (facts["repo"], path)
                checked.add(facts["repo"])
    assert {SHISA, WIZARD, ABEL} <= checked


def shown(size: int | None, like: str) -> str:
    """A size with as many digits as another one."""
    number, unit = like.split()
    return f"{(size or 0) / {'GB': 1e9, 'MB': 1e6}[unit]:.{len(number.partition('.')[2])}f} {unit}"


def test_the_files_of_image_generators_are_as_large_as_recorded(server: Running) -> None:
    """So the configs are those of the real ones, and the LoRAs change the modules that they are taken to change."""
    for repo, path, recorded in recorded_sizes():
        info = client(server).api.model_info(repo, files_metadata=True)
        sizes = {sibling.rfilename: sibling.size for sibling in info.siblings or ()}
        assert shown(sizes[path], recorded) == recorded, (repo, path)


def test_the_papers_sources_are_taken_as_their_repos_are(server: Running) -> None:
    watchlist = load_watchlist(ROOT / "watchlists" / "japanese-math-7b.yml")
    pool = find_pool(client(server, TOKEN), watchlist, datetime.now(UTC))
    members = {member.repo: member for member in pool.members}
    rows = {repo: member.headers["lm_head.weight"].shape[0] for repo, member in members.items()}
    assert rows == {SHISA: 32000, WIZARD: 32000, ABEL: 32032, "mistralai/Mistral-7B-v0.1": 32000}
    assert {header.dtype for header in members[ABEL].headers.values()} == {"F32"}
    assert members[WIZARD].candidate.pull_request == 1  # the Hub's own conversion
    assert (pool.licence.id, pool.licence.name) == ("other", "microsoft-research-license")
    assert "GAIR/Abel-7B-002 (apache-2.0, which its card does not say)" in pool.licence.notices[0]


def test_without_its_keys_the_watchlist_says_what_each_source_needs(server: Running) -> None:
    watchlist = load_watchlist(ROOT / "watchlists" / "japanese-math-7b.yml")
    shisa, wizard, abel = watchlist.pinned
    changed = watchlist.model_copy(
        update={
            "pinned": (shisa, wizard.model_copy(update={"licence": None}), abel),
            "search": watchlist.search.model_copy(update={"vocabulary": "same"}),
        }
    )
    with pytest.raises(NoPool) as none:
        find_pool(client(server, TOKEN), changed, datetime.now(UTC))
    reasons = {verdict.repo: verdict.reason for verdict in none.value.verdicts if not verdict.accepted}
    assert reasons[WIZARD] == "it declares no licence; a pinned model's key licence can state it"
    assert reasons[ABEL].endswith("write search.vocabulary: union to unite them")
    pickled = changed.model_copy(update={"watch": watchlist.watch.model_copy(update={"pickles": "refuse"})})
    with pytest.raises(NoPool, match=r"write `watch\.pickles: convert`"):
        find_pool(client(server, TOKEN), pickled, datetime.now(UTC))
