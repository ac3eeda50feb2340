"""Finding and reading models on the local Hub, with the genuine client."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    NotASafetensorsRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.numpy import load_file, save

from conftest import TestHub

CONFIG = json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8})


def weights(rows: int, dtype: type = np.float32) -> bytes:
    return save({"embed": np.arange(rows * 8, dtype=dtype).reshape(rows, 8), "norm": np.ones(8, dtype=dtype)})


def card(**fields: object) -> str:
    return f"---\n{json.dumps(fields)}\n---\n# A model\n"


def add_model(hub: TestHub, repo: str, rows: int = 4, **fields: object) -> str:
    facts = {"license": "apache-2.0", "library_name": "transformers"} | fields
    files = {"README.md": card(**facts), "config.json": CONFIG, "model.safetensors": weights(rows)}
    return hub.store.commit(repo, files, "Add the model")


def ids(models: object) -> list[str]:
    return [model.id for model in models]  # type: ignore[attr-defined]


def test_a_list_is_narrowed_by_each_of_the_client_s_filters(hub: TestHub) -> None:
    add_model(hub, "ada/small-math", rows=4, tags=["math"], base_model="ada/base")
    add_model(hub, "ada/large-math", rows=1000, tags=["math"], license="mit")
    add_model(hub, "bob/prose", rows=4, tags=["prose"], pipeline_tag="fill-mask")
    hub.store.commit("bob/pickled", {"README.md": card(tags=["math"]), "pytorch_model.bin": b"\0"})
    hub.store.set_gated("ada/large-math", "manual")
    list_models = hub.api().list_models
    assert set(ids(list_models(filter="math"))) == {"ada/small-math", "ada/large-math", "bob/pickled"}
    assert set(ids(list_models(filter=["math", "safetensors"]))) == {"ada/small-math", "ada/large-math"}
    assert ids(list_models(filter=["math", "license:mit"])) == ["ada/large-math"]
    assert ids(list_models(filter="base_model:finetune:ada/base")) == ["ada/small-math"]
    assert ids(list_models(author="ada", gated=False)) == ["ada/small-math"]
    assert ids(list_models(gated=True)) == ["ada/large-math"]
    assert ids(list_models(pipeline_tag="fill-mask")) == ["bob/prose"]
    assert ids(list_models(num_parameters="min:1K,max:1M")) == ["ada/large-math"]
    assert set(ids(list_models(num_parameters="max:0.0001M"))) == {"ada/small-math", "bob/prose"}
    assert ids(list_models(search="LARGE")) == ["ada/large-math"]


def test_a_list_is_sorted_and_fetched_page_by_page_without_gaps(hub: TestHub) -> None:
    for number in range(7):
        add_model(hub, f"ada/m{number}")
        hub.store.set_downloads(f"ada/m{number}", 10 * (number % 3))
        hub.store.set_created_at(f"ada/m{number}", datetime(2025, 1, 1 + number, tzinfo=UTC))
    by_downloads = ["ada/m2", "ada/m5", "ada/m1", "ada/m4", "ada/m0", "ada/m3", "ada/m6"]
    assert ids(hub.api().list_models(sort="downloads")) == by_downloads
    assert ids(hub.api().list_models(sort="created_at", limit=2)) == ["ada/m6", "ada/m5"]
    pages, url = [], f"{hub.endpoint}/api/models?sort=downloads&limit=3&author=ada"
    while url:
        answer = httpx.get(url)
        pages.append([model["id"] for model in answer.json()])
        url = answer.links.get("next", {}).get("url")
    assert pages == [by_downloads[:3], by_downloads[3:6], by_downloads[6:]]


def test_expand_gives_the_fields_asked_for_and_refuses_what_a_list_cannot_give(hub: TestHub) -> None:
    sha = add_model(hub, "ada/m", base_model=["ada/a", "ada/b"])
    fields = ["safetensors", "config", "tags", "gated", "cardData", "downloads", "sha", "lastModified", "siblings"]
    [model] = hub.api().list_models(expand=fields)  # type: ignore[arg-type]
    assert (model.sha, model.gated, model.downloads, model.safetensors.total) == (sha, False, 0, 40)
    assert model.config["architectures"] == ["LlamaForCausalLM"]
    assert model.card_data.base_model == ["ada/a", "ada/b"]
    assert "model.safetensors" in [sibling.rfilename for sibling in model.siblings]
    assert model.author is None
    for field in ("baseModels", "usedStorage", "nonsense"):
        with pytest.raises(HfHubHTTPError, match=f"\"expand\" must be one of .*not '{field}'"):
            list(hub.api().list_models(expand=[field]))  # type: ignore[list-item]
    one = hub.api().model_info("ada/m", expand=["baseModels", "childrenModelCount", "usedStorage"])
    assert one.base_models["relation"] == "merge"
    assert [base["id"] for base in one.base_models["models"]] == ["ada/a", "ada/b"]
    assert (one.children_model_count, one.used_storage > 0) == (0, True)


def test_a_filter_that_this_server_cannot_apply_is_refused_rather_than_ignored(hub: TestHub) -> None:
    with pytest.raises(HfHubHTTPError, match='"inference" is not served'):
        list(hub.api().list_models(inference="warm"))


def test_model_info_tells_files_hashes_parameters_and_the_scanner_s_word(hub: TestHub) -> None:
    sha = add_model(hub, "ada/m", rows=4)
    hub.store.set_security("ada/m", scans_done=True, issues=[{"path": "x.bin", "level": "unsafe"}])
    info = hub.api().model_info("ada/m", files_metadata=True, securityStatus=True)
    content = weights(4)
    files = {sibling.rfilename: sibling for sibling in info.siblings}
    model = files["model.safetensors"]
    assert (model.lfs.sha256, model.lfs.size) == (hashlib.sha256(content).hexdigest(), len(content))
    text = CONFIG.encode()
    assert files["config.json"].blob_id == hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
    assert info.safetensors.parameters == {"F32": 40}
    assert (info.sha, info.library_name, info.pipeline_tag) == (sha, "transformers", "text-generation")
    assert info.transformers_info.auto_model == "AutoModelForCausalLM"
    assert info.security_repo_status == {
        "scansDone": True,
        "filesWithIssues": [{"path": "x.bin", "level": "unsafe"}],
    }


def test_a_model_is_shown_as_it_was_at_a_revision(hub: TestHub) -> None:
    old = add_model(hub, "ada/m", rows=4, tags=["old"])
    hub.store.repo("ada/m").create_tag("v1", "main")
    new = add_model(hub, "ada/m", rows=6, tags=["new"])
    for revision in (old, "v1"):
        info = hub.api().model_info("ada/m", revision=revision)
        assert (info.sha, info.safetensors.total, "old" in info.tags) == (old, 40, True)
    assert hub.api().model_info("ada/m").sha == new


def test_what_is_absent_raises_the_client_s_own_exceptions(hub: TestHub) -> None:
    sha = add_model(hub, "ada/m")
    for token in (hub.token, False):
        with pytest.raises(RepositoryNotFoundError):
            hub.api(token).model_info("ada/absent")
    with pytest.raises(RepositoryNotFoundError):
        hub.api().model_info("gpt2")
    with pytest.raises(RevisionNotFoundError):
        hub.api().model_info("ada/m", revision="absent")
    with pytest.raises(RemoteEntryNotFoundError) as caught:
        hub.api().hf_hub_download("ada/m", "absent.json", cache_dir=hub.cache)
    assert caught.value.response.headers["X-Repo-Commit"] == sha
    assert hub.api().file_exists("ada/m", "config.json")
    assert not hub.api().file_exists("ada/m", "absent.json")
    assert not hub.api().repo_exists("ada/absent")


def test_the_tree_lists_folders_and_files_at_every_depth(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a/b/c.txt": "1", "a/d.txt": "2", "e.bin": b"\0"}, "first")
    second = hub.store.commit("ada/m", {"a/d.txt": "3"}, "second")
    api = hub.api()
    assert [item.path for item in api.list_repo_tree("ada/m")] == ["a", ".gitattributes", "e.bin"]
    assert [item.path for item in api.list_repo_tree("ada/m", "a")] == ["a/b", "a/d.txt"]
    assert [item.path for item in api.list_repo_tree("ada/m", "a/b")] == ["a/b/c.txt"]
    everything = {item.path: item for item in api.list_repo_tree("ada/m", recursive=True, expand=True)}
    assert set(everything) == {"a", "a/b", "a/b/c.txt", "a/d.txt", ".gitattributes", "e.bin"}
    assert everything["a/d.txt"].last_commit.oid == everything["a"].last_commit.oid == second
    assert everything["a/b"].last_commit.title == "first"
    assert everything["e.bin"].lfs.size == 1
    assert [item.path for item in api.get_paths_info("ada/m", ["a", "e.bin", "absent"])] == ["a", "e.bin"]
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree("ada/m", "absent"))


def test_a_snapshot_at_a_sha_holds_exactly_the_files_of_that_commit(hub: TestHub) -> None:
    sha = add_model(hub, "ada/m", rows=4)
    add_model(hub, "ada/m", rows=6)
    api = hub.api(False)
    folder = Path(api.snapshot_download("ada/m", revision=sha, cache_dir=hub.cache, allow_patterns=["*.safetensors"]))
    assert (folder.name, [path.name for path in folder.iterdir()]) == (sha, ["model.safetensors"])
    assert load_file(folder / "model.safetensors")["embed"].shape == (4, 8)
    hub.faults.clear()
    api.hf_hub_download("ada/m", "model.safetensors", revision=sha, cache_dir=hub.cache)
    assert hub.faults.seen == []


def test_ranges_etags_and_linked_headers_are_those_of_the_protocol(hub: TestHub) -> None:
    sha = add_model(hub, "ada/m")
    content, url = weights(4), f"{hub.endpoint}/ada/m/resolve/main/model.safetensors"
    head = httpx.head(url)
    digest = f'"{hashlib.sha256(content).hexdigest()}"'
    assert (head.headers["etag"], head.headers["x-linked-etag"]) == (digest, digest)
    assert head.headers["x-linked-size"] == head.headers["content-length"] == str(len(content))
    assert head.headers["x-repo-commit"] == sha
    part = httpx.get(url, headers={"Range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, content[3:10])
    assert part.headers["content-range"] == f"bytes 3-9/{len(content)}"
    assert httpx.get(url, headers={"Range": f"bytes={len(content)}-"}).status_code == 416
    small = httpx.head(f"{hub.endpoint}/ada/m/resolve/{sha}/config.json")
    assert "x-linked-etag" not in small.headers
    assert len(small.headers["etag"]) == 42


def test_safetensors_headers_are_read_without_the_weights(hub: TestHub) -> None:
    shards = {"a.safetensors": {"x": np.zeros((2, 3), np.float16)}, "b.safetensors": {"y": np.zeros(5, np.float32)}}
    index = {"metadata": {}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    files = {name: save(tensors) for name, tensors in shards.items()}
    hub.store.commit("ada/sharded", {**files, "model.safetensors.index.json": json.dumps(index)})
    found = hub.api().get_safetensors_metadata("ada/sharded")
    assert (found.sharded, found.parameter_count) == (True, {"F16": 6, "F32": 5})
    assert found.files_metadata["a.safetensors"].tensors["x"].shape == [2, 3]
    assert hub.api().model_info("ada/sharded").safetensors.total == 11
    with pytest.raises(NotASafetensorsRepoError):
        hub.store.commit("ada/text", {"README.md": "# nothing"})
        hub.api().get_safetensors_metadata("ada/text")


def test_a_file_that_only_claims_to_be_safetensors_does_no_harm_to_the_list(hub: TestHub) -> None:
    hub.store.commit("ada/short", {"model.safetensors": b"\x01"})
    hub.store.commit("ada/huge", {"model.safetensors": b"\xff" * 64})
    hub.store.commit("ada/list", {"model.safetensors": b"\x02" + b"\0" * 7 + b"[]", "config.json": "[]"})
    hub.store.commit("ada/shape", {"model.safetensors": b"\x20" + b"\0" * 7 + b'{"a": {"shape": ["x"], "b": 0}} '})
    hub.store.commit("ada/card", {"README.md": "---\n{a: [}\n---\n"})
    assert len(list(hub.api().list_models(expand=["safetensors", "config", "cardData"]))) == 5


def test_revisions_and_paths_with_slashes_arrive_whole(hub: TestHub) -> None:
    sha = hub.store.commit("ada/m", {"a b/ü#?.txt": "x"})
    hub.api().create_branch("ada/m", branch="side/way")
    path = hub.api().hf_hub_download("ada/m", "a b/ü#?.txt", revision="side/way", cache_dir=hub.cache)
    assert Path(path).read_text() == "x"
    assert hub.api().model_info("ada/m", revision="side/way").sha == sha


def test_unknown_routes_answer_404_with_one_clear_line(hub: TestHub) -> None:
    for path in ("/api/buckets/ada/d", "/api/nonsense", "/datasets/ada/d", "/api/agent-harnesses"):
        answer = httpx.get(hub.endpoint + path)
        assert answer.status_code == 404
        assert answer.json()["error"].startswith("No such route on the local Hub")
        assert path in answer.json()["error"]
