import json
from datetime import UTC, datetime

import pytest
from safetensors.numpy import save
from small_repos import CONFIG, files, tokenizer, weights

from bot.errors import ShoalError
from bot.hub import Hub
from bot.sources.inspection import tokenizer_digest
from bot.sources.pool import NoPool, find_pool
from bot.watchlist.model import Watchlist

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def wish(**changes):
    values = {
        "name": "fish",
        "watch": {"tags": ("fish",)},
        "skills": ({"name": "math", "tasks": ({"task": "t", "metric": "acc"},)},),
        "publish": {"mode": "off"},
    }
    return Watchlist.model_validate(values | changes)


def client(hub):
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def stock(hub, **others):
    """A base, two sources of it, and others by name."""
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/eel", files(2, base="reef/base", licence="mit"))
    for name, content in others.items():
        hub.store.commit(f"reef/{name}", content)


def reasons(pool_or_error):
    return {verdict.repo.removeprefix("reef/"): verdict.reason for verdict in pool_or_error.verdicts}


def test_models_of_one_base_become_a_pool_at_pinned_commits_and_only_headers_are_read(hub):
    stock(hub)
    pool = find_pool(client(hub), wish(), NOW)
    assert [str(source.ref) for source in pool.sources] == [
        f"reef/{name}@{hub.store.head(f'reef/{name}')}" for name in ("cod", "eel")
    ]
    assert pool.base.repo == "reef/base"
    assert (pool.layers, pool.licence.id) == (2, "apache-2.0")
    assert pool.parameters == sum(tensor.size for tensor in weights(0).values())
    assert pool.weight_bytes == 3 * 4 * pool.parameters
    assert pool.model_bytes("bfloat16") == 2 * pool.parameters
    assert pool.download_bytes > pool.weight_bytes


def test_each_unfit_model_is_refused_with_its_own_reason(hub):
    stock(
        hub,
        shapes=files(3, tensors=weights(3, layers=3), base="reef/base"),
        words=files(4, words=tokenizer(first="b"), base="reef/base"),
        rope=files(5, config={**CONFIG, "rope_theta": 5.0}, base="reef/base"),
        twin=files(1, base="reef/base"),
        moe=files(6, config={**CONFIG, "num_local_experts": 8}, base="reef/base"),
        garbled={**files(7, base="reef/base"), "config.json": b'{"architectures": ["LlamaForCausalLM"]'},
    )
    found = reasons(find_pool(client(hub), wish(), NOW))
    assert "it has 3 layers" in found["shapes"]
    assert "its tokenizer is not that of reef/base" in found["words"]
    assert "its config says rope_theta 5.0, not 1000.0" in found["rope"]
    assert found["twin"] == "it has the same weights as reef/cod"
    assert found["moe"] == "it is a mixture of experts"
    assert found["garbled"] == "its config names no architecture"
    assert found["cod"].startswith("of the family of reef/base")


def test_a_header_that_lies_about_its_length_is_refused_before_any_download(hub):
    broken = files(3, base="reef/base")
    broken["model.safetensors"] = (2**40).to_bytes(8, "little") + b"{}"
    stock(hub, liar=broken)
    assert reasons(find_pool(client(hub), wish(), NOW))["liar"].startswith("the header of its model.safetensors")


def test_without_a_base_the_largest_group_that_agrees_is_the_family(hub):
    hub.store.commit("reef/big", files(1, tensors=weights(1, layers=3)))
    hub.store.set_downloads("reef/big", 1000)
    for place, name in enumerate(("cod", "eel", "ray"), 2):
        hub.store.commit(f"reef/{name}", files(place))
    pool = find_pool(client(hub), wish(base=None, search={"method": "linear"}), NOW)
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/eel", "reef/ray"}
    assert reasons(pool)["big"].startswith("not of the family of reef/cod: it has 3 layers")


def test_an_ancestor_with_a_forbidding_licence_keeps_its_descendant_out(hub):
    stock(hub)
    hub.store.commit("reef/mother", files(8, licence="cc-by-nc-nd-4.0", tags=("ancestor",)))
    hub.store.commit("reef/washed", files(9, base="[reef/mother, reef/base]"))
    found = reasons(find_pool(client(hub), wish(), NOW))
    assert found["washed"] == (
        "its ancestor reef/mother has the licence cc-by-nc-nd-4.0, which forbids publishing a merge"
    )


def test_a_licence_that_excludes_an_earlier_ones_gives_way_to_it(hub):
    stock(
        hub,
        llama=files(3, licence="llama3.1", base="reef/base"),
        gem=files(4, licence="gemma", base="reef/base"),
    )
    hub.store.set_downloads("reef/llama", 10)
    pool = find_pool(client(hub), wish(), NOW)
    assert pool.licence.id == "llama3.1"
    assert reasons(pool)["gem"].startswith("licences that exclude each other: gemma (reef/gem), llama3.1")


def test_of_too_many_sources_pinned_ones_stay_first_and_then_the_most_downloaded(hub):
    stock(hub, ray=files(3, base="reef/base"), tuna=files(4, base="reef/base"))
    for name, downloads in (("eel", 50), ("ray", 40), ("cod", 30)):
        hub.store.set_downloads(f"reef/{name}", downloads)
    pool = find_pool(client(hub), wish(max_sources=2, pinned=({"repo": "reef/tuna"},)), NOW)
    assert [source.repo for source in pool.sources] == ["reef/tuna", "reef/eel"]
    assert reasons(pool)["ray"].startswith("beyond max_sources (2)")


def test_one_source_only_and_none_at_all_are_told_in_one_line_with_the_reasons(hub):
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/odd", files(2, licence=None, base="reef/base"))
    with pytest.raises(NoPool, match=r"^one source only \(reef/cod\).*reef/odd: it declares no licence") as one:
        find_pool(client(hub), wish(), NOW)
    assert set(reasons(one.value)) == {"cod", "odd"}
    nothing = wish(watch={"tags": ("whales",)}, search={"method": "linear"})
    with pytest.raises(NoPool, match=r"^no candidate left: nothing else was found; widen the watchlist$"):
        find_pool(client(hub), nothing, NOW)


def test_more_bands_than_layers_and_a_base_that_is_not_there_are_named_by_key(hub):
    stock(hub)
    with pytest.raises(ShoalError, match=r"^search.groups.layers: got 3: the models have 2 layers"):
        find_pool(client(hub), wish(search={"groups": {"layers": 3}}), NOW)
    with pytest.raises(ShoalError, match=r"^base: reef/nobody: not on the Hub"):
        find_pool(client(hub), wish(base={"repo": "reef/nobody"}), NOW)


def test_sharded_weights_are_read_through_an_index_that_must_tell_the_truth(hub):
    def sharded(lie=False):
        tensors = weights(3)
        first = dict(list(tensors.items())[:4])
        rest = dict(list(tensors.items())[4:])
        names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        places = {name: names[0] if name in first or lie else names[1] for name in tensors}
        content = files(3, base="reef/base")
        del content["model.safetensors"]
        index = {"metadata": {}, "weight_map": places}
        return content | {
            names[0]: save(first),
            names[1]: save(rest),
            "model.safetensors.index.json": json.dumps(index).encode(),
        }

    stock(hub, whole=sharded(), liar=sharded(lie=True))
    pool = find_pool(client(hub), wish(), NOW)
    assert "reef/whole" in {source.repo for source in pool.sources}
    assert "lists tensor" in reasons(pool)["liar"]


def test_spellings_of_one_tokenizer_are_one_and_another_vocabulary_is_another():
    def digest(**changes):
        data = tokenizer()
        data["model"] |= {"merges": ["a b", "c d"]}
        return tokenizer_digest(json.dumps(data | changes).encode())

    pairs = {**tokenizer()["model"], "merges": [["a", "b"], ["c", "d"]]}
    special = [{"id": 3, "content": "<end>", "special": True}]
    assert digest() == digest(model=pairs) == digest(padding={"strategy": "x"}, added_tokens=special)
    assert digest() != digest(model={**pairs, "merges": [["a", "b"]]})
    assert digest() != digest(added_tokens=[{"id": 12, "content": "word", "special": False}])
    with pytest.raises(ValueError, match="no model"):
        tokenizer_digest(b"[]")
