"""The option --state of the commands that change a home."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bot.cli.hub_client import open_hub
from bot.cli.options import parse_repo_name
from bot.cli.output import terminal_narrator
from bot.errors import ShoalError
from bot.lock import is_schedule_held

if TYPE_CHECKING:
    from bot.home import Home
    from bot.hub.client import Hub
    from bot.service.state.keeper import StateKeeper


def open_state(
    name: str | None, hub: Hub, home: Home, say: Callable[[str], None], *, beside_schedule: bool = True
) -> AbstractContextManager[StateKeeper | None]:
    """Keeps the home's state in a repo for as long as a block runs; nothing without a name.

    beside_schedule: whether the home's schedule, where one runs, is another process's. ShoalError then: whoever claims
    the state stops that one, which saves what is done in its home anyway.
    """
    if not name:
        return nullcontext()
    if beside_schedule and is_schedule_held(home):
        raise ShoalError(
            f"--state: got {name!r}: a `shoal serve` runs the schedule of {home.folder}, and would have to stop; leave "
            "out --state and unset SHOAL_STATE (its own --state saves what is done here), or choose another --home"
        )
    from bot.service.state.keeper import kept_state
    from bot.service.state.repo import StateRepo, describe_process

    repo = StateRepo(hub, parse_repo_name("--state", name))
    return kept_state(repo, home, describe_process(os.environ), say)


def open_review_state(name: str | None, endpoint: str | None, home: Home) -> AbstractContextManager[StateKeeper | None]:
    """The same for commands that find the Hub in the ledger, which may come with the state."""
    return open_state(name, open_hub(endpoint), home, terminal_narrator().say) if name else nullcontext()


def pull_state(name: str | None, endpoint: str | None, home: Home) -> None:
    """Bring a home to a state in order to read it; nothing without a name."""
    if not name:
        return
    from bot.service.state.keeper import StateKeeper
    from bot.service.state.repo import StateRepo

    repo = StateRepo(open_hub(endpoint), parse_repo_name("--state", name))
    StateKeeper(repo, home, "", terminal_narrator().say).pull()
