"""Pools of adapters: what the Hub says of them, on which base each is, and what is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from bot.cycle import sources
from bot.hub.client import Hub
from bot.hub.discovery.query import query_model
from bot.hub.download import fetch_pool
from bot.hub.pool.pool import NoPool, Pool
from bot.hub.resolver import open_weights
from bot.ledger.ledger import Ledger
from conftest import TestHub
from fixtures.pools import find_pool
from fixtures.small_adapters import adapter_files, factors
from fixtures.small_repos import CONFIG, card, files, tokenizer, watchlist, weights

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def client(hub: TestHub) -> Hub:
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def stock(hub: TestHub, **others: Mapping[str, bytes]) -> None:
    """A base, a whole source and an adapter on the base, and others by name."""
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/lora", adapter_files(2))
    for name, content in others.items():
        hub.store.commit(f"reef/{name}", dict(content))


def pool_of(hub: TestHub, **changes: Any) -> Pool:
    return find_pool(client(hub), watchlist(**changes), NOW)


def reasons(pool: Pool | NoPool) -> dict[str, str]:
    return {verdict.repo.removeprefix("reef/"): verdict.reason for verdict in pool.verdicts}


def test_the_hub_lists_an_adapter_by_its_settings_tags_and_relation(hub: TestHub) -> None:
    stock(hub, undeclared=adapter_files(3, declared=None))
    declared = query_model(client(hub), "reef/lora")
    assert (declared.base_models, declared.inferred_relation) == (("reef/base",), "adapter")
    assert {"peft", "safetensors", "base_model:adapter:reef/base"} <= set(declared.tags)
    assert declared.is_adapter and declared.parameters is None
    # Its settings are shown even where its card names no base; so it has a vote for the common one.
    assert query_model(client(hub), "reef/undeclared").base_models == ("reef/base",)


def test_an_adapter_is_a_source_on_the_pool_s_base_which_is_fetched_and_counted_once(hub: TestHub) -> None:
    stock(hub, other=adapter_files(3))
    pool = pool_of(hub)
    base, heads = pool.base, {name: hub.store.head(f"reef/{name}") for name in ("base", "cod", "lora", "other")}
    assert base is not None and base.repo == "reef/base"
    assert {str(source.ref) for source in pool.sources} == {
        f"reef/cod@{heads['cod']}",
        f"reef/base@{heads['base']}+reef/lora@{heads['lora']}",
        f"reef/base@{heads['base']}+reef/other@{heads['other']}",
    }
    assert sorted(remote.repo for remote in pool.remotes) == ["reef/base", "reef/cod", "reef/lora", "reef/other"]
    assert pool.download_bytes == sum(remote.candidate.download_bytes for remote in pool.remotes)
    lora = next(source for source in pool.sources if source.repo == "reef/lora")
    assert lora.headers == base.headers and lora.parameters == base.parameters
    size = f"{base.parameters:,} parameters"
    assert reasons(pool)["lora"] == f"an adapter on reef/base, of the family of reef/base, {size}, apache-2.0"
    assert [entry.repo for entry in dict(pool.lineage)["reef/lora"]] == ["reef/base"]
    kept = TypeAdapter(Pool)
    assert kept.validate_json(kept.dump_json(pool)) == pool


def test_the_base_of_adapters_alone_is_found_by_what_their_settings_name(hub: TestHub) -> None:
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    for seed, name in enumerate(("one", "two"), 1):
        hub.store.commit(f"reef/{name}", adapter_files(seed, declared=None))
    pool = pool_of(hub)
    assert pool.base is not None and pool.base.repo == "reef/base"
    assert [source.repo for source in pool.sources] == ["reef/one", "reef/two"]
    assert [entry.repo for entry in dict(pool.lineage)["reef/one"]] == ["reef/base"]


def test_a_fine_tune_under_an_adapter_is_fetched_and_its_licences_count(hub: TestHub) -> None:
    tuned = files(4, base="reef/base", licence="mit", tags=("hidden",))
    stock(hub, tuned=tuned, above=adapter_files(5, "reef/tuned"))
    pool = pool_of(hub)
    above = next(source for source in pool.sources if source.repo == "reef/above")
    assert above.ref.plain.location == "reef/tuned"
    assert [entry.repo for entry in dict(pool.lineage)["reef/above"]] == ["reef/tuned", "reef/base"]
    assert "reef/tuned (mit)" in pool.licence.notices[0]
    assert "reef/tuned" in {remote.repo for remote in pool.remotes}

    hub.store.commit("reef/tuned", files(4, base="reef/base", licence="cc-by-nc-4.0", tags=("hidden",)))
    assert reasons(pool_of(hub))["above"] == (
        "its base reef/tuned: it has the licence cc-by-nc-4.0, and noncommercial is not set in the watchlist"
    )


def test_a_licence_that_is_stated_for_a_model_holds_for_what_descends_from_it(hub: TestHub) -> None:
    stock(hub, tuned=files(4, base="reef/base", licence=None), above=adapter_files(5, "reef/tuned"))
    hub.store.commit("reef/base", files(0, tags=("ancestor",), licence=None))
    pins = ({"repo": "reef/tuned", "licence": "mit"},)
    pool = pool_of(hub, base={"repo": "reef/base", "licence": "apache-2.0"}, pinned=pins)
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/lora", "reef/tuned", "reef/above"}
    assert "reef/tuned (mit, which its card does not say)" in pool.licence.notices[0]


def test_the_fetched_pool_has_a_folder_for_each_repo_and_for_each_source_s_config(hub: TestHub, tmp_path: Any) -> None:
    stock(hub)
    fetched = fetch_pool(client(hub), pool_of(hub), tmp_path)
    lora = next(source for source in fetched.pool.sources if source.repo == "reef/lora")
    assert (fetched.folders[lora.ref] / "config.json").is_file()
    read = open_weights(lora.ref, fetched.folders)
    name = "model.layers.0.self_attn.q_proj.weight"
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    parts = factors(2)
    expected = weights(0)[name] + 2 * parts[f"{module}.lora_B.weight"] @ parts[f"{module}.lora_A.weight"]
    assert abs(read.tensor(name).numpy() - expected).max() < 1e-5
    assert (read.tensor("lm_head.weight").numpy() == weights(0)["lm_head.weight"]).all()


def test_the_watchlist_says_whether_adapters_are_sources_and_pinned_ones_always_are(hub: TestHub) -> None:
    stock(hub, eel=files(6, base="reef/base"))
    watch = {"tags": ("fish",), "adapters": False}
    assert reasons(pool_of(hub, watch=watch))["lora"] == "it is an adapter, and watch.adapters is false"
    pool = pool_of(hub, watch=watch, pinned=("reef/lora",))
    assert pool.sources[0].repo == "reef/lora"


def test_the_kind_of_model_that_is_watched_for_is_asked_of_the_base(hub: TestHub) -> None:
    stock(hub, eel=files(6, base="reef/base"))
    size = sum(tensor.size for tensor in weights(0).values())
    for bounds in ({"min": size}, {"max": size}):
        pool = pool_of(hub, watch={"tags": ("fish",), "parameters": bounds})
        assert "reef/lora" in {source.repo for source in pool.sources}
    with pytest.raises(NoPool) as caught:
        pool_of(hub, watch={"tags": ("fish",), "parameters": {"min": size + 1}})
    assert reasons(caught.value)["lora"] == (
        f"its base reef/base: it has {size:,} parameters, fewer than watch.parameters.min ({size + 1:,})"
    )


def shapeless(key: str, value: Any) -> dict[str, bytes]:
    """An adapter whose settings have one other value."""
    return adapter_files(3, settings={key: value})


def short(**changed: Any) -> dict[str, bytes]:
    """An adapter of which one factor is changed: a name without `base_model…` → an array, or None to leave it out."""
    prefix = "base_model.model.model.layers.0.self_attn.q_proj."
    changes = {prefix + name.replace("__", "."): value for name, value in changed.items()}
    made = {**factors(3), **changes}
    return adapter_files(3, tensors={name: value for name, value in made.items() if value is not None})


BAD: dict[str, tuple[Mapping[str, bytes], str]] = {
    "gone": (adapter_files(3, "reef/nowhere"), "its base reef/nowhere cannot be seen on the Hub"),
    "local": (
        adapter_files(3, "/root/models/base", declared="reef/base"),
        "its adapter_config.json: base_model_name_or_path: got '/root/models/base': no repo of the Hub",
    ),
    "unnamed": (shapeless("base_model_name_or_path", None), "its adapter_config.json names no base "),
    "disagreeing": (
        adapter_files(3, "reef/base", declared="reef/cod"),
        "its settings name the base reef/base, its card reef/cod",
    ),
    "wide": (
        adapter_files(3, tensors=factors(3, hidden=16)),
        "on its base reef/base: module model.layers.0.self_attn.q_proj: its matrices make 16×16, "
        "the base's model.layers.0.self_attn.q_proj.weight is [8, 8]: this adapter is for another base",
    ),
    "rank": (shapeless("r", 4), "lora_A.weight is [2, 8], not of rank 4 as the config says"),
    "targets": (
        shapeless("target_modules", ["q_proj", "v_proj"]),
        "module model.layers.0.self_attn.v_proj has no LoRA weights, yet target_modules names it",
    ),
    "untargeted": (shapeless("target_modules", ["v_proj"]), "has LoRA weights, yet target_modules leaves it out"),
    "half": (short(lora_B__weight=None), "lacks lora_B.weight"),
    "prompts": (shapeless("peft_type", "PROMPT_TUNING"), "peft_type: got 'PROMPT_TUNING': only LORA can be merged"),
    "classifier": (
        shapeless("task_type", "SEQ_CLS"),
        "its adapter_config.json: task_type: got 'SEQ_CLS': only CAUSAL_LM adapters can be merged",
    ),
    "listed": (adapter_files(3) | {"adapter_config.json": b"[]"}, "cannot be read as a JSON object (it is a list)"),
    "pickled": (
        {name: content for name, content in adapter_files(3).items() if not name.endswith("safetensors")}
        | {"adapter_model.bin": b"x"},
        "its weights are pickled, without safetensors; write `watch.pickles: convert` to have them converted",
    ),
    "empty": (
        {name: content for name, content in adapter_files(3).items() if not name.endswith("safetensors")},
        "it has adapter_config.json without adapter_model.safetensors",
    ),
    "cut": (
        adapter_files(3) | {"adapter_model.safetensors": b"\xff" * 40},
        "the header of its adapter_model.safetensors cannot be read",
    ),
    "unlicensed": (adapter_files(3, licence=None), "it declares no licence"),
    "reworded": (
        adapter_files(3) | {"tokenizer.json": json.dumps(tokenizer(first="b")).encode()},
        "its tokenizer is not that of its base reef/base: another vocabulary",
    ),
    "stacked": (adapter_files(3, "reef/lora"), "its base reef/lora: it is an adapter, not a whole model"),
    "quantised": (adapter_files(3, "reef/small"), "its base reef/small: it is quantised (bitsandbytes)"),
    "elsewhere": (
        {
            "README.md": card().replace("---", "---\nbase_model: reef/base\nbase_model_relation: adapter", 1).encode(),
            "pytorch_lora_weights.safetensors": b"x",
        },
        "it is an adapter without adapter_config.json: only LoRA adapters that peft saved can be merged",
    ),
}


def test_each_adapter_that_cannot_be_merged_says_why_in_one_line(hub: TestHub) -> None:
    small = files(7, config={**CONFIG, "quantization_config": {"quant_method": "bitsandbytes"}}, tags=("hidden",))
    stock(hub, small=small, **{name: content for name, (content, _) in BAD.items()})
    found = reasons(pool_of(hub))
    for name, (_, reason) in BAD.items():
        assert reason in found[name] and "\n" not in found[name], name
    assert set(found) == {"cod", "lora", *BAD}


def test_an_adapter_made_for_one_commit_of_its_base_gets_that_commit_or_none(hub: TestHub) -> None:
    stock(hub, eel=files(6, base="reef/base"))
    old = hub.store.head("reef/base")
    hub.store.commit("reef/base", files(8, tags=("ancestor",)))
    hub.store.commit("reef/lora", adapter_files(2, settings={"revision": old}))
    assert reasons(pool_of(hub))["lora"] == (
        f"its settings name reef/base at {old[:12]}, which the pool has at {hub.store.head('reef/base')[:12]}: "
        "a pool has a repo at one commit"
    )
    pool = pool_of(hub, base={"repo": "reef/base", "revision": old})
    lora = next(source for source in pool.sources if source.repo == "reef/lora")
    assert lora.ref.plain.revision == old
    hub.store.commit("reef/lora", adapter_files(2, settings={"revision": "0" * 40}))
    assert reasons(pool_of(hub))["lora"].startswith("its base reef/base")


def test_an_adapter_that_changes_nothing_or_makes_weights_infinite_leaves_the_pool(hub: TestHub, tmp_path: Any) -> None:
    made = factors(3)
    for name in made:
        made[name] = made[name] * (0 if "lora_B" in name else 1)
    huge = {name: factor * np.float32(1e30) for name, factor in factors(4).items()}
    stock(hub, eel=files(6, base="reef/base"), idle=adapter_files(3, tensors=made), huge=adapter_files(4, tensors=huge))
    fetched = fetch_pool(client(hub), pool_of(hub, max_sources=5), tmp_path)
    assert {source.repo for source in fetched.pool.sources} == {"reef/cod", "reef/eel", "reef/lora"}
    found = {verdict.repo: verdict.reason for verdict in fetched.refused}
    on = f"damaged: on its base at {hub.store.head('reef/base')[:12]}: adapter_model.safetensors: "
    assert found["reef/idle"] == f"{on}it changes nothing: all that it adds to its base is zero"
    assert found["reef/huge"].startswith(f"{on}tensor model.layers.0.self_attn.q_proj")
    assert found["reef/huge"].endswith("becomes NaN or infinite with this adapter")
    assert len(list(tmp_path.glob("*/*.on.*"))) == 1


def test_an_adapter_that_was_refused_is_judged_anew_on_another_commit_of_its_base(hub: TestHub, tmp_path: Any) -> None:
    made = {name: factor * np.float32("lora_A" in name) for name, factor in factors(3).items()}
    stock(hub, eel=files(6, base="reef/base"), idle=adapter_files(3, tensors=made))
    fetched = fetch_pool(client(hub), pool_of(hub), tmp_path)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.record_pool(ledger.begin("fish", "digest", NOW).id, fetched.refused, ())

    def names() -> set[str]:
        return {source.repo for source in sources._without_known_damage(ledger, pool_of(hub)).sources}

    assert [verdict.repo for verdict in fetched.refused] == ["reef/idle"]
    assert names() == {"reef/cod", "reef/eel", "reef/lora"}
    hub.store.commit("reef/base", files(8, tags=("ancestor",)))
    assert names() == {"reef/cod", "reef/eel", "reef/lora", "reef/idle"}


def test_pools_kept_before_there_were_adapters_are_read(hub: TestHub) -> None:
    stock(hub, eel=files(6, base="reef/base"))
    pool = pool_of(hub, watch={"tags": ("fish",), "adapters": False})
    kept = TypeAdapter(Pool)
    old = json.loads(kept.dump_json(pool))
    for member in (*old["sources"], old["base"]):
        del member["adaptation"]
    assert kept.validate_json(json.dumps(old)) == pool
    assert replace(pool.sources[0], adaptation=None).ref == pool.sources[0].ref
