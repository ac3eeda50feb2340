"""Repos with pickled weights on the local Hub: found, read by pieces, fetched, converted; or refused by name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file

from bot.hub.client import Hub
from bot.hub.discovery.conversion import CONVERSION_BOT, CONVERSION_TITLE
from bot.hub.download import MANIFEST, fetch_pool, is_complete
from bot.hub.pool.pool import NoPool, Pool
from bot.hub.resolver import source_folder
from conftest import TestHub
from fixtures.pickles import open_conversion, pickled, with_pickles
from fixtures.pools import find_pool
from fixtures.small_adapters import adapter_files
from fixtures.small_repos import files, watchlist

NOW = datetime(2026, 11, 23, tzinfo=UTC)
BASE = {"watch": {"tags": ("fish",), "pickles": "convert"}, "base": {"repo": "reef/base"}}


@pytest.fixture
def reef(hub: TestHub) -> TestHub:
    """A Hub with a base and a source in safetensors, and the pickled source `reef/eel`."""
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/eel", with_pickles(files(2, base="reef/base")))
    return hub


def client(hub: TestHub) -> Hub:
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def find(hub: TestHub, **watch: object) -> Pool:
    return find_pool(client(hub), watchlist(**{**BASE, "watch": {**BASE["watch"], **watch}}), NOW)


def reason(hub: TestHub, repo: str = "reef/eel", **watch: object) -> str:
    """The verdict on a repo."""
    try:
        verdicts = find(hub, **watch).verdicts
    except NoPool as error:
        verdicts = error.verdicts
    return next(verdict.reason for verdict in verdicts if verdict.repo == repo)


def test_pickled_weights_are_refused_unless_the_watchlist_allows_them(reef: TestHub) -> None:
    expected = "its weights are pickled, without safetensors; write `watch.pickles: convert` to have them converted"
    assert reason(reef, pickles="refuse") == expected
    assert reason(reef).endswith("parameters, apache-2.0; its pickled weights are converted here")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_plan_reads_pickles_by_pieces_and_knows_what_the_conversion_will_have(reef: TestHub, shards: int) -> None:
    reef.store.commit(
        "reef/eel", with_pickles(files(2, base="reef/base"), shards), deleted=["pytorch_model.bin"] * (shards > 1)
    )
    # A shard that nothing names is not read, as among safetensors.
    reef.store.commit("reef/eel", {"pytorch_model-00009-of-00009.bin": pickled(TENSORS)})
    reef.faults.clear()
    member = find(reef).sources[-1]
    assert member.repo == "reef/eel"
    assert {name: header.shape for name, header in member.headers.items()} == {
        name: tuple(tensor.shape) for name, tensor in load(files(2)["model.safetensors"]).items()
    }
    assert len([path for _, path in reef.faults.seen if path.endswith(".bin")]) == shards


def test_fetched_pickles_become_safetensors_that_are_kept_by_the_pickles_hash(reef: TestHub, tmp_path: Path) -> None:
    said: list[str] = []
    pool = find(reef)
    fetched = fetch_pool(client(reef), pool, tmp_path, say=said.append)
    folder = fetched.folders[pool.sources[1].ref]
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", "model.safetensors", MANIFEST}
    expected = load(files(2)["model.safetensors"])
    found = load_file(folder / "model.safetensors")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    record = json.loads((folder / MANIFEST).read_bytes())
    content = reef.store.repo("reef/eel").entry("pytorch_model.bin", pool.sources[1].sha)
    (origin,) = record["converted_from"]["files"].items()
    assert origin == ("pytorch_model.bin", {"size": content.size, "hash": content.sha256})
    assert record["converted_from"]["by"].startswith("shoal ")
    (line,) = said
    assert line.startswith("reef/eel: its pickled weights were converted to safetensors, by a process that")
    reef.faults.clear()
    assert fetch_pool(client(reef), pool, tmp_path).folders == fetched.folders
    assert reef.faults.seen == []
    (folder / "model.safetensors").write_bytes(b"cut")
    assert not is_complete(folder)


def pull_files(seed: int = 2) -> dict[str, bytes]:
    return {"model.safetensors": files(seed)["model.safetensors"]}


def test_the_hubs_own_conversion_is_preferred_and_pinned(reef: TestHub, tmp_path: Path) -> None:
    number, sha = open_conversion(reef.store, "reef/eel", pull_files())
    # The card has changed since: what it says now counts, and the conversion stays one of the same weights.
    reef.store.commit("reef/eel", {"README.md": files(2, base="reef/base", licence="mit")["README.md"]})
    pool = find(reef)
    eel = pool.sources[1]
    assert (eel.sha, eel.candidate.pull_request, eel.candidate.licence) == (sha, number, "mit")
    assert reason(reef).endswith(f"; its weights are the Hub's conversion, pull request {number}")
    said: list[str] = []
    fetched = fetch_pool(client(reef), pool, tmp_path, say=said.append)
    assert said == []
    assert source_folder(tmp_path, eel.ref) == fetched.folders[eel.ref]
    assert (fetched.folders[eel.ref] / "model.safetensors").read_bytes() == pull_files()["model.safetensors"]
    assert not any(path.endswith(".bin") for _, path in reef.faults.seen)


def test_a_genuine_client_opens_what_the_bot_takes_for_the_hubs_conversion(reef: TestHub) -> None:
    from huggingface_hub import CommitOperationAdd

    token = reef.store.add_user(CONVERSION_BOT)
    operations = [CommitOperationAdd(path, content) for path, content in pull_files().items()]
    made = reef.api(token).create_commit("reef/eel", operations, commit_message=CONVERSION_TITLE, create_pr=True)
    assert find(reef).sources[1].candidate.pull_request == made.pr_num
    reef.api().change_discussion_status("reef/eel", made.pr_num, "closed")
    assert find(reef).sources[1].candidate.pull_request is None


def test_a_pull_request_that_is_no_conversion_of_these_pickles_is_not_used(hub: TestHub) -> None:
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    pulls = {
        "another-author": (pull_files(), {"author": "bob"}, ""),
        "another-title": (pull_files(), {"title": "Better weights"}, ""),
        "another-config": ({**pull_files(), "config.json": b"{}"}, {}, "has another config.json"),
        "too-early": ({"notes.txt": b"soon"}, {}, "has no safetensors"),
        "another-template": ({**pull_files(), "chat_template.jinja": b"{{ x }}"}, {}, "adds chat_template.jinja"),
        "older-pickles": (pull_files(), {}, "has another pytorch_model.bin"),
    }
    for seed, (name, (changes, how, _)) in enumerate(pulls.items(), 1):
        hub.store.commit(f"reef/{name}", with_pickles(files(seed, base="reef/base")))
        open_conversion(hub.store, f"reef/{name}", changes, **how)
    hub.store.commit("reef/older-pickles", with_pickles(files(9, base="reef/base")))
    found = find_pool(client(hub), watchlist(**BASE, max_sources=6), NOW).verdicts
    reasons = {verdict.repo.removeprefix("reef/"): verdict.reason.partition("; ")[2] for verdict in found}
    expected = {
        name: f" (the Hub's conversion in pull request 1 {why})" if why else "" for name, (*_, why) in pulls.items()
    }
    assert reasons == {name: f"its pickled weights are converted here{why}" for name, why in expected.items()}


class Running:
    """An object whose pickle runs a command when it is read."""

    def __reduce__(self) -> tuple[object, ...]:
        import os

        return os.system, ("touch pwned",)


TENSORS = load(files(2)["model.safetensors"])


def test_bad_pickles_are_refused_by_name_before_they_are_fetched(reef: TestHub) -> None:
    view = torch.zeros(16)[::2]
    bad = {
        "code": (pickled({**TENSORS, "x": Running()}), "it holds posix.system, which is no part of a plain tensor"),
        "nested": (pickled({"state": TENSORS}), "'state' in it is a dictionary, not a tensor"),
        "view": (
            pickled({**TENSORS, "model.norm.weight": view}),
            "tensor model.norm.weight is a view ([8] of 16 values",
        ),
        "tail": (pickled(TENSORS)[:-500], "it is cut short, or torch.save did not write it"),
        "shared": (pickled({**TENSORS, "lm_head.weight": TENSORS["model.embed_tokens.weight"]}), "share their memory"),
    }
    for name, (content, _) in bad.items():
        reef.store.commit(f"reef/{name}", {**with_pickles(files(2, base="reef/base")), "pytorch_model.bin": content})
    reasons = {verdict.repo: verdict.reason for verdict in find(reef).verdicts}
    for name, (_, refusal) in bad.items():
        assert refusal in reasons[f"reef/{name}"] and "pytorch_model.bin: " in reasons[f"reef/{name}"]


def test_a_pickle_whose_values_are_damaged_leaves_the_pool_and_nothing_stays(reef: TestHub, tmp_path: Path) -> None:
    reef.store.commit("reef/ray", files(3, base="reef/base"))
    content = bytearray(pickled(TENSORS))
    values = TENSORS["model.norm.weight"].numpy().tobytes()
    content[content.index(values)] ^= 1
    reef.store.commit("reef/eel", {"pytorch_model.bin": bytes(content)})
    fetched = fetch_pool(client(reef), find(reef), tmp_path)
    (verdict,) = fetched.refused
    assert verdict.reason.startswith("damaged: pytorch_model.bin: its record 'archive/data/")
    assert list((tmp_path / "reef--eel").iterdir()) == []


def test_a_process_that_fails_leaves_what_was_fetched_for_the_next_cycle(
    reef: TestHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reef.store.commit("reef/ray", files(3, base="reef/base"))
    pool = find(reef)
    with monkeypatch.context() as patch:
        patch.setattr("merging.pickles.conversion._START", "raise SystemExit('no torch here')")
        (verdict,) = fetch_pool(client(reef), pool, tmp_path).refused
    assert verdict.reason == (
        "not converted: the process that converts its pickles ended with status 1 (no torch here)"
    )
    reef.faults.clear()
    fetched = fetch_pool(client(reef), pool, tmp_path)
    assert fetched.refused == () and not any(path.endswith(".bin") for _, path in reef.faults.seen)


def test_a_pickled_adapter_is_converted_too(reef: TestHub, tmp_path: Path) -> None:
    tensors = load(adapter_files(4)["adapter_model.safetensors"])
    lora = {path: content for path, content in adapter_files(4).items() if not path.endswith(".safetensors")}
    reef.store.commit("reef/lora", lora | {"adapter_model.bin": pickled(tensors)})
    reef.store.commit("reef/trap", lora | {"adapter_model.bin": pickled({**tensors, "x": Running()})})
    assert reason(reef, "reef/lora", pickles="refuse").endswith("write `watch.pickles: convert` to have them converted")
    assert reason(reef, "reef/trap").startswith("its adapter_model.bin: it holds posix.system")
    pool = find(reef)
    member = next(source for source in pool.sources if source.repo == "reef/lora")
    folder = fetch_pool(client(reef), pool, tmp_path).folders[member.remotes[1].ref]
    found = load_file(folder / "adapter_model.safetensors")
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert not (folder / "adapter_model.bin").exists()
    assert set(json.loads((folder / MANIFEST).read_bytes())["converted_from"]["files"]) == {"adapter_model.bin"}


def test_other_limits_hold_for_pickles_too(reef: TestHub) -> None:
    size = reef.store.repo("reef/eel").entry("pytorch_model.bin", reef.store.head("reef/eel")).size
    assert "more than watch.max_bytes" in reason(reef, max_bytes=size)
    assert "fewer than watch.parameters.min (10,000)" in reason(reef, parameters={"min": 10_000})
    reef.store.set_security("reef/eel", scans_done=True, issues=[{"path": "pytorch_model.bin", "level": "unsafe"}])
    assert reason(reef) == "the Hub's security scan warns of pytorch_model.bin"
