"""The page of `shoal review`."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from bot.cli.pages.review import layout_reviews
from bot.cycle.past.review import CycleReview, ReleaseReview
from bot.ledger.ledger import Cycle, State
from bot.release.folder import FileState, ReleaseFile

CYCLE = Cycle("small-1", "small", 1, "words", State.REVIEW, "", datetime(2026, 3, 1, tzinfo=UTC), None)
FILES = (
    ReleaseFile("README.md", 2_000, FileState.EDITED),
    ReleaseFile("model.safetensors", 998_000, FileState.UNCHECKED),
    ReleaseFile("shoal.json", 0, FileState.GONE),
)


def release(role: str, state: str) -> ReleaseReview:
    return ReleaseReview(
        role, f"me/{role}", f"http://hub/me/{role}", f"/home/{role}", "a" * 64, state, state == "waiting",
        "better [in] math", (0.9, 0.8), FILES,
    )  # fmt: skip


def shown(*reviews: CycleReview) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(layout_reviews(reviews))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def test_a_review_shows_each_release_and_the_commands_while_one_waits() -> None:
    releases = (release("balanced", "waiting"), release("best-math", "rejected by anna on 2026-03-02: no"))
    review = CycleReview(CYCLE, ("math", "cross"), releases, "shoal publish small-1", "shoal reject small-1 balanced")
    assert shown(review) == (
        "small-1: waiting for review\n"
        "\n"
        "  balanced: waiting\n"
        "    address       http://hub/me/balanced\n"
        "    folder        /home/balanced\n"
        "    gate          better [in] math\n"
        "    report split  math 0.900, cross 0.800\n"
        "    files         3, 1.0 MB; hashed again before the upload\n"
        "                  README.md: edited\n"
        "                  shoal.json: gone\n"
        "\n"
        "  best-math: rejected by anna on 2026-03-02: no\n"
        "    address       http://hub/me/best-math\n"
        "    folder        /home/best-math\n"
        "    gate          better [in] math\n"
        "    report split  math 0.900, cross 0.800\n"
        "    files         3, 1.0 MB\n"
        "                  README.md: edited\n"
        "                  shoal.json: gone\n"
        "\n"
        "  to publish all that wait: shoal publish small-1\n"
        "  to reject one: shoal reject small-1 balanced --note WHY"
    )
    assert shown() == "no release is waiting for review"
