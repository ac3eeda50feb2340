"""Who may see and change what on the local Hub: tokens, private and gated repos, namespaces."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from conftest import TestHub
from localhub import make_admin_token, running
from localhub.store.accounts import TokenScope


def refused(status: int) -> pytest.RaisesExc[HfHubHTTPError]:
    return pytest.raises(HfHubHTTPError, check=lambda error: error.response.status_code == status)


def test_whoami_names_user_organisations_and_role(hub: TestHub) -> None:
    ada = hub.api().whoami()
    assert (ada["name"], [(org["name"], org["roleInOrg"]) for org in ada["orgs"]]) == ("ada", [("reef", "admin")])
    assert ada["auth"]["accessToken"]["role"] == "write"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        hub.api("hf_wrong").whoami()
    assert httpx.get(f"{hub.endpoint}/api/whoami-v2").status_code == 401


def test_a_private_repo_does_not_exist_for_others(hub: TestHub) -> None:
    hub.store.commit("reef/secret", {"a.txt": "1"})
    hub.api().update_repo_settings("reef/secret", private=True)
    for token in (hub.other_token, False):
        api = hub.api(token)
        assert list(api.list_models()) == []
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("reef/secret")
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download("reef/secret", "a.txt", cache_dir=hub.cache)
    assert httpx.get(f"{hub.endpoint}/reef/secret", headers={"Accept": "text/html"}).status_code == 404
    assert hub.api().model_info("reef/secret").private
    assert Path(hub.api().hf_hub_download("reef/secret", "a.txt", cache_dir=hub.cache)).read_text() == "1"


def test_a_gated_repo_is_listed_but_read_only_by_those_let_in(hub: TestHub) -> None:
    hub.store.commit("ada/gated", {"a.txt": "1"})
    hub.api().update_repo_settings("ada/gated", gated="manual")
    for token in (hub.other_token, False):
        api = hub.api(token)
        assert api.model_info("ada/gated").gated == "manual"
        assert api.list_repo_files("ada/gated") == [".gitattributes", "a.txt"]
        with pytest.raises(GatedRepoError):
            api.hf_hub_download("ada/gated", "a.txt", cache_dir=hub.cache)
        with pytest.raises(GatedRepoError):
            api.auth_check("ada/gated")
    hub.store.grant("ada/gated", "bob")
    path = hub.api(hub.other_token).hf_hub_download("ada/gated", "a.txt", cache_dir=hub.cache)
    assert Path(path).read_text() == "1"


def test_writing_needs_a_token_that_may_write_to_the_namespace(hub: TestHub) -> None:
    head = hub.store.commit("reef/m", {"a.txt": "1"})
    reader = hub.store.accounts.add_token("ada", role="read")
    operations = [CommitOperationAdd("a.txt", b"2")]
    for token, status in ((False, 401), (hub.other_token, 403), (reader, 403)):
        api = hub.api(token)
        for deed in (
            lambda api=api: api.create_commit("reef/m", list(operations), commit_message="x"),
            lambda api=api: api.create_repo("reef/new"),
            lambda api=api: api.delete_repo("reef/m"),
            lambda api=api: api.create_tag("reef/m", tag="v1"),
            lambda api=api: api.update_repo_settings("reef/m", private=True),
            lambda api=api: api.move_repo("reef/m", "bob/m"),
            lambda api=api: api.create_collection("x", namespace="reef"),
            lambda api=api: api.auth_check("reef/m", write=True),
        ):
            with refused(status):
                deed()
    assert hub.store.head("reef/m") == head
    with refused(403):
        hub.api().move_repo("reef/m", "bob/m")
    hub.api().auth_check("reef/m", write=True)


def test_a_fine_grained_token_does_what_its_scopes_say_and_whoami_lists_them(hub: TestHub) -> None:
    read, write = "repo.content.read", "repo.write"
    org = TokenScope("org", "reef", (read, write))
    single = TokenScope("model", "ada/m", (read, write))
    api = hub.api(hub.store.accounts.add_token("ada", scopes=[org, single, TokenScope("user", "ada", (read,))]))
    token = api.whoami()["auth"]["accessToken"]
    assert (token["role"], token["fineGrained"]["global"]) == ("fineGrained", [])
    assert [(entry["entity"]["name"], entry["permissions"]) for entry in token["fineGrained"]["scoped"]] == [
        ("reef", [read, write]), ("ada/m", [read, write]), ("ada", [read]),
    ]  # fmt: skip
    hub.store.commit("ada/m", {"a.txt": "1"})
    hub.store.commit("ada/other", {"a.txt": "1"})
    api.create_repo("reef/new")
    api.create_tag("ada/m", tag="v1")
    for deed in (
        lambda: api.create_tag("ada/other", tag="v1"),
        lambda: api.create_repo("ada/new"),
        lambda: api.create_collection("x", namespace="reef"),
    ):
        with refused(403):
            deed()


def test_a_refusal_says_which_namespace_the_token_may_not_write_to(hub: TestHub) -> None:
    with pytest.raises(HfHubHTTPError, match="of bob may not write to reef"):
        hub.api(hub.other_token).create_repo("reef/new")


def test_an_admin_who_may_write_everywhere_is_made_once_and_given_tokens_on_request(hub: TestHub) -> None:
    folder = hub.store.root  # there are users, and none of them is an admin
    first = make_admin_token(folder)
    assert first is not None and make_admin_token(folder) is None
    another = make_admin_token(folder, another=True)
    assert another not in (None, first)
    for number, token in enumerate((first, another)):
        assert hub.api(token).create_repo(f"anyone/model-{number}").repo_id == f"anyone/model-{number}"
        assert all(str(token).encode() not in path.read_bytes() for path in folder.rglob("*.json"))
    hub.store.add_user("root", "hf_root", admin=True)
    assert hub.api("hf_root").whoami()["auth"]["accessToken"]["fineGrained"]["global"] == [
        "repo.content.read", "repo.write", "collection.write",
    ]  # fmt: skip


WEIGHTS = random.Random(0).randbytes(300_000)  # more than one part
OID = hashlib.sha256(WEIGHTS).hexdigest()


def client_of(token: str, endpoint: str) -> httpx.Client:
    return httpx.Client(base_url=endpoint, headers={"Authorization": f"Bearer {token}"})


def offer(client: httpx.Client, repo: str) -> dict[str, Any]:
    """What the LFS batch API answers to somebody who wants to upload the weights."""
    wanted = {"operation": "upload", "transfers": ["multipart"], "objects": [{"oid": OID, "size": len(WEIGHTS)}]}
    [answer] = client.post(f"/{repo}.git/info/lfs/objects/batch", json=wanted).json()["objects"]
    return answer


def claim(client: httpx.Client, repo: str, oid: str = OID, query: str = "") -> httpx.Response:
    """A commit that names the hash of the weights in place of their bytes."""
    header = {"key": "header", "value": {"summary": "mine now"}}
    file = {"key": "lfsFile", "value": {"path": "w.safetensors", "algo": "sha256", "oid": oid}}
    return client.post(f"/api/models/{repo}/commit/main{query}", content=f"{json.dumps(header)}\n{json.dumps(file)}")


@pytest.mark.parametrize("hidden", [{"private": True}, {"gated": "manual"}])
def test_knowing_the_hash_of_another_s_file_does_not_open_it(hub: TestHub, hidden: dict[str, Any]) -> None:
    hub.api().create_repo("ada/secret")
    hub.api().upload_file(path_or_fileobj=WEIGHTS, path_in_repo="w.safetensors", repo_id="ada/secret")
    hub.api().update_repo_settings("ada/secret", **hidden)
    hub.api(hub.other_token).create_repo("bob/loot")
    hub.store.commit("ada/open", {"a.txt": "1"})
    bob = client_of(hub.other_token, hub.endpoint)
    refusals = [claim(bob, "bob/loot"), claim(bob, "ada/open", query="?create_pr=1"), claim(bob, "bob/loot", "0" * 64)]
    assert [answer.status_code for answer in refusals] == [400, 400, 400]
    assert refusals[0].text == refusals[2].text.replace("0" * 64, OID)  # nor does it tell whether there is one
    verified = bob.post("/bob/loot.git/info/lfs/objects/verify", json={"oid": OID, "size": len(WEIGHTS)})
    assert verified.status_code == 404
    upload = offer(bob, "bob/loot")["actions"]["upload"]
    parts = [{"partNumber": number, "etag": "x"} for number in (1, 2, 3)]
    assert bob.post(upload["href"], json={"oid": OID, "parts": parts}).status_code == 400
    assert bob.put(upload["header"]["1"].replace("by=bob", "by=ada"), content=WEIGHTS[:102_400]).status_code == 403
    assert claim(bob, "bob/loot").status_code == 400
    hub.api(hub.other_token).upload_file(path_or_fileobj=WEIGHTS, path_in_repo="w.safetensors", repo_id="bob/loot")
    assert hub.store.read("bob/loot", "w.safetensors") == WEIGHTS


def test_a_file_that_one_may_read_in_some_repo_is_committed_by_its_hash(hub: TestHub) -> None:
    hub.store.commit("ada/gated", {"w.safetensors": WEIGHTS})
    hub.store.set_gated("ada/gated", "manual")
    hub.store.commit("ada/gated", {}, "Withdraw", deleted=["w.safetensors"])
    hub.api(hub.other_token).create_repo("bob/m")
    bob = client_of(hub.other_token, hub.endpoint)
    assert "actions" in offer(bob, "bob/m")
    hub.store.grant("ada/gated", "bob")
    assert "actions" not in offer(bob, "bob/m")
    assert claim(bob, "bob/m").status_code == 200
    assert hub.store.read("bob/m", "w.safetensors") == WEIGHTS


def test_an_upload_is_its_sender_s_after_a_restart_too(hub: TestHub) -> None:
    hub.api().create_repo("ada/m")
    ada = client_of(hub.token, hub.endpoint)
    upload = offer(ada, "ada/m")["actions"]["upload"]
    etags = []
    for number in (1, 2, 3):
        part = WEIGHTS[(number - 1) * 102_400 : number * 102_400]
        etags.append(ada.put(upload["header"][str(number)], content=part).headers["etag"])
    parts = [{"partNumber": number, "etag": etag} for number, etag in enumerate(etags, 1)]
    for _ in range(2):  # a client that has lost the answer asks again
        assert ada.post(upload["href"], json={"oid": OID, "parts": parts}).status_code == 200
    with running(hub.store.root) as again:
        assert "actions" not in offer(client_of(hub.token, again.endpoint), "ada/m")
        assert claim(client_of(hub.token, again.endpoint), "ada/m").status_code == 200


def test_a_renamed_private_repo_does_not_tell_others_its_new_name(hub: TestHub) -> None:
    hub.store.commit("ada/old", {"a.txt": "1"})
    hub.api().move_repo("ada/old", "reef/secret-plan")
    assert "secret-plan" in httpx.get(f"{hub.endpoint}/api/models/ada/old").headers["location"]
    hub.store.set_private("reef/secret-plan", True)
    for token in (hub.other_token, False):
        for path in ("/api/models/ada/{}", "/ada/{}/resolve/main/a.txt", "/ada/{}"):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            moved, absent = (httpx.get(hub.endpoint + path.format(name), headers=headers) for name in ("old", "no"))
            assert (moved.status_code, moved.text) == (absent.status_code, absent.text)
            assert "secret-plan" not in str(moved.headers)
    assert hub.api().model_info("ada/old").id == "reef/secret-plan"
