"""Genuine hf_xet transfers, up and down, and what can go wrong with them."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from safetensors.numpy import save

from bot.hub.answers.failures import HubNotFound, HubUnavailable, TransferFailed
from bot.hub.client import Hub
from bot.hub.discovery.query import query_model
from bot.hub.download import fetch_pool, fetch_repo
from bot.hub.inspection.member import Unfit
from bot.hub.inspection.reading import inspect_candidate
from bot.release.publish import ReleaseUpload, publish_release
from fixtures.noise import noise
from fixtures.pools import find_pool
from fixtures.small_repos import files, tokenizer, watchlist, weights
from localhub import Fault

NOW = datetime(2026, 11, 26, tzinfo=UTC)
WEIGHTS = noise(3_000_000)


@pytest.fixture(autouse=True)
def fresh_tokens():
    """The client keeps Xet tokens for the life of the process."""
    from huggingface_hub.utils import _xet

    _xet.XET_CONNECTION_INFO_CACHE.clear()


def client(hub):
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def storage_at(address):
    """A fault that sends clients to another storage."""
    headers = {"X-Xet-Cas-Url": address, "X-Xet-Token-Expiration": "9999999999", "X-Xet-Access-Token": "x"}
    return Fault("GET", "*/xet-read-token/*", times=99, status=200, headers=headers)


def test_a_download_is_silent_and_reports_each_byte_once(xet_hub, tmp_path, capfd):
    sha = xet_hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    counts = []
    path = client(xet_hub).download("ada/cod", sha, "model.safetensors", tmp_path, counts.append)
    assert path.read_bytes() == WEIGHTS
    assert sum(counts) == len(WEIGHTS)
    assert capfd.readouterr() == ("", "")
    assert any("xet-read-token" in path for _, path in xet_hub.faults.seen)


def test_a_release_goes_up_through_xet_and_no_byte_goes_twice(xet_hub, tmp_path, capfd):
    folder = tmp_path / "release"
    folder.mkdir()
    content = {"model.safetensors": WEIGHTS, "README.md": b"---\ntags: [shoal-merge]\n---\n", "shoal.json": b"{}"}
    for name, data in content.items():
        (folder / name).write_bytes(data)
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    upload = ReleaseUpload(folder, hashes, "reef/merge", private=False, tag="fish-1", message="Release")
    commit = publish_release(client(xet_hub), upload)
    assert capfd.readouterr() == ("", "")
    assert {name: xet_hub.store.read("reef/merge", name, commit) for name in content} == content
    assert not any(".git/info/lfs" in path for _, path in xet_hub.faults.seen)
    xet_hub.faults.clear()
    assert publish_release(client(xet_hub), upload) == commit
    assert not any("xet-write-token" in path for _, path in xet_hub.faults.seen)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_token_is_named_as_such_on_the_way_down_and_up(xet_hub, tmp_path, status):
    sha = xet_hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    bot = client(xet_hub)
    xet_hub.faults.refuse("*-token/*", status, times=99)
    named = rf"the Hub answers {status} to the request for a Xet {{}} token.*; check the token's rights, or set HF_HUB"
    with pytest.raises(TransferFailed, match=rf"^ada/cod: model.safetensors: {named.format('read')}"):
        bot.download("ada/cod", sha, "model.safetensors", tmp_path)
    with pytest.raises(TransferFailed, match=rf"^ada/cod: {named.format('write')}"):
        send(bot, noise(300_000))


def test_a_hub_without_xet_gives_its_files_and_says_how_to_send_some(hub, monkeypatch, capfd):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    sha = hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    assert client(hub).read("ada/cod", sha, "model.safetensors") == WEIGHTS
    assert capfd.readouterr() == ("", "")
    with pytest.raises(TransferFailed, match=r"answers 404 to the request for a Xet write token.*HF_HUB_DISABLE_XET=1"):
        send(client(hub), noise(300_000))


def send(bot, content):
    from huggingface_hub import CommitOperationAdd

    change = CommitOperationAdd("more.safetensors", content)
    bot.call(bot.api.create_commit, "ada/cod", operations=[change], commit_message="More")


def test_a_repo_that_is_gone_is_not_taken_for_a_refused_token(xet_hub, tmp_path):
    sha = xet_hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    gone = {"X-Error-Code": "RepoNotFound"}
    xet_hub.faults.add(Fault("GET", "*/xet-read-token/*", status=404, headers=gone))
    with pytest.raises(HubNotFound, match=r"^ada/cod: not on the Hub, or private"):
        client(xet_hub).download("ada/cod", sha, "model.safetensors", tmp_path)


@pytest.mark.parametrize("status, kind", [(403, TransferFailed), (404, TransferFailed), (500, HubUnavailable)])
def test_a_storage_that_refuses_is_one_line_with_its_answer(xet_hub, tmp_path, capfd, status, kind):
    sha = xet_hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    xet_hub.faults.add(storage_at(xet_hub.endpoint))
    xet_hub.faults.refuse("/v*/*", status, times=99)
    with pytest.raises(kind, match=rf"^ada/cod: model.safetensors: the Xet storage .*{status}") as caught:
        client(xet_hub).download("ada/cod", sha, "model.safetensors", tmp_path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_storage_out_of_reach_is_said_to_be_so(xet_hub, tmp_path):
    sha = xet_hub.store.commit("ada/cod", {"model.safetensors": WEIGHTS})
    xet_hub.faults.add(storage_at("http://127.0.0.1:9"))
    with pytest.raises(HubUnavailable, match=r"^ada/cod: model.safetensors: the Xet storage does not answer .*later$"):
        client(xet_hub).download("ada/cod", sha, "model.safetensors", tmp_path)


def test_after_a_shard_is_lost_on_the_way_the_next_run_fetches_that_one_alone(xet_hub, tmp_path):
    shards = split(weights(1))
    index = {"weight_map": {tensor: name for name, tensors in shards.items() for tensor in tensors}}
    content = files(1) | {name: save(tensors) for name, tensors in shards.items()}
    content["model.safetensors.index.json"] = json.dumps(index).encode()
    del content["model.safetensors"]
    sha = xet_hub.store.commit("ada/cod", content)
    last = max(shards)
    chunks = offer(xet_hub, content[last])
    bot = client(xet_hub)
    member = inspect_candidate(bot, query_model(bot, "ada/cod", sha))
    chunks.rename(tmp_path / "chunks")
    sources = tmp_path / "sources"
    with pytest.raises(TransferFailed, match=rf"^ada/cod: {last}: the Xet transfer failed \(.*not found.*try again"):
        fetch_repo(bot, member, sources)
    (tmp_path / "chunks").rename(chunks)
    arrived = []
    xet_hub.faults.clear()
    folder = fetch_repo(bot, member, sources, lambda _, count: arrived.append(count))
    assert {name: (folder / name).read_bytes() for name in shards} == {name: content[name] for name in shards}
    fetched = {path.rpartition("/")[2] for _, path in xet_hub.faults.seen if "/resolve/" in path}
    assert fetched == {last, "model.safetensors.index.json", "tokenizer.json"}
    assert sum(arrived) == sum(len(content[name]) for name in fetched)


def test_a_candidate_whose_tokenizer_cannot_be_had_is_unfit_and_ends_nothing(xet_hub):
    long = json.dumps(tokenizer() | {"more": "x" * 11_000_000}).encode()  # long enough to be kept in Xet
    sha = xet_hub.store.commit("reef/cod", files(1) | {"tokenizer.json": long})
    xet_hub.faults.refuse("*/xet-read-token/*", 403, times=99)
    bot = client(xet_hub)
    with pytest.raises(Unfit, match=r"^found, but tokenizer.json: the Hub answers 403 to the request for a Xet read"):
        inspect_candidate(bot, query_model(bot, "reef/cod", sha))


def split(tensors):
    """The tensors in three files."""
    names = [f"model-{number:05}-of-00003.safetensors" for number in (1, 2, 3)]
    return {name: dict(list(tensors.items())[at::3]) for at, name in enumerate(names)}


def offer(hub, content):
    """The file with all chunks of some content, once the storage has it."""
    folder = hub.xet.shared / "xet" / "xorbs" / "xorbs"
    assert not folder.exists()
    hub.xet.offer(hashlib.sha256(content).hexdigest())
    return next(path for path in folder.iterdir() if path.suffix != ".tagset")


def test_a_pool_comes_through_xet_as_it_does_without(xet_hub, tmp_path, capfd):
    xet_hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    for seed, name in enumerate(("cod", "eel"), 1):
        xet_hub.store.commit(f"reef/{name}", files(seed, base="reef/base"))
    bot, arrived = client(xet_hub), []
    pool = find_pool(bot, watchlist(), NOW)
    fetched = fetch_pool(bot, pool, tmp_path, lambda _, count: arrived.append(count))
    assert sum(arrived) == pool.download_bytes
    assert fetched.refused == ()
    assert any(path.startswith("/api/resolve-cache/models/reef/cod/") for _, path in xet_hub.faults.seen)
    assert capfd.readouterr() == ("", "")
