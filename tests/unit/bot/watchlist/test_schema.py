"""The JSON Schema of watchlists, with which editors check them, against `shoal check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from bot.errors import ShoalError
from bot.watchlist.contradictions import find_contradictions
from bot.watchlist.load import load_watchlist
from bot.watchlist.schema.json_schema import watchlist_schema
from bot.watchlist.schema.reference import watchlist_reference
from bot.watchlist.watchlist import Watchlist
from fixtures.folders import ROOT
from fixtures.json_schema import accepts

SCHEMA = json.loads(watchlist_schema())

GOOD: dict[str, Any] = {
    "name": "fish",
    "watch": {"tags": ["fish"]},
    "skills": [{"name": "math", "tasks": [{"task": "gsm8k", "metric": "exact_match"}]}],
    "guards": [
        {
            "name": "trivia",
            "tasks": [{"task": "sciq", "metric": "acc"}],
            "max_drop": 0.9,  # enough for as few items as the gate can work with
            "reference": "best_source",
        }
    ],
    "publish": {"mode": "off"},
}

NOTHING = [None, "", [], {}, 0, True]
WORDS = ["x", "two words", " x", "x ", "a\nb", "a\tb", "x\n", "“x”", "«x»", 5, 1.5, None, ["x"], {}]
LISTS = [[], ["x"], ["x", "y"], "x", None, [None], [5], ["“x”"], {"x": 1}]
COUNTS = [1, 2, 4, 16, 50.0, 1e9, 0, -1, 1.5, "2", "many", None, [], True, 10**20]
SHARES = [0.5, 0.95, 1, 1.0, 0, -0.1, 1.5, 60, "0.5", "60%", None, True]
SWITCHES = [True, False, "yes", "true", 0, 1, None]
AMOUNTS = [0, 1, 7e9, 60.0, "360M", "7b", "7B", "16GB", "16 GB", "16 GiB", "1.5T", "12", "5 m", "5kb"]
AMOUNTS += [-1, 0.5, "1,5GB", "16 GiB ", " 16GB", "7x", "7BB", "-7B", "1e9", ".5M", "", "GB", None, True, "7\n", "٧M"]
REPOS = ["a/b", "reef/cod-1.5", "a/b@main", "a/b@refs/pr/1", {"repo": "a/b"}, {"repo": "a/b", "revision": None}]
REPOS += [{"repo": "a/b", "revision": "v1"}, "gpt2", "a/b/c", "/a/b", "a/b@", "a b/c", "a/b\n", {"repo": "gpt2"}, {}]
REPOS += [{"repo": "a/b@v1"}, {"repo": "../x/y"}, {"repo": "a/b", "revision": "-x"}, {"repo": "a/b", "sha": "x"}, 5]
FILES = [f"a/b{file}" for file in [":x.safetensors", "@main:a b/x-1.safetensors", ":x.bin", ":", ":x.safetensors@main"]]
FILES += [
    {"repo": "a/b", "file": file}
    for file in ["x.safetensors", "x.bin", "/x.safetensors", "../x.safetensors", "a/.b/x.safetensors", None, 5]
]
NAMES = ["x", "a-b-1", "a" * 48, "a" * 49, "Fish", "-a", "a_b", "a b", "", "a\n", 5, None]
OWNERS = [["me"], ["Me-1", "x.y"], [], ["a/b"], ["a b"], ["-x"], ["https://hub/me"], "me", [None], ["me\n"]]
LANGUAGES = ["ja", "en", "jp", "JA", "japanese", "", None, 5]
LICENCES = [["mit"], ["apache-2.0", "gemma"], ["MIT"], ["gpl"], ["cc-by-nd-4.0"], [], None, "mit"]
METHODS = ["linear", "ties", "slerp", "SLERP", "passthrough", None, 1]

CRON = ["0 3 * * 1", "*/5 * * * *", "0 0 1,15 jan-mar fri-mon", "05 00 31 12 7", "0-30/10 8-18 * * 1-5", "0 0 last * *"]
CRON += [
    "0  3 *\u2009* 1",
    "0 0 1 JAN Sun",
    "5/15 * * * *",
    "0 3 * *",
    "0 3 * * 1 2",
    "@daily",
    "",
    "a b c d e",
    5,
    None,
]
CRON += [
    "60 0 * * *",
    "0 24 * * *",
    "0 0 32 * *",
    "0 0 0 * *",
    "0 0 * 13 *",
    "0 0 * * 8",
    "*/0 * * * *",
    "0 0 * * mo",
    "0,",
]

VALUES: dict[str, list[Any]] = {
    "name": NAMES,
    "carrier": [*REPOS, "auto", "none", "Auto", "", None, False],
    "watch.language_models": [None, {}, {"tags": ["x"]}, {"search": "x"}, {"authors": ["me"]}, "x", []],
    "watch.language_models.tags": LISTS,
    "watch.language_models.search": WORDS,
    "watch.language_models.pipeline_tag": WORDS,
    "search.components": [
        {},
        {"projector": "keep"},
        {"vision tower": "choose"},
        {"projector": "mix"},
        {"": "keep"},
        [],
        None,
        5,
    ],
    "search.last_stage": [
        None,
        {},
        "a/b",
        [],
        *({"adapter": repo} for repo in REPOS),
        {"adapter": "a/b", "rank": 4},
        *({"adapter": repo} for repo in FILES),
        {"adapter": "a/b", "file": "x.safetensors"},
        *({"adapter": "a/b", "scale": scale} for scale in [1, 0.5, -1, 0, 10, 10.5, -11, "1", True, None, {}]),
        *({"adapter": "a/b", "scale": scale} for scale in [[0.5, 1.2], [0, 1], [0, 0], [1], [1, 2, 3], ["1", 2], []]),
    ],
    "picture_size": [*COUNTS, 512, 4096, 5000],
    "search.steps": [None, [1, 8], [2, 4.0], [1], [1, 2, 3], [0, 4], [1, 1001], ["1", 4], [1.5, 4], 4, "1-8", [], {}],
    "search.picture_sizes": [
        *(None, [512, 768, 1024], [8, 4096], [512.0, 768], [512], [], [7, 512], [512, 4097], list(range(8, 25)), 512),
        *(["512", 768], [512.5, 768], "512", {}),
    ],
    "kind": ["language", "vision-language", "Language", "causal-lm", "", None, 5],
    "watch": [
        {"tags": ["x"]},
        {"search": "x"},
        {"authors": {"allow": ["me"]}},
        {"authors": {"deny": ["me"]}},
        *NOTHING,
    ],
    "watch.tags": LISTS,
    "watch.search": WORDS,
    "watch.authors.allow": OWNERS,
    "watch.authors.deny": OWNERS,
    "watch.licences": LICENCES,
    "watch.pipeline_tag": WORDS,
    "watch.parameters": [{"min": "1B"}, {"max": "1B"}, {"min": None, "max": None}, {"low": 1}, *NOTHING],
    "watch.parameters.min": AMOUNTS,
    "watch.max_bytes": AMOUNTS,
    "watch.downloads_min": COUNTS,
    "watch.max_age_days": COUNTS,
    "watch.architectures": LISTS,
    "watch.pickles": ["refuse", "convert", "Convert", True, None],
    "watch.adapters": SWITCHES,
    "watch.max_candidates": COUNTS,
    "pinned": [[one] for one in (*REPOS, *FILES)] + [[], "a/b", None, ["a/b", "a/c"]],
    "base": [*REPOS, "auto", "none", "Auto", "", None, False],
    "max_sources": COUNTS,
    "audition": [None, {}, {"sources": None}, {"sources": 9}, {"share": 1}, {"items": 5}, False, "off"],
    "audition.sources": [5, 16.0, 100, 101, 2, 0, -1, 5.5, "5", None, True],
    "audition.share": SHARES,
    "noncommercial": SWITCHES,
    "skills": [[], None, {}, [5], [{}], GOOD["skills"] * 5],
    "skills.0.name": NAMES,
    "skills.0.tasks": [[], None, [{}], [{"task": "x"}], [{"task": "x", "metric": "y", "shots": 1}]],
    "skills.0.tasks.0.task": WORDS,
    "skills.0.tasks.0.metric": WORDS,
    "skills.0.tasks.0.filter": WORDS,
    "skills.0.tasks.0.weight": [1, 0.5, 0, -1, "1", None],
    "skills.0.tasks.0.num_fewshot": COUNTS,
    "skills.0.chat_template": SWITCHES,
    "skills.0.language": LANGUAGES,
    "guards": [[], None, {}, [5], [{}], GOOD["guards"], GOOD["guards"] * 5],
    "guards.0.name": NAMES,
    "guards.0.tasks": [[], None, [{}], [{"task": "x"}], [{"task": "x", "metric": "y", "shots": 1}]],
    "guards.0.tasks.0.task": WORDS,
    "guards.0.tasks.0.metric": WORDS,
    "guards.0.tasks.0.filter": WORDS,
    "guards.0.tasks.0.weight": [1, 0.5, 0, -1, "1", None],
    "guards.0.tasks.0.num_fewshot": COUNTS,
    "guards.0.chat_template": SWITCHES,
    "guards.0.language": LANGUAGES,
    "guards.0.max_drop": [0.05, 1, 5.0, 0, -0.1, "0.05", "5%", None],
    "guards.0.reference": ["base", "best_source", "best source", "source", None],
    "task_folders": [["."], [], ".", None, [5]],
    "items": [*NOTHING, {"search": 5}, {"train": 5}],
    "items.search": COUNTS,
    "items.validation": [count for count in COUNTS if count not in (1, 2, 4)],  # too few for the gate
    "items.report": COUNTS,
    "search": NOTHING,
    "search.space": ["parameter", "dataflow", "both", "weights", None],
    "search.dataflow": [None, {}, {"repeats": 2}, {"repeats": 3}, "both"],
    "search.method": METHODS,
    "search.vocabulary": ["same", "union", "base", "reef/cod", "intersection", "reef/", "", None, 1],
    "search.groups": [*NOTHING, 4],
    "search.groups.layers": COUNTS,
    "search.groups.modules": ["together", "apart", "both", None],
    "search.groups.ends": ["together", "apart", True],
    "search.dtype": ["float32", "bfloat16", "float16", "bf16", "int8", None],
    "search.population": COUNTS,
    "search.budget": [*NOTHING, 100],
    "search.budget.candidates": [20, 200.0, 1e3, 0, -1, 30.5, "200", "many", None, []],
    "search.budget.minutes": [1, 0.5, 60.0, 0, -1, "2h", None],
    "search.racing": [None, {}, {"rounds": None}, {"rounds": 3}, {"confidence": 0.9}, False, "off"],
    "search.racing.rounds": COUNTS,
    "search.racing.confidence": SHARES,
    "search.warm_start": SWITCHES,
    "search.surrogate": SWITCHES,
    "search.seed": [*COUNTS, 2**32, 2**32 - 1],
    "search.step": [*SHARES, 0.001, 0.0001],
    "workers": NOTHING,
    "workers.count": COUNTS,
    "workers.threads": COUNTS,
    "workers.device": ["auto", "cpu", "cuda", "gpu", "mps", None],
    "workers.batch_size": COUNTS,
    "workers.timeout": [1, 0.5, 0, None, "5m"],
    "gate.confidence": SHARES,
    "gate.minimum": [{}, {"math": 0.5}, {"math": "0.5"}, 60, None, []],
    "gate.max_degenerate": SHARES,
    "publish": [{"mode": "off"}, {"mode": "auto"}, {"namespace": "me"}, {"mode": "auto", "namespace": "me"}, *NOTHING],
    "publish.mode": ["off", "auto", "review", "no", False, None],
    "publish.namespace": ["me", "a/b", "", None, 5],
    "publish.name": ["{role}", "x-{role}", "{watchlist}.{cycle}_{role}", "{watchlist}", "x", "a/{role}", "{rolle}"],
    "publish.private": SWITCHES,
    "publish.tasks": SWITCHES,
    "publish.collection": WORDS,
    "publish.max_releases": COUNTS,
    "notify.events": [
        [],
        ["failed"],
        ["published", "review", "failed", "nothing"],
        ["Failed"],
        ["done"],
        "failed",
        None,
    ],
    "schedule": [None, {}, {"cron": "0 3 * * 1"}, {"timezone": "UTC"}, "0 3 * * 1", "daily"],
    "schedule.cron": CRON,
    "colour": ["blue"],
}
"""Key → values for it; those after the first dot are put into the groups of a good watchlist."""

OF_COMPONENTS = ("carrier", "watch.language_models", "search.components", "picture_size")
"""Keys that only kinds of several components have."""

OF_LOOSE_PARTS = ("pinned", "search.last_stage")
"""Keys whose values may name a file of a repo, where a kind has such."""

TOGETHER: dict[str, dict[str, Any]] = {
    "two sources": {"search": {"method": "slerp"}, "max_sources": 2},
    "four sources for two": {"search": {"method": "slerp"}},
    "two named of four for two": {"search": {"method": "slerp"}, "max_sources": 3},
    "a method of two for paths": {"search": {"method": "slerp", "space": "dataflow"}},
    "a method of two for both": {"search": {"method": "slerp", "space": "both"}},
    "no base for a method without": {"search": {"method": "linear"}, "base": None},
    "no base for a method with": {"search": {"method": "ties"}, "base": None},
    "no base for paths": {"search": {"space": "dataflow"}, "base": None},
    "no base for both": {"search": {"space": "both"}, "base": None},
    "paths where they are searched": {"search": {"space": "both", "dataflow": {"repeats": 3}}},
    "fewer layers in a race": {"search": {"space": "both", "dataflow": {"smaller": True}}},
    "fewer layers without a race": {"search": {"space": "both", "dataflow": {"smaller": True}, "racing": None}},
    "one release of a fixed name": {"publish": {"mode": "off", "name": "x", "max_releases": 1}},
    "review without a namespace": {"publish": {"mode": "review"}},
    "review with a namespace": {"publish": {"namespace": "me"}},
    "only a pinned model": {"watch": {}, "pinned": ["a/b"]},
    "nothing to find": {"watch": {}},
    "a carrier for one component": {"carrier": "a/b"},
    "components for one component": {"search": {"components": {"projector": "keep"}}},
    "a component that no model has": {"kind": "vision-language", "search": {"components": {"vision_tower": "keep"}}},
    "language models beside language models": {"watch": {"tags": ["x"], "language_models": {"tags": ["y"]}}},
    "only language models to find": {"kind": "vision-language", "watch": {"language_models": {"tags": ["y"]}}},
    "an author's language models": {
        "kind": "vision-language",
        "watch": {"authors": {"allow": ["me"]}, "language_models": {}},
    },
    "nobody's language models": {"kind": "vision-language", "watch": {"tags": ["x"], "language_models": {}}},
    "a carrier of pipelines": {"kind": "image", "carrier": "a/b", "search": {"components": {"text encoder": "choose"}}},
    "language models in pipelines": {"kind": "image", "watch": {"tags": ["x"], "language_models": {"tags": ["y"]}}},
    "paths through pipelines": {"kind": "image", "search": {"space": "dataflow"}},
    "a vocabulary beside a pipeline's": {"kind": "image", "search": {"vocabulary": "union"}},
    "an adapter after paths": {"search": {"space": "both", "last_stage": {"adapter": "a/b"}}},
    "an adapter after merges": {"search": {"space": "parameter", "last_stage": {"adapter": "a/b"}}},
    "an adapter for several vocabularies": {"search": {"vocabulary": "union", "last_stage": {"adapter": "a/b"}}},
    "steps of models that draw nothing": {"search": {"steps": [1, 8], "racing": None}},
    "steps of image generators": {"kind": "image", "search": {"steps": [1, 8], "racing": None}},
    "steps in a race": {"kind": "image", "search": {"steps": [1, 8]}},
    "sizes of models that draw nothing": {"search": {"picture_sizes": [512, 768], "racing": None}},
    "sizes of image generators": {"kind": "image", "search": {"picture_sizes": [512, 768], "racing": None}},
    "sizes in a race": {"kind": "image", "search": {"picture_sizes": [512, 768]}},
    "a vocabulary beside a carrier's": {"kind": "vision-language", "search": {"vocabulary": "union"}},
}
"""Keys that go together, or do not, and which the schema can say so of."""

BEYOND: dict[str, dict[str, Any]] = {
    "a carrier named twice": {"kind": "vision-language", "carrier": "a/b", "pinned": ["a/b@v1"]},
    "a repo pinned twice": {"pinned": ["a/b", {"repo": "a/b"}]},
    "a file of a language model": {"pinned": ["a/b:x.safetensors"]},
    "a file of a language model's adapter": {"search": {"last_stage": {"adapter": "a/b:x.safetensors"}}},
    "an author allowed and denied": {"watch": {"tags": ["x"], "authors": {"allow": ["me"], "deny": ["me"]}}},
    "more at least than at most": {"watch": {"tags": ["x"], "parameters": {"min": "2B", "max": "1B"}}},
    "steps from many to few": {"kind": "image", "search": {"steps": [8, 1], "racing": None}},
    "sizes from large to small": {"kind": "image", "search": {"picture_sizes": [768, 512], "racing": None}},
    "a size named twice": {"kind": "image", "search": {"picture_sizes": [512, 512, 768], "racing": None}},
    "scales from high to low": {"search": {"last_stage": {"adapter": "a/b", "scale": [1.2, 0.5]}}},
    "more layers at least than at most": {"search": {"space": "both", "dataflow": {"min_layers": 9, "max_layers": 8}}},
    "an audition of no more than have places": {"audition": {"sources": 4}},
    "a budget below a generation": {"search": {"population": 50, "budget": {"candidates": 40}}},
    "items with which nothing could pass the gate": {"items": {"validation": 4}},
    "a guard that not even a source could keep": {"guards": [GOOD["guards"][0] | {"max_drop": 0.01}]},
    "a guard beside a base that is not there": {
        "guards": [GOOD["guards"][0] | {"reference": "base"}],
        "search": {"method": "linear"},
        "base": None,
    },
    "a guard named as a skill": {"guards": [GOOD["guards"][0] | {"name": "math"}]},
    "rounds beyond the items": {"items": {"search": 16}, "search": {"racing": {"rounds": 5}}},
    "a skill named twice": {"skills": GOOD["skills"] * 2},
    "a task counted twice": {"skills": [{"name": "m", "tasks": GOOD["skills"][0]["tasks"] * 2}]},
    "a number beyond all": {"skills": [{"name": "m", "tasks": [GOOD["skills"][0]["tasks"][0] | {"weight": 1e400}]}]},
    "a minimum for no skill": {"gate": {"minimum": {"maths": 0.5}}},
    "a minimum beyond every score": {"gate": {"minimum": {"math": 60}}},
    "names too long for the Hub": {"publish": {"mode": "off", "name": f"{'x' * 90}-{{role}}"}},
    "hours backwards": {"schedule": {"cron": "0 5-1 * * *"}},
    "a step beyond the hour": {"schedule": {"cron": "*/70 * * * *"}},
    "a day that no month has": {"schedule": {"cron": "0 0 31 2 *"}},
    "a zone that is none": {"schedule": {"cron": "0 0 * * *", "timezone": "Europe/Berln"}},
    "a folder that is not there": {"task_folders": ["nowhere"]},
}
"""What no JSON Schema can say: it compares no two values, and knows no clock and no disk."""


def with_value(key: str, value: Any) -> dict[str, Any]:
    """The good watchlist with one value."""
    whole = deepcopy(GOOD)
    *groups, last = key.split(".")
    inner: Any = whole
    for part in groups:
        inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
    inner[last] = value
    if key in ("search.steps", "search.picture_sizes"):
        return whole | {"kind": "image", "search": {**whole["search"], "racing": None}}
    if key in OF_LOOSE_PARTS:
        return whole | {"kind": "image"}
    return whole | ({"kind": "vision-language"} if key.startswith(OF_COMPONENTS) else {})


def verdict(whole: dict[str, Any], folder: Path) -> str:
    """What `check` says: "" if it accepts the watchlist, which then survives dump and load."""
    path = folder / "w.yml"
    # JSON is YAML, except for numbers beyond a double's range, which json writes as Infinity.
    path.write_text(json.dumps(whole).replace("Infinity", "1e400"), encoding="utf-8")
    try:
        watchlist = load_watchlist(path)
    except ShoalError as error:
        return str(error)
    again = Watchlist.model_validate_json(watchlist.model_dump_json())
    assert again == watchlist and not list(find_contradictions(again))
    return ""


def differing(wholes: Iterator[dict[str, Any]], folder: Path) -> list[str]:
    """The watchlists on which schema and check do not agree."""
    judged = ((whole, verdict(whole, folder)) for whole in wholes)
    return [f"{whole}: {said or 'accepted'}" for whole, said in judged if accepts(SCHEMA, whole, SCHEMA) != (not said)]


@pytest.mark.parametrize("key", VALUES)
def test_schema_and_check_agree_on_every_value_of_a_key(key: str, tmp_path: Path) -> None:
    assert differing((with_value(key, value) for value in VALUES[key]), tmp_path) == []


@pytest.mark.parametrize("case", TOGETHER)
def test_schema_and_check_agree_on_keys_together(case: str, tmp_path: Path) -> None:
    assert differing(iter([GOOD | TOGETHER[case]]), tmp_path) == []


@pytest.mark.parametrize("case", BEYOND)
def test_what_no_schema_can_say_is_refused_by_check_alone(case: str, tmp_path: Path) -> None:
    whole = GOOD | BEYOND[case]
    assert verdict(whole, tmp_path) != ""
    assert accepts(SCHEMA, whole, SCHEMA)


def test_every_key_has_values_here() -> None:
    def keys(group: dict[str, Any], above: str) -> Iterator[str]:
        for key, value in group["properties"].items():
            name = next(iter(_references(value)), None)
            yield f"{above}{key}"
            if name is not None:
                yield from keys(SCHEMA["$defs"][name], f"{above}{key}.{'0.' if value.get('type') == 'array' else ''}")

    grouped = (
        "pinned.",
        "base.",
        "carrier.",
        "search.dataflow.",
        "watch.parameters.",
        "schedule.",
        "search.last_stage.",
    )  # given as wholes
    untried = [key for key in keys(SCHEMA, "") if key not in VALUES and not key.startswith(grouped)]
    assert [key for key in untried if not any(other.startswith(f"{key}.") for other in VALUES)] == []


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


@pytest.mark.parametrize("path", sorted((ROOT / "watchlists").glob("*.yml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_shipped_watchlists(path: Path) -> None:
    whole = json.loads(load_watchlist(path).model_dump_json())
    assert accepts(SCHEMA, whole, SCHEMA)


def test_the_shipped_json_schema_is_the_models_own() -> None:
    shipped = (ROOT / "watchlists" / "watchlist.schema.json").read_text("utf-8")
    assert shipped == watchlist_schema(), "run: shoal schema > watchlists/watchlist.schema.json"


def test_the_reference_of_all_keys_is_the_one_that_the_schema_makes() -> None:
    page = (ROOT / "docs" / "watchlist.md").read_text("utf-8")
    assert page == watchlist_reference(), "run: shoal schema --markdown > docs/watchlist.md"
    for key in ("`downloads_min`", "`num_fewshot`", "`max_degenerate`", "`cron`", "## `search.dataflow`"):
        assert key in page
