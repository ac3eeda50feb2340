"""What a candidate costs."""

from __future__ import annotations

from typing import Any

from benchmarks.record import load

_DESCRIBING = "describing_the_machine_s"
_COSTS = ("shoal", "mergekit, disk, lm-eval", "of it describing the machine", "ratio", "ratio without that")


def candidate() -> list[list[str]]:
    """A candidate, and a whole search, in memory and by the peers' way."""
    one: Any = load("candidate_cost")
    search: Any = load("whole_search")
    rows = [["", *_COSTS]]
    told = one["of_it_describing_the_machine_s"]
    rows.append(["one candidate", *_pair(one["shoal_s"], one["peers_s"], told, 3)])
    peers = search["peers"]
    rows.append(
        ["a search, same hypervolume", *_pair(search["shoal"]["seconds"], peers["seconds"], peers[_DESCRIBING], 1)]
    )
    return rows


def gpu_candidates() -> list[list[str]]:
    """A candidate on a GPU, in memory and by the peers' way."""
    found: Any = load("gpu")
    rows = [["models", *_COSTS]]
    for row in found["candidates"]:
        size = f", {row['parameters'] / 1e9:g} B" if "parameters" in row else ""
        costs = _pair(row["shoal_s"], row["peers_s"], row["of_it_describing_the_machine_s"], 3)
        rows.append([f"{row['models']}{size}", *costs])
    return rows


def _pair(ours: float, theirs: float, described: float, digits: int) -> list[str]:
    seconds = [f"{value:.{digits}f} s" for value in (ours, theirs, described)]
    return [*seconds, f"{theirs / ours:.1f}", f"{(theirs - described) / ours:.1f}"]


def turnaround() -> list[list[str]]:
    """A live candidate against the floor of its memory traffic, and against files."""
    found: Any = load("live_turnaround")
    rows = [["parameters", "threads", "method", "floor", "every gene changed", "one gene changed", "through files"]]
    for row in found["candidates"]:
        floor = row["floor_s"]
        times = [f"{row[key]:.2f} s, {row[key] / floor:.1f} ×" for key in ("every_gene_s", "one_gene_s", "files_s")]
        size = f"{row['parameters'] / 1e9:g} B"
        rows.append([size, str(row["threads"]), row["method"], f"{floor:.2f} s", *times])
    return rows


def image_turnaround() -> list[list[str]]:
    """A live pipeline's candidate against the floor of its memory traffic, and its memory."""
    found: Any = load("image_turnaround")
    rows = [["merge", "changed", "threads", "floor", "time", "beside the floor"]]
    for row in found["candidates"]:
        times = [f"{row[key]:.3f} s" for key in ("floor_s", "seconds")]
        ratio = f"{row['seconds'] / row['floor_s']:.1f} ×"
        rows.append([row["merge"], row["change"], str(row["threads"]), *times, ratio])
    sizes = (f"{found[key] / 1e9:.2f} GB" for key in ("pipeline_bytes", "held_bytes"))
    return [*rows, ["memory", "weights of a pipeline, and what a live one holds", "", *sizes, ""]]


def adapters() -> list[list[str]]:
    """A candidate of three adapters beside one of three whole models."""
    found: Any = load("adapters")
    rows = [["parameters", "rank", "method", "whole", "adapters", "time ratio", "memory: whole", "adapters", "once"]]
    for one in found["candidates"]:
        seconds, sizes = ([one[f"{side}_{unit}"] for side in ("whole", "adapters")] for unit in ("s", "bytes"))
        rows.append(
            [
                f"{one['parameters'] / 1e6:.0f} M",
                str(one["rank"]),
                one["method"],
                *(f"{second:.3f} s" for second in seconds),
                f"{seconds[1] / seconds[0]:.2f}",
                *(f"{size / 2**20:,.0f} MiB" for size in sizes),
                f"{one['prepared_s']:.1f} s",
            ]
        )
    return rows


def processes() -> list[list[str]]:
    """Processes against threads."""
    found: Any = load("processes")
    rows = [["workers × threads", "candidates per minute"]]
    return rows + [[name, f"{rate:.0f}"] for name, rate in found["candidates_per_minute"].items()]
