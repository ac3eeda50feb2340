import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter
from safetensors.numpy import save

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.discovery.listing import MAX_ANCESTORS
from bot.hub.pool.pool import NoPool, Pool
from bot.search.strategies.make import make_strategy
from bot.search.strategies.staged import StagedSearch
from fixtures.pools import find_pool
from fixtures.small_repos import CONFIG, DEEPER, files, special, tokenizer, watchlist, weights
from merging.errors import MergingError
from merging.tokenizers.comparison import digest_tokenizer, tokenizer_mismatch

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def client(hub):
    return Hub(hub.endpoint, hub.token, sleep=lambda _: None)


def add_models(hub, **others):
    """A base, two sources of it, and others by name."""
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/eel", files(2, base="reef/base", licence="mit"))
    for name, content in others.items():
        hub.store.commit(f"reef/{name}", content)


def reasons(pool_or_error):
    return {verdict.repo.removeprefix("reef/"): verdict.reason for verdict in pool_or_error.verdicts}


def test_models_of_one_base_become_a_pool_at_pinned_commits_and_only_headers_are_read(hub):
    add_models(hub)
    pool = find_pool(client(hub), watchlist(), NOW)
    assert [str(source.ref) for source in pool.sources] == [
        f"reef/{name}@{hub.store.head(f'reef/{name}')}" for name in ("cod", "eel")
    ]
    assert pool.base.repo == "reef/base"
    assert (pool.layers, pool.licence.id) == (2, "apache-2.0")
    assert pool.parameters == sum(tensor.size for tensor in weights(0).values())
    assert pool.weight_bytes == 3 * 4 * pool.parameters
    assert pool.model_bytes("bfloat16") == 2 * pool.parameters
    assert pool.download_bytes > pool.weight_bytes
    kept = TypeAdapter(Pool)
    assert kept.validate_json(kept.dump_json(pool)) == pool


def test_a_warning_of_a_file_that_is_not_fetched_is_told_with_the_acceptance(hub):
    add_models(hub)
    hub.store.set_security("reef/eel", scans_done=True, issues=[{"path": "optimizer.pt", "level": "unsafe"}])
    found = reasons(find_pool(client(hub), watchlist(), NOW))
    assert found["eel"].endswith(", mit; the Hub's security scan warns of optimizer.pt, which is not fetched")


def test_what_a_user_meets_of_a_config_that_counts_as_the_same_is_told_with_the_acceptance(hub):
    add_models(
        hub,
        far=files(3, config={**CONFIG, "max_position_embeddings": 32768, "eos_token_id": [5, 2]}, base="reef/base"),
        window=files(
            4,
            config={**CONFIG, "model_type": "mistral", "num_key_value_heads": 2, "sliding_window": None},
            base="reef/base",
        ),
        silent=files(
            5, config={**CONFIG, "use_cache": False, "pad_token_id": 3, "hidden_act": "swish"}, base="reef/base"
        ),
        brief=files(
            6,
            config={**CONFIG, "model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 64},
            base="reef/base",
        ),
    )
    found = reasons(find_pool(client(hub), watchlist(max_sources=5), NOW))
    says = "984 parameters, apache-2.0; its config says"
    assert found["far"].endswith(
        f"{says} max_position_embeddings 32768, not 2048, and eos_token_id [2, 5], not [2]: merges follow reef/cod"
    )
    assert f"{says} model_type 'mistral', not 'llama', and max_position" in found["window"]
    assert found["silent"].endswith("984 parameters, apache-2.0") and found["cod"].endswith(" apache-2.0")
    assert found["brief"].startswith("not of the family of reef/base: its config says sliding_window 64, not None")


def test_each_unfit_model_is_refused_with_its_own_reason(hub):
    add_models(
        hub,
        shapes=files(3, tensors=weights(3, layers=3), config=DEEPER, base="reef/base"),
        words=files(4, words=tokenizer(first="b"), base="reef/base"),
        rope=files(5, config={**CONFIG, "rope_theta": 5.0}, base="reef/base"),
        twin=files(1, base="reef/base"),
        garbled={**files(7, base="reef/base"), "config.json": b'{"architectures": ["LlamaForCausalLM"]'},
    )
    found = reasons(find_pool(client(hub), watchlist(), NOW))
    assert "it has 3 layers" in found["shapes"]
    assert "its tokenizer is not that of reef/base: another vocabulary" in found["words"]
    assert "its config says rope_parameters.rope_theta 5.0, not 1000.0" in found["rope"]
    assert found["twin"] == "it has the same weights as reef/cod"
    assert found["garbled"] == "its config names no architecture"
    assert found["cod"].startswith("of the family of reef/base")


def test_a_header_that_lies_about_its_length_is_refused_before_any_download(hub):
    broken = files(3, base="reef/base")
    broken["model.safetensors"] = (2**40).to_bytes(8, "little") + b"{}"
    add_models(hub, liar=broken)
    assert reasons(find_pool(client(hub), watchlist(), NOW))["liar"].startswith("the header of its model.safetensors")


def test_without_a_base_the_largest_group_that_agrees_is_the_family(hub):
    hub.store.commit("reef/big", files(1, tensors=weights(1, layers=3), config=DEEPER))
    hub.store.set_downloads("reef/big", 1000)
    for place, name in enumerate(("cod", "eel", "ray"), 2):
        hub.store.commit(f"reef/{name}", files(place))
    pool = find_pool(client(hub), watchlist(base=None, search={"method": "linear"}), NOW)
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/eel", "reef/ray"}
    assert reasons(pool)["big"].startswith("not of the family of reef/cod: it has 3 layers")


def test_an_ancestor_with_a_forbidding_licence_keeps_its_descendant_out(hub):
    add_models(hub)
    hub.store.commit("reef/mother", files(8, licence="cc-by-nc-nd-4.0", tags=("ancestor",)))
    hub.store.commit("reef/washed", files(9, base="[reef/mother, reef/base]"))
    found = reasons(find_pool(client(hub), watchlist(), NOW))
    assert found["washed"] == (
        "its ancestor reef/mother has the licence cc-by-nc-nd-4.0, which forbids publishing a merge"
    )


def test_an_unseen_ancestor_keeps_its_descendant_out_and_one_of_the_base_ends_the_search(hub):
    add_models(
        hub,
        orphan=files(3, base="reef/deleted"),
        local=files(4, base="../outputs/run 7"),
        shy=files(5, base="bob/hidden"),
    )
    hub.store.commit("bob/hidden", files(6, tags=("ancestor",)))
    hub.store.set_private("bob/hidden", True)
    found = reasons(find_pool(client(hub), watchlist(base={"repo": "reef/base"}), NOW))
    for name, ancestor in (("orphan", "reef/deleted"), ("local", "../outputs/run 7"), ("shy", "bob/hidden")):
        why = f"its declared base model {ancestor} cannot be seen on the Hub, so its licence is unknown"
        assert found[name] == why
    with pytest.raises(ShoalError, match=r"^base: got 'reef/orphan': its declared base model reef/deleted cannot be"):
        find_pool(client(hub), watchlist(base={"repo": "reef/orphan"}), NOW)


def test_an_ancestor_under_two_names_counts_once_and_a_models_own_old_name_is_not_one(hub):
    add_models(hub)
    hub.store.commit("reef/parent", files(8, licence="mit", tags=("ancestor",)))
    hub.store.commit("reef/sprat", files(9, base="[reef/parent, reef/mother, reef/sprat, reef/ray, reef/base]"))
    hub.store.move_repo("reef/parent", "reef/mother")
    hub.store.move_repo("reef/sprat", "reef/ray")
    pool = find_pool(client(hub), watchlist(base={"repo": "reef/base"}), NOW)
    assert [entry.repo for entry in dict(pool.lineage)["reef/ray"]] == ["reef/mother", "reef/base"]


def test_a_base_named_by_its_old_name_is_not_a_source_of_its_own_pool(hub):
    add_models(hub)
    hub.store.commit("reef/base", files(0, tags=("fish",)))
    hub.store.move_repo("reef/base", "reef/sea")
    pool = find_pool(client(hub), watchlist(base={"repo": "reef/base"}), NOW)
    assert pool.base.repo == "reef/sea"
    assert reasons(pool)["sea"] == "it is the base of the others"
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/eel"}


def test_ancestors_in_a_circle_are_followed_once_and_a_chain_without_end_is_not_trusted(hub):
    add_models(hub)
    hub.store.commit("reef/base", files(0, tags=("ancestor",), base="reef/cod"))
    for place in range(MAX_ANCESTORS):
        parent = f"reef/old-{place + 1}"
        hub.store.commit(f"reef/old-{place}", files(9, tags=("ancestor",), base=parent))
    hub.store.commit(f"reef/old-{MAX_ANCESTORS}", files(9, tags=("ancestor",)))
    hub.store.commit("reef/noble", files(3, base="reef/old-0"))
    pool = find_pool(client(hub), watchlist(base={"repo": "reef/base"}), NOW)
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/eel"}
    assert f"reef/old-{MAX_ANCESTORS} is beyond the {MAX_ANCESTORS} ancestors" in reasons(pool)["noble"]


def test_a_key_that_points_to_code_or_to_other_weights_is_refused_in_every_file_passed_on(hub):
    pointer = json.dumps({"auto_map": {"AutoTokenizer": ["evil/repo--t.T", None]}}).encode()
    add_models(
        hub,
        words=files(3, base="reef/base") | {"tokenizer_config.json": pointer},
        speech=files(4, base="reef/base") | {"generation_config.json": pointer},
        pipes=files(5, config={**CONFIG, "custom_pipelines": {"x": {}}}, base="reef/base"),
    )
    found = reasons(find_pool(client(hub), watchlist(), NOW))
    assert found["words"] == "it needs custom code (auto_map in its tokenizer_config.json)"
    assert found["speech"] == "it needs custom code (auto_map in its generation_config.json)"
    assert found["pipes"] == "it needs custom code (custom_pipelines in its config)"


def test_hostile_configs_and_tokenizers_are_refused_each_in_one_line(hub):
    panic = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    add_models(
        hub,
        endless=files(3, config={**CONFIG, "num_hidden_layers": 10**9}, base="reef/base"),
        broken=files(4, config={**CONFIG, "rms_norm_eps": "a\nb"}, base="reef/base"),
        alien=files(5, config={**CONFIG, "model_type": "fish"}, base="reef/base"),
        panic=files(6, words={**tokenizer(), "normalizer": panic}, base="reef/base"),
    )
    found = reasons(find_pool(client(hub), watchlist(), NOW))
    assert found["endless"] == "its config says num_hidden_layers 1000000000, its tensors have 2"
    assert found["broken"].startswith(
        "its config: transformers cannot read it (Validation error for field 'rms_norm_eps'"
    )
    assert found["alien"] == "its config: transformers knows no model_type 'fish'"
    assert found["panic"].startswith("its tokenizer.json cannot be read: not a tokenizer.json (")
    assert not any("\n" in reason for reason in found.values())


def test_a_licence_that_excludes_an_earlier_ones_gives_way_to_it(hub):
    add_models(
        hub,
        llama=files(3, licence="llama3.1", base="reef/base"),
        gem=files(4, licence="gemma", base="reef/base"),
    )
    hub.store.set_downloads("reef/llama", 10)
    pool = find_pool(client(hub), watchlist(), NOW)
    assert pool.licence.id == "llama3.1"
    assert reasons(pool)["gem"].startswith("licences that exclude each other: gemma (reef/gem), llama3.1")


def test_pinned_sources_stay_first_and_then_the_most_downloaded_if_there_are_too_many(hub):
    add_models(hub, ray=files(3, base="reef/base"), tuna=files(4, base="reef/base"))
    for name, downloads in (("eel", 50), ("ray", 40), ("cod", 30)):
        hub.store.set_downloads(f"reef/{name}", downloads)
    pool = find_pool(client(hub), watchlist(max_sources=2, pinned=({"repo": "reef/tuna"},)), NOW)
    assert [source.repo for source in pool.sources] == ["reef/tuna", "reef/eel"]
    assert reasons(pool)["ray"].startswith("beyond max_sources (2)")


def test_one_source_only_and_none_at_all_are_errors_of_one_line_with_the_reasons(hub):
    hub.store.commit("reef/base", files(0, tags=("ancestor",)))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/odd", files(2, licence=None, base="reef/base"))
    with pytest.raises(NoPool, match=r"^one source only \(reef/cod\).*reef/odd: it declares no licence") as one:
        find_pool(client(hub), watchlist(), NOW)
    assert set(reasons(one.value)) == {"cod", "odd"}
    nothing = watchlist(watch={"tags": ("whales",)}, search={"method": "linear"})
    with pytest.raises(NoPool, match=r"^no candidate left: nothing else was found; widen the watchlist$"):
        find_pool(client(hub), nothing, NOW)


def test_more_bands_than_layers_and_a_base_that_is_not_there_are_named_by_key(hub):
    add_models(hub)
    with pytest.raises(ShoalError, match=r"^search.groups.layers: got 3: the models have 2 layers"):
        find_pool(client(hub), watchlist(search={"groups": {"layers": 3}}), NOW)
    with pytest.raises(ShoalError, match=r"^base: reef/nobody: not on the Hub"):
        find_pool(client(hub), watchlist(base={"repo": "reef/nobody"}), NOW)


BOTH = {"method": "linear", "space": "both"}


def test_paths_are_planned_only_through_models_that_can_have_them(hub):
    add_models(hub)
    asked = watchlist(search={**BOTH, "dataflow": {"max_layers": 3}})
    pool = find_pool(client(hub), asked, NOW)
    strategy = make_strategy(asked, pool)
    assert isinstance(strategy, StagedSearch) and strategy.layout.tied is False
    assert strategy.most_layers == 3
    layer = sum(weight.nbytes for name, weight in weights(0).items() if ".layers.0." in name)
    model, deepest = pool.model_bytes("float32"), pool.model_bytes("float32") + layer
    assert strategy.largest_bytes(pool, "float32") == deepest
    # The deepest path shares its weights with the models that it runs through, but for those that carry a scale.
    scaled = 3 * weights(0)["model.layers.0.self_attn.o_proj.weight"].nbytes
    assert strategy.candidate_bytes(pool, "float32", "cpu") == model + scaled + 3 * model
    assert strategy.candidate_bytes(pool, "float32", "cuda") == model + scaled + 3 * model + 2 * model
    unscaled = make_strategy(watchlist(search={**BOTH, "dataflow": {"max_layers": 3, "scales": False}}), pool)
    assert unscaled.candidate_bytes(pool, "float32", "cpu") == model + 3 * model
    assert [name for name, _ in strategy.plain_recipes()] == ["linear mean", "halves stacked"]
    with pytest.raises(ShoalError, match=r"search\.dataflow: layers: got 3 to 3: a source, which has 2, must be among"):
        deeper = {"method": "linear", "space": "dataflow", "dataflow": {"min_layers": 3, "max_layers": 3}}
        make_strategy(watchlist(search=deeper), pool)
    odd = replace(pool.sources[0], settings={**pool.sources[0].settings, "model_type": "opt"})
    with pytest.raises(MergingError, match="model_type is 'opt': no way is known to fold a path's scales"):
        make_strategy(asked, replace(pool, sources=(odd, *pool.sources[1:])))


def test_sources_that_cannot_stay_mapped_are_held_by_each_worker_in_addition_to_its_candidates(hub):
    add_models(hub)
    asked = watchlist(search={"space": "dataflow", "dtype": "float32"}, max_sources=2)
    pool = find_pool(client(hub), asked, NOW)
    strategy = make_strategy(asked, pool)

    def held(dtype, device, found=pool):
        fixed = pool.model_bytes(dtype) + strategy.path_bytes(found, dtype)
        return (strategy.candidate_bytes(found, dtype, device) - fixed) / pool.model_bytes(dtype)

    assert held("float32", "cpu") == 0
    assert held("float32", "cuda") == held("bfloat16", "cpu") == 2
    halves = {name: replace(header, dtype="BF16") for name, header in pool.sources[0].headers.items()}
    mixed = replace(pool, sources=(replace(pool.sources[0], headers=halves), pool.sources[1]))
    assert held("bfloat16", "cpu", mixed) == held("float32", "cpu", mixed) == 1


def test_a_tied_head_counts_once_in_the_largest_merge(hub):
    for place, name in enumerate(("cod", "eel")):
        tensors = {key: value for key, value in weights(place).items() if key != "lm_head.weight"}
        hub.store.commit(f"reef/{name}", files(place, tensors=tensors, config={**CONFIG, "tie_word_embeddings": True}))
    asked = watchlist(base=None, search={"space": "dataflow", "dtype": "float32", "dataflow": {"max_layers": 6}})
    pool = find_pool(client(hub), asked, NOW)
    layer = sum(weight.nbytes for name, weight in weights(0).items() if ".layers.0." in name)
    assert make_strategy(asked, pool).largest_bytes(pool, "float32") == pool.model_bytes("float32") + 4 * layer


def test_a_list_of_kinds_for_another_number_of_layers_is_refused_by_its_name(hub):
    qwen = {**CONFIG, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
    for place, (name, kinds) in enumerate({"cod": 2, "eel": 2, "long": 3, "short": 1}.items()):
        config = {**qwen, "layer_types": ["full_attention"] * kinds}
        hub.store.commit(f"reef/{name}", files(place, config=config))
    pool = find_pool(client(hub), watchlist(base=None, search={"method": "linear"}), NOW)
    assert {source.repo for source in pool.sources} == {"reef/cod", "reef/eel"}
    assert reasons(pool)["long"] == "its config says layer_types for 3 layers, and has 2"
    assert reasons(pool)["short"] == "its config says layer_types for 1 layers, and has 2"


def test_sharded_weights_are_read_through_an_index_that_must_agree_with_them(hub):
    def sharded(lie=False, twice=False):
        tensors = weights(3)
        first = dict(list(tensors.items())[: 5 if twice else 4])
        rest = dict(list(tensors.items())[4:])
        names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
        places = {name: names[1] if name in rest and not lie else names[0] for name in tensors}
        content = files(3, base="reef/base")
        del content["model.safetensors"]
        index = {"metadata": {}, "weight_map": places}
        return content | {
            names[0]: save(first),
            names[1]: save(rest),
            "model.safetensors.index.json": json.dumps(index).encode(),
        }

    add_models(hub, whole=sharded(), liar=sharded(lie=True), overlay=sharded(twice=True))
    pool = find_pool(client(hub), watchlist(), NOW)
    assert "reef/whole" in {source.repo for source in pool.sources}
    assert "lists tensor" in reasons(pool)["liar"]
    assert "to model-00002-of-00002.safetensors, but it is in model-00001-of-00002" in reasons(pool)["overlay"]


def pairs(**changes):
    """A tokenizer.json with merges, its model and other parts changed."""
    data = tokenizer()
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "unk_token": None}
    return digest_tokenizer(json.dumps(data | {"model": model | changes.pop("model", {})} | changes).encode())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": {"vocab": {"b": 0, "a": 1, "ab": 2}}}, "another vocabulary"),
        ({"model": {"merges": []}}, "another merges"),
        ({"model": {"byte_fallback": True}}, "another model settings"),
        ({"normalizer": {"type": "Lowercase"}}, "another normalizer"),
        ({"pre_tokenizer": None}, "another pre_tokenizer"),
        ({"added_tokens": [special(3, "<stop>")]}, "token 3 is '<stop>', not '<end>'"),
        (
            {"added_tokens": [special(3, "<end>"), {**special(4, "word"), "special": False}]},
            "token 4 is 'word', not nothing",
        ),
    ],
)
def test_a_tokenizer_that_gives_other_ids_is_another_and_the_part_is_named(changes, expected):
    ours = pairs(added_tokens=[special(3, "<end>")])
    assert tokenizer_mismatch(ours, pairs(**{"added_tokens": [special(3, "<end>")], **changes})) == expected


def test_spellings_of_one_tokenizer_are_one_and_special_tokens_may_be_added_at_new_ids():
    ours = pairs(added_tokens=[special(3, "<end>")])
    more = [special(3, "<end>"), special(4, "<user>")]
    for theirs in (pairs(added_tokens=more), pairs(model={"merges": [["a", "b"]], "dropout": 0.1}, added_tokens=more)):
        assert tokenizer_mismatch(ours, theirs) is None
        assert tokenizer_mismatch(theirs, ours) is None
    assert tokenizer_mismatch(pairs(), pairs(truncation=None, post_processor=None, decoder={"type": "Fuse"})) is None
    with pytest.raises(MergingError, match=r"^not a tokenizer.json \("):
        digest_tokenizer(b"[]")
