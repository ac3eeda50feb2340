"""How fast models are asked, and what part of the items tells of the whole."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load


def engine() -> list[list[str]]:
    """The engine against lm-eval's HFLM."""
    return _engine_rows(load("engine"))


def gpu() -> list[list[str]]:
    """The same on a GPU."""
    return _engine_rows(load("gpu"))


def _engine_rows(found: Any) -> list[list[str]]:
    rows = [["model", "task", "engine, items/s", "HFLM, items/s (best batch)", "ratio"]]
    for row in found["tasks"]:
        name = f"{row['model']}, {row['weights'] / 1e6:.1f} M"
        ours, theirs = row["engine_per_s"], row["hflm_per_s"]
        rows.append([name, row["task"], f"{ours:.1f}", f"{theirs:.1f} ({row['hflm_batch']})", f"{ours / theirs:.1f}"])
    return rows


def picture_engine() -> list[list[str]]:
    """The engine against lm-eval's hf-multimodal."""
    found: Any = load("picture_engine")
    rows = [["model", "each picture has", "engine, items/s", "hf-multimodal, items/s (best batch)", "ratio", "first"]]
    for row in found["tasks"]:
        name = f"{row['model']}, {row['weights'] / 1e6:.1f} M"
        ours, first, theirs = row["engine_per_s"], row["first_per_s"], row["hf_multimodal_per_s"]
        best = f"{theirs:.2f} ({row['hf_multimodal_batch']})"
        rows.append([name, row["task"], f"{ours:.2f}", best, f"{ours / theirs:.1f}", f"{first / theirs:.1f}"])
    return rows


def pictures_per_second() -> list[list[str]]:
    """Evaluation sets of pictures against calling the pipeline for each prompt."""
    found: Any = load("pictures_per_second")
    rows = [["pipeline", "pictures/s (batch)", "one call for each prompt, pictures/s", "ratio", "first"]]
    for row in found["pipelines"]:
        name, theirs = f"{row['pipeline']}, {row['weights'] / 1e6:.1f} M", row["plain_per_s"]
        ours, first = row["per_s"], row["first_per_s"]
        rates = [f"{ours:.2f} ({row['batch']})", f"{theirs:.2f}"]
        rows.append([name, *rates, f"{ours / theirs:.1f}", f"{first / theirs:.1f}"])
    return rows


def rounds() -> list[list[str]]:
    """What rounds cost beside the whole evaluation."""
    found: Any = load("rounds")
    rows = [["items of a task", "rounds", "the whole", "one after the other", "interrupted"]]
    for row in found["sizes"]:
        whole = f"{row['whole_cpu_s']:.1f} s"
        counts = str(len(row["items_of_each_round"]))
        rows.append(
            [str(row["items_of_a_task"]), counts, whole, f"{row['in_rounds']:.2f} ×", f"{row['interrupted']:.2f} ×"]
        )
    return rows


def estimates() -> list[list[str]]:
    """Scores estimated from part of the items."""
    found: Any = load("estimates")
    rows = [["items", "share", "method", "rank correlation", "mean error, points", "95 % intervals that hold"]]
    for row in found["methods"]:
        figures = [f"{row['rank']:.3f}", f"{row['error']:.2f}", f"{row['held']:.0f} %"]
        rows.append([row["items"], f"{row['share']:.0%}", row["method"], *figures])
    return rows
