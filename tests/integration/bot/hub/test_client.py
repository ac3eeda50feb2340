import pytest
from httpx2 import Headers
from huggingface_hub.errors import HfHubHTTPError

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubGated, HubNotFound, HubUnavailable, ordered_wait, waiting_time
from bot.hub.client import Hub
from fixtures.small_repos import files
from localhub import Fault
from localhub.store.accounts import TokenScope

HUSH = "hf_secret_of_nobody"


def client(hub, waits=None, token=None):
    waits = [] if waits is None else waits
    return Hub(hub.endpoint, token or hub.token, sleep=waits.append)


def test_a_busy_hub_is_asked_again_when_its_window_ends_and_the_pause_is_announced(hub):
    hub.store.commit("ada/cod", files(1))
    fault = hub.faults.busy("/api/models/ada/cod", times=2, reset=200)
    waits, said = [], []
    bot = Hub(hub.endpoint, hub.token, sleep=waits.append, say=said.append)
    assert bot.call(bot.api.model_info, "ada/cod").id == "ada/cod"
    assert fault.struck == 2
    assert waits == [201.0, 201.0]
    assert said == [f"{hub.endpoint}: the Hub answers 429; trying again in 201 s"] * 2


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"RateLimit": '"api";r=0;t=55'}, 56.0),
        ({"ratelimit": '"api";r=0;t=55', "retry-after": "7"}, 56.0),
        ({"RateLimit": '"api";r=12;t=55'}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_off_the_headers_that_the_hub_documents(headers, seconds):
    assert ordered_wait(Headers(headers)) == seconds


def test_a_hub_that_stays_down_is_given_up_in_one_line_after_growing_pauses(hub):
    hub.store.commit("ada/cod", files(1))
    hub.faults.unavailable("/api/models/*", times=99)
    waits, said = [], []
    bot = Hub(hub.endpoint, hub.token, sleep=waits.append, say=said.append)
    with pytest.raises(HubUnavailable, match=r"^http://\S+: the Hub answers 503; try again later$"):
        bot.call(bot.api.model_info, "ada/cod")
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert said == [f"{hub.endpoint}: the Hub answers 503; trying again in {seconds} s" for seconds in (2, 4, 8)]


def test_a_list_is_asked_for_again_with_a_word_like_everything_else():
    """The client's own lists try again in silence, for half a minute where nobody answers."""
    waits, said = [], []
    bot = Hub("http://127.0.0.1:9", "hf_x", sleep=waits.append, say=said.append)
    with pytest.raises(HubUnavailable, match="cannot be reached; try again later"):
        bot.list_rows("/api/models", {"author": "ada"}, 10)
    assert waits == [1.0, 2.0, 4.0, 8.0]
    assert said == [f"http://127.0.0.1:9: the Hub cannot be reached; trying again in {n} s" for n in (2, 4, 8)]


def test_a_list_has_as_many_rows_as_asked_for_from_as_many_pages_as_it_takes(hub):
    for number in range(5):
        hub.store.commit(f"ada/cod-{number}", files(number))
    bot = client(hub)
    rows = bot.list_rows("/api/models", {"author": "ada", "limit": 2}, 10)
    assert len({row["id"] for row in rows}) == 5
    assert bot.list_rows("/api/models", {"author": "ada", "limit": 2}, 3) == rows[:3]


def test_a_hub_that_is_not_there_is_said_to_be_out_of_reach():
    bot = Hub("http://127.0.0.1:9", "hf_x", sleep=lambda _: None)
    with pytest.raises(HubUnavailable, match="cannot be reached; try again later"):
        bot.call(bot.api.model_info, "ada/cod")


def test_an_order_to_wait_for_an_hour_is_cut_to_the_window_of_five_minutes():
    assert waiting_time(0, 3600.0) == 330.0
    assert [waiting_time(attempt, None) for attempt in (0, 1, 2, 9)] == [1.0, 2.0, 4.0, 60.0]


def test_what_is_missing_gated_or_closed_is_named_with_the_remedy(hub):
    hub.store.commit("ada/cod", files(1))
    hub.store.set_gated("ada/cod", "manual")
    hub.store.commit("ada/eel", files(2))
    stranger = client(hub, token=hub.other_token)
    with pytest.raises(HubNotFound, match=r"^ada/nobody: not on the Hub, or private; check"):
        stranger.call(stranger.api.model_info, "ada/nobody")
    with pytest.raises(HubNotFound, match=r"^ada/eel: the Hub has no such revision"):
        stranger.call(stranger.api.model_info, "ada/eel", revision="0" * 40)
    with pytest.raises(HubGated, match=r"^ada/cod: gated; accept its terms"):
        stranger.read("ada/cod", hub.store.head("ada/cod"), "config.json")
    with pytest.raises(HubNotFound, match=r"^ada/eel: the Hub has no such file"):
        stranger.read("ada/eel", hub.store.head("ada/eel"), "absent.json")


ANSWERS = {
    "a page": (200, b"<html>Log in first</html>", {}),
    "a list": (200, b"[]", {}),
    "no name": (200, b'{"sha": "1"}', {}),
    "a circle": (302, b"", {"Location": "/api/models/ada/cod"}),
    "payment": (402, b"", {}),
    "a conflict": (409, b"", {}),
    "too much": (413, b"", {}),
    "legal reasons": (451, b'{"error": "taken down"}', {}),
    "no header": (403, b"", {"X-Error-Message": "Access to this resource is disabled."}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_whatever_a_server_answers_becomes_one_line(hub, answer):
    status, body, headers = answer
    hub.faults.add(Fault("*", "*", times=99, status=status, body=body, headers=headers))
    bot = client(hub)
    for function in (bot.api.model_info, bot.api.list_repo_refs, bot.api.create_repo):
        with pytest.raises(ShoalError, match=r"^(ada/cod|http://\S+): .*; .*") as caught:
            bot.call(function, "ada/cod")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_\n", "hf_\u00e9", "hf_\u2019"])
def test_a_token_that_no_request_can_carry_is_named_and_not_shown(hub, token):
    bot = client(hub, token=token)
    with pytest.raises(ShoalError, match="no request can carry the token; check its characters") as caught:
        bot.whoami()
    assert "hf_" not in str(caught.value)


def test_a_namespace_of_others_is_refused_and_ones_own_are_named(hub):
    bot = client(hub)
    bot.check_can_write("ada")
    bot.check_can_write("reef")
    with pytest.raises(HubForbidden, match=r"^publish.namespace: got 'bob': .* ada, .* ada, reef; choose"):
        bot.check_can_write("bob")
    assert [path for _, path in hub.faults.seen] == ["/api/whoami-v2"]


def test_another_login_is_asked_about_anew(hub, monkeypatch):
    bot, names = Hub(hub.endpoint), []
    for token in (hub.token, hub.token, hub.other_token):
        monkeypatch.setenv("HF_TOKEN", token)
        names.append(bot.whoami()["name"])
    assert names == ["ada", "ada", "bob"] and len(hub.faults.seen) == 2


def test_a_fine_grained_token_is_checked_by_its_permissions(hub):
    writer = TokenScope("org", "reef", ("repo.content.read", "repo.write"))
    token = hub.store.accounts.add_token("ada", scopes=[writer])
    bot = client(hub, token=token)
    assert bot.check_can_write("reef") == ()
    with pytest.raises(HubForbidden, match=r"^publish.namespace: got 'ada': .* may write to reef; give it"):
        bot.check_can_write("ada")
    with pytest.raises(HubForbidden, match=r"^publish.collection: .* reef; give it the permission collection.write"):
        bot.check_can_write("reef", collections=True)


def test_an_admin_of_a_rehearsal_may_publish_to_any_namespace(hub):
    hub.store.add_user("root", "hf_root", admin=True)
    assert client(hub, token="hf_root").check_can_write("somebody-real", collections=True) == ()


@pytest.mark.parametrize("given", [True, False], ids=["given", "from the environment"])
def test_a_token_that_a_server_sends_back_is_not_shown(hub, monkeypatch, given):
    monkeypatch.setenv("HF_TOKEN", HUSH)
    sent_back = f'{{"error": "no Bearer {HUSH} here"}}'.encode()
    hub.faults.add(Fault("*", "/api/models/*", status=400, body=sent_back))
    bot = Hub(hub.endpoint, HUSH if given else None)
    with pytest.raises(ShoalError, match="no Bearer <token> here"):
        bot.call(bot.api.model_info, "ada/cod")


def test_a_wrong_token_is_refused_without_being_shown(hub):
    bot = client(hub, token=HUSH)
    with pytest.raises(ShoalError) as caught:
        bot.whoami()
    assert HUSH not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_parent_commit_reaches_the_caller_unchanged(hub):
    from huggingface_hub import CommitOperationAdd

    hub.store.commit("ada/cod", files(1))
    stale = hub.store.head("ada/cod")
    hub.store.commit("ada/cod", {"more.txt": b"x"})
    bot = client(hub)
    change = CommitOperationAdd("note.txt", b"y")
    with pytest.raises(HfHubHTTPError) as caught:
        bot.call(bot.api.create_commit, "ada/cod", operations=[change], commit_message="m", parent_commit=stale)
    assert caught.value.response.status_code == 412
