import errno
import json
from datetime import UTC, datetime

import pytest

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.download import MANIFEST, SourceGone, fetch_pool
from bot.hub.pool.pool import NoPool
from bot.hub.resolver import source_folder
from bot.watchlist.watchlist import Watchlist
from fixtures.pools import find_pool
from fixtures.small_repos import files, weights

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture
def pool_of(hub):
    """A Hub with a base and the named sources (cod, eel, ray); gives the client and their pool."""

    def find(**changed):
        hub.store.commit("reef/base", files(0, tags=("ancestor",)))
        for seed, name in enumerate(("cod", "eel", "ray"), 1):
            hub.store.commit(f"reef/{name}", changed.get(name) or files(seed, base="reef/base"))
        bot = Hub(hub.endpoint, hub.token, sleep=lambda _: None)
        watchlist = Watchlist.model_validate(
            {
                "name": "fish",
                "watch": {"tags": ("fish",)},
                "skills": ({"name": "math", "tasks": ({"task": "t", "metric": "acc"},)},),
                "publish": {"mode": "off"},
            }
        )
        return bot, find_pool(bot, watchlist, NOW)

    return find


def nan_model(seed):
    tensors = weights(seed)
    tensors["model.norm.weight"][0] = float("nan")
    return files(seed, tensors=tensors, base="reef/base")


def test_only_wanted_files_come_and_a_second_run_asks_nothing(hub, pool_of, tmp_path):
    extra = files(1, base="reef/base") | {
        "pytorch_model.bin": b"x",
        "onnx/model.onnx": b"x",
        "LICENSE": b"free",
        "LICENSE.safetensors": b"x",
        "LICENSE-MODEL": b"free, with conditions",
        "spiece.model": b"pieces",
        "chat_template.json": b"{}",
    }
    bot, pool = pool_of(cod=extra)
    arrived = []
    fetched = fetch_pool(bot, pool, tmp_path / "sources", lambda repo, count: arrived.append((repo, count)))
    cod = fetched.folders[pool.sources[0].ref]
    assert cod == tmp_path / "sources" / "reef--cod" / hub.store.head("reef/cod")
    assert {path.name for path in cod.iterdir()} == {
        "LICENSE",
        "LICENSE-MODEL",
        "chat_template.json",
        "config.json",
        "model.safetensors",
        "spiece.model",
        "tokenizer.json",
        MANIFEST,
    }
    assert (cod / "model.safetensors").read_bytes() == extra["model.safetensors"]
    assert sum(count for _, count in arrived) == pool.download_bytes
    hub.faults.clear()
    assert fetch_pool(bot, pool, tmp_path / "sources").folders == fetched.folders
    assert hub.faults.seen == []


def test_a_dropped_stream_is_resumed(hub, pool_of, tmp_path):
    bot, pool = pool_of()
    fault = hub.faults.drop("/reef/cod/resolve/*/model.safetensors", after=500)
    fetched = fetch_pool(bot, pool, tmp_path)
    assert fault.struck == 1
    assert fetched.refused == ()


def test_a_hub_that_fails_in_the_middle_leaves_what_is_done_and_the_next_run_goes_on(
    hub, pool_of, tmp_path, monkeypatch
):
    monkeypatch.setattr("time.sleep", lambda _: None)
    bot, pool = pool_of()
    hub.faults.unavailable("/reef/eel/resolve/*/model.safetensors", times=10**6)
    with pytest.raises(ShoalError, match="the Hub answers 503; try again later"):
        fetch_pool(bot, pool, tmp_path)
    assert (source_folder(tmp_path, pool.sources[0].ref) / MANIFEST).is_file()
    assert not source_folder(tmp_path, pool.sources[1].ref).exists()
    hub.faults.clear()
    fetch_pool(bot, pool, tmp_path)
    assert not any("cod" in path for _, path in hub.faults.seen)


def test_a_source_with_nan_weights_leaves_the_pool_and_is_named(pool_of, tmp_path):
    bot, pool = pool_of(eel=nan_model(2))
    fetched = fetch_pool(bot, pool, tmp_path)
    (verdict,) = fetched.refused
    assert verdict.repo == "reef/eel"
    assert verdict.reason == "damaged: model.safetensors: tensor model.norm.weight holds NaN or infinite values"
    assert [source.repo for source in fetched.pool.sources] == ["reef/cod", "reef/ray"]
    assert set(fetched.folders) == {member.ref for member in fetched.pool.members}
    assert not (tmp_path / "reef--eel" / verdict.sha).exists()
    assert verdict in fetched.pool.verdicts


def test_two_damaged_sources_of_three_end_the_cycle_with_both_reasons(pool_of, tmp_path):
    bot, pool = pool_of(eel=nan_model(2), ray=nan_model(3))
    with pytest.raises(NoPool, match=r"one source only \(reef/cod\).*reef/eel: damaged.*reef/ray: damaged"):
        fetch_pool(bot, pool, tmp_path)


def test_bytes_that_are_not_what_the_hub_promised_are_refused_by_file_and_hash(hub, pool_of, tmp_path):
    bot, pool = pool_of()
    entry = hub.store.blobs.path(pool.sources[1].candidate.file("model.safetensors").sha256)
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    entry.write_bytes(content)
    (verdict,) = fetch_pool(bot, pool, tmp_path).refused
    assert verdict.repo == "reef/eel"
    assert verdict.reason.startswith("damaged: model.safetensors has the hash ")


def test_a_truncated_file_is_refused_and_named(hub, pool_of, tmp_path):
    bot, pool = pool_of()
    entry = hub.store.blobs.path(pool.sources[1].candidate.file("model.safetensors").sha256)
    entry.write_bytes(entry.read_bytes()[:-64])
    (verdict,) = fetch_pool(bot, pool, tmp_path).refused
    assert verdict.repo == "reef/eel"
    assert "model.safetensors" in verdict.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: store.delete_repo("reef/eel"), r"^reef/eel@\w{12}: gone since it was found"),
        (lambda store: store.move_repo("reef/eel", "reef/conger"), "^reef/eel: moved to reef/conger since"),
        (lambda store: store.set_gated("reef/eel", "auto"), "^reef/eel: gated since it was found"),
    ],
)
def test_a_source_deleted_moved_or_gated_in_between_is_named_and_nothing_is_fetched(
    hub, pool_of, tmp_path, change, message
):
    bot, pool = pool_of()
    change(hub.store)
    with pytest.raises(SourceGone, match=message):
        fetch_pool(bot, pool, tmp_path / "sources")
    assert not (tmp_path / "sources").exists()


def test_a_folder_without_its_manifest_or_with_a_cut_file_is_fetched_again(pool_of, tmp_path):
    bot, pool = pool_of()
    cod, eel = (fetch_pool(bot, pool, tmp_path).folders[source.ref] for source in pool.sources[:2])
    (cod / MANIFEST).unlink()
    weights_file = eel / "model.safetensors"
    whole = weights_file.read_bytes()
    weights_file.write_bytes(whole[:100])
    fetch_pool(bot, pool, tmp_path)
    assert json.loads((cod / MANIFEST).read_text())["repo"] == "reef/cod"
    assert weights_file.read_bytes() == whole


def test_a_disk_without_room_is_reported_before_anything_is_fetched(hub, pool_of, tmp_path, monkeypatch):
    bot, pool = pool_of()
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    hub.faults.clear()
    with pytest.raises(ShoalError, match="1,000 bytes free where the sources need"):
        fetch_pool(bot, pool, tmp_path)
    assert not any("/resolve/" in path for _, path in hub.faults.seen)


def test_a_disk_that_fills_up_is_named_and_nothing_of_the_source_stays(pool_of, tmp_path, monkeypatch):
    bot, pool = pool_of()
    write = bot.download

    def full(repo, sha, path, folder, arrived):
        if (repo, path) == ("reef/eel", "model.safetensors"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(repo, sha, path, folder, arrived)

    monkeypatch.setattr(bot, "download", full)
    with pytest.raises(ShoalError, match="the disk is full; free some space and run the command again"):
        fetch_pool(bot, pool, tmp_path)
    assert list((tmp_path / "reef--eel").iterdir()) == []
    monkeypatch.setattr(bot, "download", write)
    assert fetch_pool(bot, pool, tmp_path).refused == ()
