"""Review on the Hub: releases as pull requests, with the genuine client against a local Hub.

No search is run: the releases are small folders, recorded as a cycle does it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, DiscussionComment, HfApi

from bot.cycle.past.pull_requests import settle_pull_requests
from bot.cycle.past.review import publish_releases, reject_releases, review_cycle
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import ReviewDecision, cycle_decisions, rejected_recipes
from bot.ledger.ledger import Ledger, State
from bot.ledger.pull_requests import WATCHED, cycle_pull_requests, cycles_with_pull_requests
from bot.ledger.requests import RequestKind, make_requests, newest_requests
from bot.release.review import Publisher
from bot.release.verify import hash_files
from bot.service.review_worker import ReviewWorker
from bot.watchlist.watchlist import Watchlist
from conftest import TestHub
from fixtures.cycles import Listener, small_watchlist
from fixtures.past_cycles import write_past_cycles

CYCLE, ROLE, REPO = "small-1", "balanced", "reef/small-balanced"
CARD = "---\nlicense: mit\ntags: [shoal-merge]\n---\n# A merge\n"


@dataclass
class Offered:
    """A home with a cycle whose release is offered in a pull request on a Hub, and a person's client there."""

    home: Home
    hub: Hub
    person: HfApi
    listener: Listener

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger)

    @property
    def publisher(self) -> Publisher:
        watchlist = self.ledger.kept(CYCLE, "watchlist", Watchlist)
        assert watchlist is not None
        return Publisher(self.hub, self.home, self.ledger, self.listener, watchlist.publish, CYCLE)

    def look(self) -> tuple[str, ...]:
        return settle_pull_requests(self.ledger, self.home, self.hub, CYCLE, self.listener)

    def state(self) -> str:
        return review_cycle(self.ledger, self.home, self.hub, CYCLE).releases[0].state

    def decision(self) -> ReviewDecision:
        return cycle_decisions(self.ledger, CYCLE)[ROLE]

    def commits(self) -> list[str]:
        return [commit.title for commit in self.person.list_repo_commits(REPO)]

    def watched(self, now: datetime | None = None) -> tuple[str, ...]:
        return cycles_with_pull_requests(self.ledger, now or datetime.now(UTC))

    def edit(self, path: str, content: bytes) -> None:
        """A person changes the pull request."""
        change = [CommitOperationAdd(path, content)]
        self.person.create_commit(REPO, change, commit_message="By hand", revision="refs/pr/1")


@pytest.fixture
def offered(hub: TestHub, tmp_path: Path) -> Offered:
    home = write_past_cycles(tmp_path / "home", repo=REPO)
    ledger, folder = Ledger(home.ledger), home.release(CYCLE, ROLE)
    settings = {"mode": "pull_request", "namespace": "reef", "private": True, "collection": "Small merges"}
    ledger.keep(CYCLE, "watchlist", small_watchlist(publish=settings), Watchlist)
    (folder / "README.md").write_text(CARD)
    ledger.record_release(replace(ledger.releases(CYCLE)[0], files=hash_files(folder)), None)
    client = Hub(hub.endpoint, hub.token, sleep=lambda _: None)
    made = Offered(home, client, hub.api(), Listener())
    ending = made.publisher.release_or_hold("")
    ledger.finish(CYCLE, ending.state, ending.note, ledger.cycle(CYCLE).started)
    return made


def test_a_release_is_offered_once_in_a_private_repo_whose_card_says_what_is_to_come(offered: Offered) -> None:
    url = f"{offered.hub.endpoint}/{REPO}/discussions/1"
    assert offered.ledger.cycle(CYCLE).state is State.REVIEW
    assert offered.ledger.cycle(CYCLE).note.startswith(f"1 release waiting for review in pull requests ({url}): shoal")
    assert offered.state() == "waiting in pull request 1"
    assert review_cycle(offered.ledger, offered.home, offered.hub, CYCLE).releases[0].pull_request == url
    info = offered.person.model_info(REPO)
    assert info.private and {one.rfilename for one in info.siblings or ()} == {".gitattributes", "README.md"}
    card = offered.hub.read(REPO, info.sha or "", "README.md").decode()
    assert f"waits here for review, in a [pull request]({offered.hub.endpoint}/{REPO}/discussions)" in card
    proposed = offered.person.model_info(REPO, revision="refs/pr/1")
    assert "model.safetensors" in {one.rfilename for one in proposed.siblings or ()}
    # Again, as after a crash between the Hub's answer and the ledger's write.
    with offered.ledger.transaction() as session:
        session.connection().exec_driver_sql("DELETE FROM pull_requests")
    offered.publisher.release_or_hold("")
    assert [one.num for one in offered.person.get_repo_discussions(REPO)] == [1]
    assert offered.look() == () and offered.state() == "waiting in pull request 1"


def test_what_a_person_merges_is_published_by_them(offered: Offered) -> None:
    offered.person.merge_pull_request(REPO, 1)
    ReviewWorker(offered.home, lambda _: offered.hub, offered.listener).look_up_pull_requests()
    (release,), decision = offered.ledger.releases(CYCLE), offered.decision()
    merge = offered.person.get_discussion_details(REPO, 1)
    assert (decision.verdict, decision.who, decision.note) == ("published", "ada", "merged pull request 1")
    assert decision.when == merge.events[-1].created_at
    assert release.commit == merge.merge_commit_oid == offered.person.model_info(REPO, revision=CYCLE).sha
    assert offered.ledger.cycle(CYCLE).state is State.PUBLISHED and offered.watched() == ()
    (collection,) = offered.person.list_collections(owner="reef")
    assert [item.item_id for item in collection.items] == [REPO]
    before = offered.commits()
    publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener)
    assert offered.commits() == before


def test_what_a_person_closes_is_rejected_and_not_offered_again(offered: Offered) -> None:
    offered.person.change_discussion_status(REPO, 1, "closed")
    offered.look()
    decision = offered.decision()
    assert (decision.verdict, decision.who, decision.note) == ("rejected", "ada", "closed pull request 1")
    assert list(rejected_recipes(offered.ledger, "small")) == [decision.recipe]
    assert offered.ledger.cycle(CYCLE).state is State.REJECTED
    offered.publisher.release_or_hold("")
    assert len(list(offered.person.get_repo_discussions(REPO))) == 1


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("README.md", "merged pull request 1; with an edited README.md"),
        ("model.safetensors", "merged pull request 1; model.safetensors there is not what was scored"),
        ("modeling_own.py", "merged pull request 1; modeling_own.py there is not part of the release"),
    ],
)
def test_what_was_changed_in_a_pull_request_is_said(offered: Offered, path: str, said: str) -> None:
    offered.edit(path, CARD.encode() + b"Mine.")
    offered.person.merge_pull_request(REPO, 1)
    offered.look()
    assert offered.decision().note == said


def test_files_that_were_added_to_a_pull_request_are_not_merged_from_here(offered: Offered) -> None:
    offered.edit("modeling_own.py", b"import os")
    with pytest.raises(ShoalError, match=r"than the release's own files: modeling_own\.py; nothing was sent"):
        publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, [ROLE], offered.listener)
    assert offered.state() == "waiting in pull request 1"
    publish_releases(
        offered.ledger, offered.home, offered.hub, CYCLE, [ROLE], offered.listener, over_changes=True, who="bob"
    )
    assert offered.look() == () and offered.state().startswith("published by bob")
    assert "modeling_own.py" not in offered.person.list_repo_files(REPO)
    assert offered.person.get_discussion_details(REPO, 1).status == "closed"


def test_what_was_closed_meanwhile_is_not_published_by_who_asked_before(offered: Offered) -> None:
    make_requests(offered.ledger, RequestKind.PUBLISH, CYCLE, [ROLE], note="", who="ann")
    offered.person.change_discussion_status(REPO, 1, "closed")
    before = offered.commits()
    assert ReviewWorker(offered.home, lambda _: offered.hub, offered.listener).work_off()
    outcome = newest_requests(offered.ledger, CYCLE)[ROLE].outcome
    assert "ada closed it meanwhile; `shoal publish small-1 balanced` publishes" in outcome
    assert offered.commits() == before and offered.state().startswith("rejected by ada")
    publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, [ROLE], offered.listener, who="bob")
    assert offered.state().startswith("published by bob")


def test_a_merged_release_is_published_though_the_collection_refuses_it(offered: Offered, hub: TestHub) -> None:
    hub.faults.refuse("/api/collections*", 403, times=9)
    offered.person.merge_pull_request(REPO, 1)
    assert offered.look() == () and offered.state().startswith("published by ada")
    assert any("published, but not added to the collection" in line for line in offered.listener.said)


@pytest.mark.parametrize("state", [State.FAILED, State.RUNNING])
def test_a_decision_on_the_hub_leaves_an_interrupted_cycle_to_be_resumed(offered: Offered, state: State) -> None:
    offered.ledger.finish(CYCLE, state, "the Hub cannot be reached", offered.ledger.cycle(CYCLE).started)
    offered.person.change_discussion_status(REPO, 1, "closed")
    offered.look()
    assert offered.decision().describe().startswith("rejected by ada")
    resumed = offered.ledger.begin("small", "d1", offered.decision().when)
    assert (resumed.id, resumed.state) == (CYCLE, State.RUNNING)
    # Resumed, the cycle gives the role to another merge: nobody has decided on that one.
    (release,) = offered.ledger.releases(CYCLE)
    offered.ledger.record_release(replace(release, recipe="c" * 64), None)
    assert offered.publisher.release_or_hold("").state is State.REVIEW
    assert cycle_pull_requests(offered.ledger, CYCLE)[ROLE].recipe == "c" * 64


def test_a_pull_request_of_what_a_resumed_cycle_did_not_choose_again_is_closed(offered: Offered) -> None:
    (release,) = offered.ledger.releases(CYCLE)
    offered.ledger.record_release(replace(release, recipe="c" * 64), None)
    ending = offered.publisher.release_or_hold("")
    assert "/discussions/2)" in ending.note and offered.person.get_discussion_details(REPO, 1).status == "closed"
    assert offered.look() == () and offered.state() == "waiting in pull request 2"
    offered.ledger.drop_releases(CYCLE, keep=[])
    assert offered.look() == () and offered.watched() == ()
    assert offered.person.get_discussion_details(REPO, 2).status == "closed"


def test_publishing_here_merges_an_edited_card_once_it_is_said_each_time(offered: Offered, hub: TestHub) -> None:
    (offered.home.release(CYCLE, ROLE) / "README.md").write_text(CARD + "Edited.")
    hub.faults.unavailable("*/discussions/1*", times=9)
    with pytest.raises(ShoalError):
        publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener, edited=True, who="bob")
    hub.faults.clear()
    with pytest.raises(ShoalError, match=r"README\.md: edited since it was written"):
        publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener, who="bob")
    publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener, edited=True, who="bob")
    assert offered.person.get_discussion_details(REPO, 1).status == "merged"
    assert offered.hub.read(REPO, "main", "README.md").endswith(b"Edited.")
    assert offered.decision().describe().startswith("published by bob")
    offered.look()
    assert offered.decision().who == "bob" and cycle_pull_requests(offered.ledger, CYCLE) == {}
    assert offered.person.model_info(REPO, revision=CYCLE).sha == offered.ledger.releases(CYCLE)[0].commit


def test_a_rejection_here_closes_the_pull_request_when_the_hub_is_there_again(offered: Offered, hub: TestHub) -> None:
    reject_releases(offered.ledger, offered.home, offered.hub, CYCLE, [ROLE], "too slow", offered.listener, who="bob")
    hub.faults.unavailable("*/discussions/1*", times=9)
    (fault,) = offered.look()
    assert fault.startswith(f"{offered.hub.endpoint}/{REPO}/discussions/1: ")
    assert offered.state().startswith("rejected by bob")
    hub.faults.clear()
    assert offered.look() == () and cycle_pull_requests(offered.ledger, CYCLE) == {}
    details = offered.person.get_discussion_details(REPO, 1)
    comments = [event.content for event in details.events if isinstance(event, DiscussionComment)]
    assert details.status == "closed" and comments[-1].endswith(": too slow")


def test_a_release_whose_repo_is_gone_can_still_be_decided_on_here(offered: Offered) -> None:
    offered.person.delete_repo(REPO)
    (fault,) = offered.look()
    assert "is gone, or the token may not see it; publish or reject the release here" in fault
    publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener)
    assert offered.look() == () and offered.commits()[0] == f"Release {ROLE} of cycle {CYCLE}"


def test_a_merge_that_conflicts_is_named_and_nothing_is_overwritten(offered: Offered) -> None:
    change = [CommitOperationAdd("README.md", (CARD + "Mine.").encode())]
    offered.person.create_commit(REPO, change, commit_message="By hand")
    assert offered.person.get_discussion_details(REPO, 1).conflicting_files == ["README.md"]
    with pytest.raises(ShoalError, match=r"Merge conflicts in README\.md"):
        publish_releases(offered.ledger, offered.home, offered.hub, CYCLE, (), offered.listener)
    assert offered.state() == "waiting in pull request 1" and offered.commits()[0] == "By hand"


def test_a_closed_pull_request_that_is_opened_again_waits_and_is_published_when_it_is_merged(offered: Offered) -> None:
    def change(status: str) -> None:
        offered.person.change_discussion_status(REPO, 1, status)
        ReviewWorker(offered.home, lambda _: offered.hub, offered.listener).look_up_pull_requests()

    change("closed")
    assert offered.state().startswith("rejected by") and cycle_pull_requests(offered.ledger, CYCLE) == {}
    assert offered.ledger.cycle(CYCLE).state is State.REJECTED and rejected_recipes(offered.ledger, "small")
    closed = offered.decision().when
    assert offered.watched(closed + WATCHED / 2) == (CYCLE,) and offered.watched(closed + WATCHED) == ()
    change("open")
    assert offered.state() == "waiting in pull request 1" and offered.ledger.cycle(CYCLE).state is State.REVIEW
    assert offered.decision().describe().endswith(": reopened pull request 1")
    assert rejected_recipes(offered.ledger, "small") == {}
    # A rejection here closes it; who opens and merges that has the last word.
    reject_releases(offered.ledger, offered.home, offered.hub, CYCLE, [ROLE], "too slow", offered.listener, who="bob")
    offered.look()
    assert offered.person.get_discussion_details(REPO, 1).status == "closed"
    offered.person.change_discussion_status(REPO, 1, "open")
    offered.person.merge_pull_request(REPO, 1)
    offered.look()
    (release,) = offered.ledger.releases(CYCLE)
    assert release.commit and offered.ledger.cycle(CYCLE).state is State.PUBLISHED
    assert offered.decision().describe().endswith(": merged pull request 1") and offered.watched() == ()
