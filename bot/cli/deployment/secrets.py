"""Secrets that are named on the command line and taken from the environment, so that no history keeps them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from bot.errors import ShoalError

SecretNames = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        metavar="NAME",
        help="A secret that it gets, with its value in this environment; default: HF_TOKEN.",
        show_default=False,
    ),
]


def read_secrets(given: Sequence[str] | None, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Name → value, of HF_TOKEN where none is named; ShoalError names the first that is not set."""
    names = given or ("HF_TOKEN",)
    for name in names:
        if not environment.get(name):
            raise ShoalError(f"--secret: got {name!r}: it is not set here; export {name}, then run the command again")
    return {name: environment[name] for name in names}
