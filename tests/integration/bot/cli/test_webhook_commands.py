"""`shoal webhook`, through the genuine client: what the Hub is asked to watch, and what is refused."""

from __future__ import annotations

import json
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bot.home import Home
from bot.ledger.ledger import Ledger, SourceEntry, State
from conftest import TestHub
from fixtures.shoal_here import Run, shoal
from fixtures.shoal_process import write_watchlist
from localhub.store.accounts import WEBHOOKS_READ, TokenScope

__all__ = ["shoal"]
URL = "http://127.0.0.1:8500/webhook"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home in which a cycle of `small` merged two models."""
    home = Home(tmp_path / "home")
    ledger = Ledger(home.ledger)
    cycle = ledger.begin("small", "d", datetime.now(UTC)).id
    sources = [SourceEntry(repo, "f" * 40, "source", "mit") for repo in ("bob/model", "gone/model", "evil/model")]
    ledger.record_pool(cycle, [], sources)
    ledger.finish(cycle, State.NOTHING, "", datetime.now(UTC))
    ledger.close()
    return home


@pytest.fixture
def watchlist(tmp_path: Path) -> Path:
    return write_watchlist(
        tmp_path / "small.yml", pinned=["ada/model"], base={"repo": "reef/base"}, watch={"authors": {"deny": ["evil"]}}
    )


@pytest.fixture
def as_ada(hub: TestHub, monkeypatch: pytest.MonkeyPatch) -> TestHub:
    """A Hub on which the command line is ada."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    monkeypatch.delenv("SHOAL_WEBHOOK_SECRET", raising=False)
    return hub


def test_the_owners_of_named_and_known_models_are_watched_and_only_changes_are_sent(
    as_ada: TestHub, home: Home, watchlist: Path, shoal: Run
) -> None:
    register = ("webhook", "register", URL, watchlist, "--home", home.folder)
    status, out, err = shoal(*register, "--dry-run")
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        f"{URL}: would be created",
        "watches user ada: ada/model is pinned in small",
        "watches org reef: reef/base is the base of small",
        "watches user bob: bob/model was a source of small",
        "leaves out gone: the Hub does not know it",
        "small: models of other owners are found on its schedule alone",
    ]
    assert as_ada.api().list_webhooks() == [] and not home.webhook_secret.exists()

    status, out, err = shoal(*register)
    (made,) = as_ada.api().list_webhooks()
    assert status == 0 and out.startswith(f"{URL}: created ({made.id})\n")
    assert [(one.type, one.name) for one in made.watched] == [("user", "ada"), ("org", "reef"), ("user", "bob")]
    assert made.domains == ["repo"] and made.secret is not None and len(made.secret) >= 32
    assert home.webhook_secret.read_text().strip() == made.secret and made.secret not in out + err
    assert stat.S_IMODE(home.webhook_secret.stat().st_mode) == 0o600

    assert json.loads(shoal(*register, "--json")[1])["outcome"] == "unchanged"
    as_ada.api().disable_webhook(made.id)
    assert shoal(*register)[1].startswith(f"{URL}: updated ({made.id})\n")
    assert not as_ada.api().get_webhook(made.id).disabled
    write_watchlist(watchlist, pinned=["ada/model"])
    assert shoal(*register)[1].startswith(f"{URL}: updated")
    (changed,) = as_ada.api().list_webhooks()
    assert [one.name for one in changed.watched] == ["ada", "bob"]
    assert (changed.id, changed.secret) == (made.id, made.secret)

    listed = shoal("webhook", "list")[1] + shoal("webhook", "list", "--json")[1]
    assert f"{URL} ({made.id}): watches user ada, user bob" in listed and made.secret not in listed
    assert shoal("webhook", "remove", "https://other.example")[2].endswith(f"there are: {URL}\n")
    assert shoal("webhook", "remove", URL)[1].startswith(f"removed: {URL} ({made.id})")
    assert shoal("webhook", "list")[1] == "no webhook yet: shoal webhook register URL WATCHLISTS\n"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://shoal.example.org/webhook", "the secret needs https"),
        ("shoal.example.org", "the secret needs https"),
        ("https://ada:pw@shoal.example.org/webhook", "with a name, a query or a fragment"),
        ("https://shoal.example.org/webhook?secret=pw", "with a name, a query or a fragment"),
        ("http://127.0.0.1:8500/webhook", "cannot reach this machine's loopback"),
        ("https://[", "is not an address"),
        ("https://x:99999/", "is not an address"),
    ],
)
def test_an_address_that_the_hub_should_not_call_is_one_line(
    home: Home, watchlist: Path, shoal: Run, monkeypatch: pytest.MonkeyPatch, url: str, fault: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    status, out, err = shoal("webhook", "register", url, watchlist, "--home", home.folder)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("shoal: URL: ") and fault in err and "pw" not in err


def test_what_else_is_refused_is_one_line_with_the_remedy(
    as_ada: TestHub, home: Home, watchlist: Path, shoal: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        status, out, err = shoal("webhook", *arguments)
        assert (status, out, err.count("\n")) == (1, "", 1), err
        return err

    register = ("register", URL, watchlist, "--home", home.folder)
    narrow = as_ada.store.accounts.add_token("ada", scopes=[TokenScope("user", "ada", (WEBHOOKS_READ,))])
    for token, words in (
        (narrow, "permissions user.webhooks.read and user.webhooks.write"),
        ("hf_wrong", "answers 401"),
    ):
        monkeypatch.setenv("HF_TOKEN", token)
        assert words in refused(*register)
    monkeypatch.setenv("HF_TOKEN", as_ada.token)
    fresh = write_watchlist(tmp_path / "fresh.yml", name="fresh")
    assert "there is nobody to watch yet" in refused("register", URL, fresh, "--home", home.folder)
    monkeypatch.setenv("SHOAL_WEBHOOK_SECRET", "short")
    assert "SHOAL_WEBHOOK_SECRET: got 5 characters: a secret has 16 to 256" in refused(*register)
    monkeypatch.delenv("SHOAL_WEBHOOK_SECRET")
    many = write_watchlist(
        tmp_path / "many.yml", watch={"authors": {"allow": [f"user-{number}" for number in range(101)]}}
    )
    for number in range(101):
        as_ada.store.add_user(f"user-{number}")
    found = refused("register", URL, many, "--home", home.folder)
    assert re.search(
        r"a webhook watches at most 100\).*it was to watch 10\d owners, and fewer watchlists have fewer", found
    )
    home.webhook_secret.chmod(0o644)
    assert "got mode 0644: only you may read it: chmod 600" in refused(*register)
    assert as_ada.api().list_webhooks() == []


def test_a_port_for_calls_needs_a_secret(home: Home, watchlist: Path, shoal: Run) -> None:
    scheduled = write_watchlist(watchlist, schedule={"cron": "0 0 1 1 *"})
    status, _, err = shoal("serve", scheduled, "--home", home.folder, "--webhook", "8500")
    assert status == 1 and f"there is no secret in {home.webhook_secret} or SHOAL_WEBHOOK_SECRET" in err
    status, _, err = shoal("serve", scheduled, "--home", home.folder, "--webhook", "x")
    assert status == 2 and "'--webhook': got 'x', should be PORT or HOST:PORT" in err
    status, _, err = shoal("serve", scheduled, "--home", home.folder, "--webhook", "99999")
    assert status == 2 and "'--webhook': got '99999', its port should be from 1 to 65535" in err
