"""The tables of README and docs, made from the files in benchmarks/results: no figure there is written by hand.

A table stands between `<!-- table: NAME -->` and `<!-- end of table -->`; `python -m benchmarks tables` writes them all
anew, and a test checks that this would change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.record import load

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/benchmarks.md", "docs/merge.md", "docs/paths.md", "docs/statistics.md")

_TABLE = re.compile(r"(<!-- table: ([a-z_]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def write_all() -> None:
    """Write the tables of all pages anew."""
    for path in (ROOT / page for page in PAGES):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """A page's text with its tables made from the results."""
    return _TABLE.sub(lambda found: f"{found[1]}{render_table(found[2])}{found[3]}", page)


def render_table(name: str) -> str:
    """A table in Markdown; where its benchmark has no results, a line that says so."""
    try:
        return markdown(TABLES[name]())
    except FileNotFoundError as missing:
        benchmark = Path(str(missing.filename)).stem
        return f"Not measured in this version yet: `python -m benchmarks {benchmark} --save`.\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first one is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def demo() -> list[list[str]]:
    """The demo's releases and baselines on the report split."""
    return _report_split("demo")


def demo_vision() -> list[list[str]]:
    """The same of the demo with pictures."""
    return _report_split("demo_vision")


def demo_image() -> list[list[str]]:
    """The same of the demo that draws."""
    return _report_split("demo_image")


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
            loads = "another kind of model" if one["missing"] is None else f"{one['missing']} weights missing"
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


def engine() -> list[list[str]]:
    """The engine against lm-eval's HFLM."""
    return _engine_rows(load("engine"))


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


def gpu_candidates() -> list[list[str]]:
    """A candidate on a GPU, in memory and by the peers' way."""
    found: Any = load("gpu")
    rows = [["models", *_COSTS]]
    for row in found["candidates"]:
        size = f", {row['parameters'] / 1e9:g} B" if "parameters" in row else ""
        costs = _pair(row["shoal_s"], row["peers_s"], row["of_it_describing_the_machine_s"], 3)
        rows.append([f"{row['models']}{size}", *costs])
    return rows


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


_DESCRIBING = "describing_the_machine_s"

_COSTS = ("shoal", "mergekit, disk, lm-eval", "of it describing the machine", "ratio", "ratio without that")


def _pair(ours: float, theirs: float, described: float, digits: int) -> list[str]:
    seconds = [f"{value:.{digits}f} s" for value in (ours, theirs, described)]
    return [*seconds, f"{theirs / ours:.1f}", f"{(theirs - described) / ours:.1f}"]


def racing() -> list[list[str]]:
    """What a race spends to come within 1 % of full scoring's hypervolume."""
    head = ["models", "counted", "of what full scoring needs for it", "of full scoring's whole budget"]
    rows = []
    for name, zoo in (("racing", "the demo's"), ("racing_other", "another seed's")):
        try:
            seeds: Any = load(name)["seeds"]
        except FileNotFoundError:
            rows.append([zoo, "not measured in this version yet", f"`python -m benchmarks {name} --save`", ""])
            continue
        for unit, counted in (("items", "item scores"), ("seconds", "processor seconds")):
            shares = [
                [seed[f"{unit}_of_{share}"] for seed in seeds if f"{unit}_of_{share}" in seed] for share in _SHARES
            ]
            if shares[0] or unit == "items":
                rows.append([_searches(zoo, len(seeds), len(shares[0])), counted, *map(_median_and_range, shares)])
    return [head, *rows]


def warm_start() -> list[list[str]]:
    """What a search needs that begins with what an earlier cycle found."""
    found: Any = load("warm_start")
    rows = [["new in the second cycle", "searches that came to the goal", "share of the item scores, mean", "range"]]
    for row in found["changes"]:
        counts = f"{row['reached']} of {row['searches']}"
        shares = ["", ""]
        if row["reached"]:
            shares = [f"{row['mean']:.0%} ± {row['half_width']:.0%}", f"{row['lowest']:.0%} to {row['highest']:.0%}"]
        rows.append([row["change"], counts, *shares])
    return rows


_SHARES = ("needed", "all")


def _searches(zoo: str, searches: int, reached: int) -> str:
    """A row's name: the models, and how many of the searches came to the goal."""
    return f"{zoo}, searches: {searches}" if reached == searches else f"{zoo}, searches: {reached} of {searches}"


def _median_and_range(shares: Sequence[float]) -> str:
    if not shares:
        return "never reached"
    return f"{_median(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})"


def audition() -> list[list[str]]:
    """Sources chosen by an audition beside other choices, on the same budget."""
    found: Any = load("audition")
    head = ["base", "sources", "item scores", "hypervolume, search split", "validation split"]
    rows = [[*head, "lead of the audition there"]]
    for base, arm in ((zoo["base"], arm) for zoo in found["zoos"] for arm in zoo["arms"]):
        volumes = [_volume(arm[split]) for split in ("search", "validation")]
        lead = arm["validation"]["lead_of_the_audition"]
        rows.append([base, arm["arm"], f"{arm['item_scores']:,}", *volumes, _volume(lead, "+") if lead else ""])
    return rows


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


def searches() -> list[list[str]]:
    """Searches beside each other on several landscapes."""
    return _searches_of("searches")


def searches_raced() -> list[list[str]]:
    """The same with a race."""
    return _searches_of("searches_raced")


def _searches_of(benchmark: str) -> list[list[str]]:
    found: Any = load(benchmark)
    budget, counts = found["budget"], found["checkpoints"]
    head = ["landscape", "search", *(f"at {count}" for count in counts), *(f"held out at {count}" for count in counts)]
    rows = [[*head, f"held out at {counts[-2]}, over plain at {counts[-1]}", "full scorings to the goal"]]
    for landscape, arm in ((one, arm) for one in found["landscapes"] for arm in one["arms"]):
        name = f"{landscape['landscape']}, {landscape['genes']} genes"
        keys = [f"{key}_{count}" for key in ("search", "held_out") for count in counts]
        early = arm.get(f"held_out_{counts[-2]}_lead_over_end")
        median = _median([budget + 1 if cost is None else cost for cost in arm["to_goal"]])
        told = f"{median:.0f}" if median <= budget else f"not in {budget}"
        cells = [_mean_and_lead(arm, key) for key in keys]
        rows.append([name, arm["name"], *cells, _points(early, "+") if early else "", told])
    return rows


def shrinkage() -> list[list[str]]:
    """Fronts chosen by a model of the scores beside those of the scores themselves."""
    found: Any = load("searches")
    rows = [["landscape", "search", *(f"held out at {count}" for count in found["checkpoints"])]]
    for landscape, arm in ((one, arm) for one in found["landscapes"] for arm in one["arms"]):
        keys = [f"shrunken_{count}" for count in found["checkpoints"]]
        if keys[0] in arm:
            cells = [f"{arm[key]['mean']:.1f} ({_points(arm[f'{key}_gain'], '+')})" for key in keys]
            rows.append([landscape["landscape"], arm["name"], *cells])
    return rows


def groupings() -> list[list[str]]:
    """Groups of tensors beside one group for all."""
    found: Any = load("groupings")
    rows = [["models", "groups", "genes", *(f"held out at {count}" for count in found["checkpoints"])]]
    for zoo, row in ((one, row) for one in found["zoos"] for row in one["groupings"]):
        cells = [_mean_and_lead(row, f"held_out_{count}") for count in found["checkpoints"]]
        rows.append([zoo["landscape"], row["name"], str(row["genes"]), *cells])
    return rows


def _mean_and_lead(arm: Mapping[str, Any], key: str) -> str:
    """A mean, and its lead over the row that all are compared with if it is not that itself."""
    mean, lead = f"{arm[key]['mean']:.1f}", arm.get(f"{key}_lead")
    return mean if lead is None else f"{mean} ({_points(lead, '+')})"


def plan() -> list[list[str]]:
    """What a plan announces beside what the run takes."""
    found: Any = load("plan")
    rows = [["models", "", "item scores", "time", "memory"]]
    for run in found["runs"]:
        for key in ("planned", "taken"):
            took = run[key]
            figures = [f"{took['item_scores']:,}", f"{took['seconds']:.0f} s", f"{took['memory'] / 1e9:.2f} GB"]
            rows.append([run["models"], key, *figures])
    return rows


def coverage() -> list[list[str]]:
    """Intervals and the gate on simulated cycles with known truth."""
    found: Any = load("coverage")
    rows = [["simulated cycles", "cards", "score intervals that hold", "difference intervals that hold", "wrong cards"]]
    for row in found["better"]:
        held = [f"{row[key]:.1%}" for key in ("scores_held", "leads_held")]
        rows.append([row["setting"], str(row["cards"]), *held, f"{row['wrong_cards']:.1%}"])
    return rows


def false_publications() -> list[list[str]]:
    """How often a cycle publishes where no merge is better."""
    found: Any = load("coverage")
    rows = [["simulated cycles in which no merge is better", "that publish one"]]
    return rows + [[row["setting"], f"{row['wrong_cycles']:.1%}"] for row in found["no_better"]]


def estimates() -> list[list[str]]:
    """Scores estimated from part of the items."""
    found: Any = load("estimates")
    rows = [["items", "share", "method", "rank correlation", "mean error, points", "95 % intervals that hold"]]
    for row in found["methods"]:
        figures = [f"{row['rank']:.3f}", f"{row['error']:.2f}", f"{row['held']:.0f} %"]
        rows.append([row["items"], f"{row['share']:.0%}", row["method"], *figures])
    return rows


def spaces() -> list[list[str]]:
    """Weights, paths or both on the same budget."""
    found: Any = load("spaces")
    rows = [[f"*cross*, {found['layers']} layers", "points on the report split"]]
    rows += [[name, f"{score:.1f}"] for name, score in found["baselines"].items()]
    rows += [[f"**{row['arm']}**", _points(row["cross"])] for row in found["arms"]]
    without = [row for row in found["arms"] if row["without_its_scales"]["half_width"]]
    return rows + [[f"{row['arm']}: without its scales", _points(row["without_its_scales"], "+")] for row in without]


def processes() -> list[list[str]]:
    """Processes against threads."""
    found: Any = load("processes")
    rows = [["workers × threads", "candidates per minute"]]
    return rows + [[name, f"{rate:.0f}"] for name, rate in found["candidates_per_minute"].items()]


def page() -> list[list[str]]:
    """What the page weighs, and what it costs a search."""
    found: Any = load("page")
    rows = [["", "requests at first load", "bytes", "axe violations"]]
    rows += [
        [one["page"], str(one["requests"]), f"{one['bytes']:,}", str(one["axe_violations"])] for one in found["pages"]
    ]
    cost = f"{found['share_of_cpu']:.2%} of a cycle's processor time, {found['page_cpu_per_second']:.2%} of a core"
    return [*rows, [f"two open tabs: {cost}", "", "", ""]]


def crashes() -> list[list[str]]:
    """Kills of the service while decisions are carried out."""
    found: Any = load("crashes")
    kills = found["kills"]
    faults = sum(bool(kill["faults"]) for kill in kills)
    head = ["kill -9 at random moments", "before the last answer", "published twice, or a decision lost"]
    return [head, [str(len(kills)), str(sum(kill["answered"] < 2 for kill in kills)), str(faults)]]


def _volume(value: Mapping[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.3f} ± {value['half_width']:.3f}"


def _points(value: Mapping[str, float], sign: str = "") -> str:
    return f"{value['mean']:{sign}.1f} ± {value['half_width']:.1f}"


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


TABLES: Mapping[str, Callable[[], list[list[str]]]] = MappingProxyType(
    {
        table.__name__: table
        for table in (
            demo,
            demo_vision,
            uniform_pair,
            demo_image,
            uniform_pair_image,
            real,
            merges,
            vlm_merges,
            image_merges,
            engine,
            picture_engine,
            pictures_per_second,
            gpu,
            gpu_candidates,
            turnaround,
            candidate,
            racing,
            warm_start,
            adapters,
            audition,
            rounds,
            searches,
            searches_raced,
            shrinkage,
            groupings,
            plan,
            coverage,
            false_publications,
            estimates,
            spaces,
            processes,
            page,
            crashes,
        )
    }
)
"""By the name that pages give them."""


def used_in(page: str) -> Iterator[str]:
    """Names of the tables on a page."""
    yield from (found[2] for found in _TABLE.finditer(page))
