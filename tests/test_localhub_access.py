"""Who may see and change what on the local Hub: tokens, private and gated repos, namespaces."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from conftest import TestHub
from huggingface_hub import CommitOperationAdd
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

from localhub import first_admin


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
    assert httpx.get(f"{hub.endpoint}/reef/secret", headers={"Accept": "text/html"}).status_code == 401
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


def test_a_refusal_says_which_namespace_the_token_may_not_write_to(hub: TestHub) -> None:
    with pytest.raises(HfHubHTTPError, match="of bob may not write to reef"):
        hub.api(hub.other_token).create_repo("reef/new")


def test_the_first_start_makes_one_admin_who_may_write_everywhere(hub: TestHub, tmp_path: Path) -> None:
    token = first_admin(tmp_path / "fresh")
    assert token is not None
    assert first_admin(tmp_path / "fresh") is None
    assert first_admin(tmp_path / "hub") is None
    assert all(token.encode() not in path.read_bytes() for path in (tmp_path / "fresh").rglob("*.json"))
    hub.store.add_user("root", "hf_root", admin=True)
    assert hub.api("hf_root").create_repo("anyone/model").repo_id == "anyone/model"
