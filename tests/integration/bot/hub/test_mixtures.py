"""Pools of mixtures of experts: fine-tunes of one mixture are one family, and what is not says why in one line."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bot.hub.client import Hub
from bot.hub.download import fetch_pool
from bot.hub.pool.pool import Pool
from conftest import TestHub
from fixtures.mixtures import fine_tune, mixture_kinds, reorder_experts, replace_routers, repo_files
from fixtures.pools import find_pool
from fixtures.small_repos import watchlist
from fixtures.tiny_models import tiny_model

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def stock(hub: TestHub, kind: str, **others: dict[str, bytes]) -> None:
    """A base, two fine-tunes of it, and others by name."""
    hub.store.commit("reef/base", repo_files(fine_tune(kind, 0), tags=("ancestor",)))
    for seed, name in enumerate(("cod", "eel"), 1):
        hub.store.commit(f"reef/{name}", repo_files(fine_tune(kind, seed), base="reef/base"))
    for name, files in others.items():
        hub.store.commit(f"reef/{name}", files)


def pool_of(hub: TestHub) -> Pool:
    return find_pool(Hub(hub.endpoint, hub.token, sleep=lambda _: None), watchlist(), NOW)


def reasons(pool: Pool) -> dict[str, str]:
    return {verdict.repo.removeprefix("reef/"): verdict.reason for verdict in pool.verdicts}


def unlike(seed: int, kind: str = "mixtral", **settings: Any) -> dict[str, bytes]:
    """A repo of the same family with other settings."""
    return repo_files(tiny_model(kind, seed=seed, kinds=mixture_kinds(kind, **settings)), base="reef/base")


@pytest.mark.parametrize("kind", ["mixtral", "qwen2-moe", "granite-moe", "gpt-oss", "jamba"])
def test_fine_tunes_of_one_mixture_are_a_pool(kind: str, hub: TestHub) -> None:
    stock(hub, kind)
    pool = pool_of(hub)
    assert [source.repo for source in pool.sources] == ["reef/cod", "reef/eel"]
    weights = fine_tune(kind, 1).num_parameters()
    assert pool.parameters == weights
    size = f"{weights:,} parameters in a mixture of experts (4 experts, 2 active)"
    assert reasons(pool)["cod"] == f"of the family of reef/base, {size}, apache-2.0"


def test_each_model_that_does_not_fit_a_mixture_says_why_in_one_line(hub: TestHub) -> None:
    quantised = {"quantization_config": {"quant_method": "mxfp4"}}
    stock(
        hub,
        "mixtral",
        dense=unlike(3, "mistral"),
        more=unlike(4, num_local_experts=8),
        fewer=unlike(5, num_experts_per_tok=1),
        packed=repo_files(fine_tune("mixtral", 6), quantised, base="reef/base"),
        other=unlike(7, "phi-moe"),
    )
    found = reasons(pool_of(hub))
    family = "not of the family of reef/base:"
    assert found["dense"] == f"{family} it is dense, and reef/base has 4 experts, 2 active"
    assert found["more"] == f"{family} it has 8 experts, 2 active, and reef/base has 4 experts, 2 active"
    assert found["fewer"] == f"{family} it has 4 experts, 1 active, and reef/base has 4 experts, 2 active"
    assert found["packed"] == "it is quantised (mxfp4)"
    assert found["other"].startswith(f"{family} it has tensor ") and found["other"].endswith(" more too many")
    assert all("\n" not in reason for reason in found.values())


def test_a_mixture_does_not_fit_a_dense_pool(hub: TestHub) -> None:
    stock(hub, "mistral", mixture=unlike(3))
    assert reasons(pool_of(hub))["mixture"] == (
        "not of the family of reef/base: it has 4 experts, 2 active, and reef/base is dense"
    )


@pytest.mark.parametrize("base", ["reef/base", None])
def test_experts_in_another_order_or_of_another_origin_are_told_from_the_routers(
    base: str | None, hub: TestHub, tmp_path: Path
) -> None:
    stock(
        hub,
        "mixtral",
        mixed=repo_files(reorder_experts(fine_tune("mixtral", 3), (2, 0, 3, 1)), base="reef/base"),
        upcycled=repo_files(replace_routers(fine_tune("mixtral", 1), 5), base="reef/base"),
    )
    client = Hub(hub.endpoint, hub.token, sleep=lambda _: None)
    search = {"method": "linear"} if base is None else {}
    found = find_pool(client, watchlist(base=base and {"repo": base}, search=search, max_sources=4), NOW)
    assert len(found.sources) == 4
    fetched = fetch_pool(client, found, tmp_path / "sources")
    assert [source.repo for source in fetched.pool.sources] == ["reef/cod", "reef/eel"]
    family = f"not of the family of {base or 'reef/cod'}:"
    told = reasons(fetched.pool)
    assert told["mixed"] == f"{family} its experts are in another order: in layer 0, its expert 0 is expert 2 there"
    assert told["upcycled"].startswith(f"{family} its experts are ")
    assert {verdict.repo for verdict in fetched.refused} == {"reef/mixed", "reef/upcycled"}
    assert fetch_pool(client, found, tmp_path / "sources").pool == fetched.pool
