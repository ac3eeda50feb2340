"""Commands of shoal as hints show them: with the home and the Hub that they have to be run on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bot.home import Home, find_home

if TYPE_CHECKING:
    from bot.hub.client import Hub


def shoal_command(*words: str, home: Home, hub: Hub) -> str:
    """`shoal WORDS`, with `--home` and `--endpoint` where they are not what the command would use by itself."""
    from huggingface_hub import constants

    parts = ["shoal", *words]
    if home != find_home(None):
        parts += ["--home", str(home.folder)]
    if hub.endpoint != constants.ENDPOINT:
        parts += ["--endpoint", hub.endpoint]
    return shlex.join(parts)
