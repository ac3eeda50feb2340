"""Sessions, passwords and tokens against forged forms."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.service.page.login.attempts import ALL_TRIES, TRIES, TRIES_SECONDS, Attempts
from bot.service.page.login.password import read_password, write_password
from bot.service.page.login.sessions import (
    SESSION_SECONDS,
    Sessions,
    TooManyTriesError,
    hash_password,
    is_form_token,
    is_password,
)

PASSWORD = "correct horse"


def test_a_password_is_known_again_and_never_kept_as_it_is() -> None:
    kept = hash_password(PASSWORD)
    assert is_password(PASSWORD, kept)
    assert not is_password("correct horsf", kept)
    assert PASSWORD not in kept
    assert kept != hash_password(PASSWORD)  # each with a salt of its own


def test_without_a_password_everybody_is_the_person_at_this_machine() -> None:
    sessions = Sessions("anna")
    session = sessions.session(None)
    assert (session.who, session.is_login) == ("anna", False)
    again = sessions.session(session.id)
    assert again == session
    assert is_form_token(again, session.form_token)
    assert not is_form_token(sessions.session(None), session.form_token)
    assert not is_form_token(Sessions("anna").session(session.id), session.form_token)  # of another server


@pytest.mark.parametrize("cookie", ["", "x", "é" * 43, "a" * 5000])
def test_a_strange_cookie_gets_a_new_session(cookie: str) -> None:
    session = Sessions("anna").session(cookie)
    assert len(session.id) == 43 or session.id == cookie
    assert not is_form_token(session, "")


def test_a_login_gets_a_session_of_its_own_that_ends() -> None:
    now = [0.0]
    sessions = Sessions("anna", hash_password(PASSWORD), lambda: now[0])
    before = sessions.session(None)
    assert before.who is None
    logged_in = sessions.log_in(PASSWORD)
    assert logged_in is not None and logged_in.who == "anna" and logged_in.id != before.id
    assert sessions.session(before.id).who is None
    now[0] = SESSION_SECONDS - 1
    assert sessions.session(logged_in.id).who == "anna"
    now[0] = SESSION_SECONDS + 1
    assert sessions.session(logged_in.id).who is None
    again = sessions.log_in(PASSWORD)
    assert again is not None
    sessions.log_out(again)
    assert sessions.session(again.id).who is None


def test_guessing_is_slowed_down_for_the_client_alone_who_guesses() -> None:
    now = [0.0]
    sessions = Sessions("anna", hash_password(PASSWORD), lambda: now[0])
    assert [sessions.log_in("wrong", "10.0.0.1") for _ in range(TRIES)] == [None] * TRIES
    with pytest.raises(TooManyTriesError) as wait:
        sessions.log_in(PASSWORD, "::ffff:10.0.0.1")
    assert wait.value.seconds == TRIES_SECONDS
    assert sessions.log_in(PASSWORD, "10.0.0.2") is not None
    now[0] = TRIES_SECONDS + 1
    assert sessions.log_in(PASSWORD, "10.0.0.1") is not None


def test_many_clients_that_guess_do_not_keep_out_who_has_been_in() -> None:
    attempts = Attempts(lambda: 0.0)
    attempts.succeed("10.0.0.1")
    for number in range(TRIES):
        attempts.fail(f"2001:db8::{number}")
    assert attempts.seconds_to_wait("2001:db8::ffff") > 0  # of the same network
    for number in range(ALL_TRIES - TRIES):
        assert attempts.seconds_to_wait(f"10.1.0.{number}") == 0
        attempts.fail(f"10.1.0.{number}")
    assert attempts.seconds_to_wait("10.2.0.1") == TRIES_SECONDS
    assert attempts.seconds_to_wait("10.0.0.1") == 0


def test_the_password_file_is_private_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "home" / "page-password"
    assert read_password(path) is None
    write_password(path, PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = read_password(path)
    assert kept is not None and is_password(PASSWORD, kept)
    with pytest.raises(ShoalError, match="got 3 characters: write at least 8"):
        write_password(path, "abc")
    assert read_password(path) == kept
    path.chmod(0o644)
    with pytest.raises(ShoalError, match=r"got mode 0644: only you may read it: chmod 600"):
        read_password(path)
    path.chmod(0o600)
    path.write_text("hunter2")
    with pytest.raises(ShoalError, match="holds no password of shoal; set one with `shoal page --set-password`"):
        read_password(path)
