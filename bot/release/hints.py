"""Commands of shoal as hints show them: with the home and the Hub that they have to be run on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bot.home import Home, find_home

if TYPE_CHECKING:
    from bot.hub.client import Hub


PUBLIC_HUB = "https://huggingface.co"
"""The Hub that commands use by themselves."""


def shoal_command(*words: str, home: Home, hub: Hub) -> str:
    """`shoal WORDS`, with `--home` and `--endpoint` where they are not what the command would use by itself.

    A Hub that HF_ENDPOINT names is named here too: the command may be run in another shell.
    """
    parts = ["shoal", *words]
    if home != find_home(None):
        parts += ["--home", str(home.folder)]
    if hub.endpoint != PUBLIC_HUB:
        parts += ["--endpoint", hub.endpoint]
    return shlex.join(parts)
