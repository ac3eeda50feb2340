"""What the demos' releases score."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load


def demo() -> list[list[str]]:
    """The demo's releases and baselines on the report split."""
    return _report_split("demo")


def demo_vision() -> list[list[str]]:
    """The same of the demo with pictures."""
    return _report_split("demo_vision")


def demo_image() -> list[list[str]]:
    """The same of the demo that draws."""
    return _report_split("demo_image")


def real() -> list[list[str]]:
    """The same of the real demo."""
    return _report_split("real")


def _report_split(benchmark: str) -> list[list[str]]:
    found: Any = load(benchmark)
    rows = [["report split, 95 % intervals", *found["skills"]]]
    for model in found["models"]:
        name = f"{model['kind']} `{model['name']}`"
        released = model["kind"] == "release"
        cells = [f"{mean:.3f} [{low:.3f}, {high:.3f}]" for mean, low, high in model["scores"]]
        rows.append([f"**{name}**" if released else name, *cells])
    return rows


def uniform_pair() -> list[list[str]]:
    """The releases of the demo with pictures against the best merge with one weight for each source."""
    return _against_pair("demo_vision")


def uniform_pair_image() -> list[list[str]]:
    """The same of the demo that draws."""
    return _against_pair("demo_image")


def _against_pair(benchmark: str) -> list[list[str]]:
    found: Any = load(benchmark)
    weights = ", ".join(f"{name.partition('/')[2]} {weight:.1f}" for name, weight in found["pair"].items())
    rows = [["merge", "cross", "wins", "losses", "difference, 95 % interval"]]
    for row in found["against_pair"]:
        mean, low, high = row["gain"]
        cells = [f"{row['cross']:.3f}", str(row["wins"]), str(row["losses"]), f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"]
        rows.append([f"release `{row['release']}`", *cells])
    return [*rows, [f"best of {found['pairs']} pairs: {weights}", f"{found['pair_cross']:.3f}", "–", "–", "–"]]
