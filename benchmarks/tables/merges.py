"""`shoal merge` beside other programs."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load


def merges() -> list[list[str]]:
    """`shoal merge` against mergekit-yaml."""
    found: Any = load("merge_files")
    rows = [["method", "shoal", "mergekit-yaml", "as fast", "memory", "moving the bytes alone"]]
    for row in found["merges"]:
        shoal, kit = row["shoal"], row["mergekit"]
        costs = [f"{one['seconds']:.1f} s, {one['anonymous'] / 1e9:.2f} GB" for one in (shoal, kit)]
        ratio, share = kit["seconds"] / shoal["seconds"], shoal["anonymous"] / kit["anonymous"]
        rows.append([row["method"], *costs, f"{ratio:.1f} ×", f"{share:.2f} ×", f"{row['floor_s']:.1f} s"])
    return rows


def vlm_merges() -> list[list[str]]:
    """`shoal merge` against mergekit-yaml on vision-language models."""
    found: Any = load("vlm_merge")
    rows = [["merge", "", "tensors", "plain load", "time", "memory"]]
    for row in found["merges"]:
        for side in ("shoal", "mergekit"):
            one = row[side]
            kind = "another kind of model" if one["tensors"] else "stops at the modules"
            loads = kind if one["missing"] is None else f"{one['missing']} weights missing"
            costs = [f"{one['seconds']:.1f} s", f"{one['anonymous'] / 1e9:.2f} GB"]
            rows.append([row["merge"], side, str(one["tensors"]), loads, *costs])
    return rows


def image_merges() -> list[list[str]]:
    """`shoal merge` against sd-mecha and diffusers on pipelines."""
    found: Any = load("image_merge")
    rows = [["method", "", "time", "shoal is", "memory", "shoal takes"]]
    for row in found["merges"]:
        shoal = row["shoal"]
        for side in (one for one, run in row.items() if isinstance(run, dict)):
            run, alone = row[side], side == "shoal"
            ratio = "" if alone else f"{run['seconds'] / shoal['seconds']:.1f} × as fast"
            share = "" if alone else f"{shoal['anonymous'] / run['anonymous']:.2f} ×"
            rows.append(
                [row["method"], side, f"{run['seconds']:.1f} s", ratio, f"{run['anonymous'] / 1e9:.2f} GB", share]
            )
        rows.append([row["method"], "moving the bytes alone", f"{row['floor_s']:.1f} s", "", "", ""])
    return rows
