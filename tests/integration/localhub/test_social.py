"""Discussions and collections, with the genuine client."""

from __future__ import annotations

import httpx
import pytest
from huggingface_hub.errors import HfHubHTTPError

from conftest import TestHub


def test_a_discussion_is_opened_commented_closed_and_listed(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    bob, ada = hub.api(hub.other_token), hub.api()
    opened = bob.create_discussion("ada/m", "A question", description="Why?")
    bob.create_discussion("ada/m", "A proposal", pull_request=True)
    said = ada.comment_discussion("ada/m", opened.num, "Because.")
    assert (said.content, said.author) == ("Because.", "ada")
    assert ada.change_discussion_status("ada/m", opened.num, "closed", comment="Done").new_status == "closed"
    details = ada.get_discussion_details("ada/m", opened.num)
    assert [event.type for event in details.events] == ["comment", "comment", "comment", "status-change"]
    assert (details.author, details.status, details.is_pull_request) == ("bob", "closed", False)

    def titles(**narrowed: str) -> list[str]:
        found = ada.get_repo_discussions("ada/m", **narrowed)  # type: ignore[arg-type]
        return [discussion.title for discussion in found]

    assert titles() == ["A proposal", "A question"]
    assert titles(discussion_type="pull_request") == titles(discussion_status="open") == ["A proposal"]
    assert titles(author="ada") == []


def test_a_long_list_of_discussions_is_fetched_page_by_page(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    threads = hub.store.discussions(hub.store.repo("ada/m"))
    for number in range(25):
        threads.open(f"thread {number}", "text", hub.store.author("ada"))
    assert [thread.num for thread in hub.api().get_repo_discussions("ada/m")] == list(range(25, 0, -1))


def test_others_may_not_close_or_merge_what_is_not_theirs(hub: TestHub) -> None:
    hub.store.commit("ada/m", {"a.txt": "1"})
    hub.api().create_discussion("ada/m", "Mine")
    for deed in (
        lambda: hub.api(hub.other_token).change_discussion_status("ada/m", 1, "closed"),
        lambda: hub.api(hub.other_token).merge_pull_request("ada/m", 1),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            deed()
        assert caught.value.response.status_code == 403


def test_a_collection_holds_each_model_once_and_its_title_may_come_again(hub: TestHub) -> None:
    api = hub.api()
    hub.store.commit("reef/a", {"a.txt": "1"})
    hub.store.commit("reef/b", {"a.txt": "1"})
    made = api.create_collection("Demo Watchlist", namespace="reef", description="What it bred")
    assert made.slug.startswith("reef/demo-watchlist-")
    again = api.create_collection("Demo Watchlist", namespace="reef", exists_ok=True)
    assert again.slug != made.slug and again.title == made.title
    api.delete_collection(again.slug)
    api.add_collection_item(made.slug, "reef/a", "model", note="the knee")
    api.add_collection_item(made.slug, "reef/b", "model")
    with pytest.raises(HfHubHTTPError) as caught:
        api.add_collection_item(made.slug, "reef/a", "model")
    assert caught.value.response.status_code == 409
    found = api.add_collection_item(made.slug, "reef/a", "model", exists_ok=True)
    assert [(item.item_id, item.item_type, item.note) for item in found.items] == [
        ("reef/a", "model", "the knee"),
        ("reef/b", "model", None),
    ]
    with pytest.raises(HfHubHTTPError):
        api.add_collection_item(made.slug, "reef/absent", "model")
    assert [collection.slug for collection in api.list_collections(owner="reef")] == [made.slug]
    assert [collection.slug for collection in api.list_collections(item="models/reef/b")] == [made.slug]
    assert list(api.list_collections(owner="ada")) == []


def test_a_collection_is_changed_reordered_and_deleted(hub: TestHub) -> None:
    api = hub.api()
    for name in ("a", "b"):
        hub.store.commit(f"ada/{name}", {"a.txt": "1"})
    slug = api.create_collection("Mine").slug
    for name in ("a", "b"):
        api.add_collection_item(slug, f"ada/{name}", "model")
    first, second = api.get_collection(slug).items
    api.update_collection_item(slug, second.item_object_id, note="first now", position=0)
    api.update_collection_metadata(slug, description="New words", private=True)
    changed = api.get_collection(slug)
    assert [(item.item_id, item.note) for item in changed.items] == [("ada/b", "first now"), ("ada/a", None)]
    assert (changed.description, changed.private) == ("New words", True)
    with pytest.raises(HfHubHTTPError):
        hub.api(hub.other_token).get_collection(slug)
    api.delete_collection_item(slug, first.item_object_id)
    assert [item.item_id for item in api.get_collection(slug).items] == ["ada/b"]
    api.delete_collection(slug)
    api.delete_collection(slug, missing_ok=True)


def test_a_private_model_is_not_shown_in_a_public_collection(hub: TestHub) -> None:
    api = hub.api()
    hub.store.commit("ada/secret", {"a.txt": "1"})
    hub.store.set_private("ada/secret", True)
    slug = api.create_collection("Mixed").slug
    api.add_collection_item(slug, "ada/secret", "model")
    assert len(api.get_collection(slug).items) == 1
    bob = hub.api(hub.other_token)
    assert bob.get_collection(slug).items == []
    assert [collection.items for collection in bob.list_collections(owner="ada")] == [[]]
    assert list(bob.list_collections(item="models/ada/secret")) == []
    assert [collection.slug for collection in api.list_collections(item="models/ada/secret")] == [slug]
    for path in ("/", "/ada", f"/collections/{slug}"):
        for token, count, shown in ((hub.token, "1 model<", True), (hub.other_token, "0 models", False)):
            headers = {"Accept": "text/html", "Authorization": f"Bearer {token}"}
            page = httpx.get(hub.endpoint + path, headers=headers).text
            assert ("secret" in page) is shown
            assert count in page or path.startswith("/collections")
