"""The option --state of the commands that change a home."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from bot.cli.options import parse_repo_name

if TYPE_CHECKING:
    from bot.home import Home
    from bot.hub.client import Hub
    from bot.service.state.keeper import StateKeeper


def open_state(
    name: str | None, hub: Hub, home: Home, say: Callable[[str], None]
) -> AbstractContextManager[StateKeeper | None]:
    """Keeps the home's state in a repo for as long as a block runs; nothing without a name."""
    if not name:
        return nullcontext()
    from bot.service.state.keeper import kept_state
    from bot.service.state.repo import StateRepo, describe_process

    repo = StateRepo(hub, parse_repo_name("--state", name))
    return kept_state(repo, home, describe_process(os.environ), say)
