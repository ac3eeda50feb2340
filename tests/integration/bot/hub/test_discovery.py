import json
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
import pytest

from bot.errors import ShoalError
from bot.hub.answers.failures import HubUnavailable
from bot.hub.client import Hub
from bot.hub.discovery.listing import (
    EXPAND,
    discover_candidates,
    find_base,
    most_declared_base,
    query_declared,
)
from bot.hub.discovery.query import query_model
from bot.hub.inspection.member import Unfit
from bot.hub.inspection.reading import inspect_candidate
from fixtures.small_repos import CONFIG, card, files, watchlist, weights
from localhub import Fault


def watching(**watch):
    return watchlist(watch={"tags": ("fish",)} | watch)


@pytest.fixture
def find(hub):
    """Discover now; gives the names found, and the reasons of the others."""

    def run(asked=None, now=None):
        bot = Hub(hub.endpoint, hub.token, sleep=lambda _: None)
        found = discover_candidates(bot, asked or watchlist(), now or datetime.now(UTC))
        names = [candidate.repo for candidate in found.candidates]
        return names, {verdict.repo: verdict.reason for verdict in found.refused}

    return run


def without_weights(seed=1, **more):
    content = files(seed)
    del content["model.safetensors"]
    return content | more


DECOYS = {
    "own": (files(1, tags=("fish", "shoal-merge")), "it is a merge made by shoal (tag shoal-merge)"),
    "pickle": (
        without_weights(**{"pytorch_model.bin": b"x"}),
        "its weights are pickled, without safetensors; write `watch.pickles: convert` to have them converted",
    ),
    "adapter": (
        without_weights(**{"adapter_config.json": b"{}", "adapter_model.bin": b"x"}),
        "its weights are pickled, without safetensors; write `watch.pickles: convert` to have them converted",
    ),
    "code": (files(1) | {"modeling_fish.py": b"print()"}, "it needs custom code (modeling_fish.py)"),
    "mapped": (
        files(1, config={**CONFIG, "auto_map": {"AutoModel": "m.Fish"}}),
        "it needs custom code (auto_map in its config)",
    ),
    "quantised": (
        files(1, config={**CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4}}),
        "it is quantised (gptq)",
    ),
    "seeing": (
        files(1, config={**CONFIG, "architectures": ["FishForImageClassification"]}),
        "its architecture FishForImageClassification is not a causal language model",
    ),
    "unlicensed": (files(1, licence=None), "it declares no licence; a pinned model's key licence can state it"),
    "strange": (
        files(1, licence="other"),
        "it declares the licence 'other', for which shoal has no rule",
    ),
    "nc": (
        files(1, licence="cc-by-nc-4.0"),
        "it has the licence cc-by-nc-4.0, and noncommercial is not set in the watchlist",
    ),
}


def test_every_kind_of_unfit_model_is_refused_with_one_reason_from_the_list_alone(hub, find):
    hub.store.commit("reef/good", files(0))
    for name, (content, _) in DECOYS.items():
        hub.store.commit(f"reef/{name}", content)
    hub.store.commit("reef/gated", files(2))
    hub.store.set_gated("reef/gated", "manual")
    names, reasons = find()
    assert names == ["reef/good"]
    assert reasons == {f"reef/{name}": reason for name, (_, reason) in DECOYS.items()} | {
        "reef/gated": "it is gated: its owner asks for an agreement first"
    }
    pages = [path for _, path in hub.faults.seen if path.startswith("/api/models/")]
    assert len(pages) == 1, "only what passes the list is looked at closely"


BESIDE = {
    "onnx": {"onnx/model.onnx": b"x", "onnx/model_q4f16.onnx": b"x"},
    "gguf": {"cod-Q4_K_M.gguf": b"x"},
    "script": {"train.py": b"print()", "eval/run.py": b"print()"},
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_files_beside_whole_weights_refuse_nothing(hub, find, beside):
    hub.store.commit("reef/cod", files(1, base="reef/base") | beside)
    assert find() == (["reef/cod"], {})


def test_the_hub_calls_a_repo_quantised_for_a_copy_beside_its_weights(hub):
    hub.store.commit("reef/cod", files(1, base="reef/base") | BESIDE["onnx"])
    cod = query_model(Hub(hub.endpoint, hub.token), "reef/cod")
    assert {"onnx", "safetensors", "base_model:reef/base", "base_model:quantized:reef/base"} <= set(cod.tags)
    assert (cod.relation, cod.inferred_relation, cod.has_whole_weights) == (None, "quantized", True)


def quantised_by_word():
    declared = card(base="reef/base").replace("base_model:", "base_model_relation: quantized\nbase_model:")
    return files(1) | {"README.md": declared.encode()}


def packed():
    import numpy as np

    return files(1, base="reef/base", tensors=weights(1) | {"model.packed": np.zeros((2, 2), np.int32)})


@pytest.mark.parametrize(
    "content, reason",
    [
        (quantised_by_word(), "it is quantised (as its card says)"),
        (files(1, tags=("fish", "awq")), "it is quantised (awq)"),
        (packed() | BESIDE["gguf"], "it is quantised (gguf)"),
        (packed() | BESIDE["onnx"], "it is quantised (as the Hub lists it)"),
        (without_weights() | BESIDE["gguf"], "it is quantised (gguf)"),
    ],
)
def test_what_is_quantised_by_its_own_word_or_has_no_whole_weights_is_refused(hub, find, content, reason):
    hub.store.commit("reef/cod", content)
    assert find() == ([], {"reef/cod": reason})


def test_only_a_warning_of_a_file_that_is_fetched_refuses(hub, find):
    for name, path in {"cod": "training_args.bin", "eel": "model.safetensors"}.items():
        hub.store.commit(f"reef/{name}", files(1) | {"training_args.bin": b"x"})
        hub.store.set_security(f"reef/{name}", scans_done=True, issues=[{"path": path, "level": "unsafe"}])
    assert find() == (["reef/cod"], {"reef/eel": "the Hub's security scan warns of model.safetensors"})


ODD_ROWS = [
    {"safetensors": {"total": 5}},
    {"safetensors": 7},
    {"lastModified": "yesterday"},
    {"siblings": [{"size": 3}]},
    {"tags": 5},
]


@pytest.mark.parametrize("odd", ODD_ROWS, ids=str)
def test_a_row_that_cannot_be_read_is_one_refused_candidate(hub, find, odd):
    for seed, name in enumerate(("cod", "eel")):
        hub.store.commit(f"reef/{name}", files(seed))
    rows = httpx.get(f"{hub.endpoint}/api/models", params={"expand": list(EXPAND)}).json()
    rows[0] |= odd
    hub.faults.add(Fault("GET", "/api/models", status=200, body=json.dumps(rows).encode()))
    names, reasons = find()
    assert names == [rows[1]["id"]]
    assert reasons[rows[0]["id"]].startswith("the Hub describes it in a form that cannot be read (")


def test_a_model_that_cannot_be_read_is_refused_where_it_is_pinned_and_stops_a_base(hub, find):
    hub.store.commit("reef/cod", files(1))
    odd = {"id": "reef/odd", "sha": "0" * 40, "safetensors": {"total": 5}}
    for _ in range(2):
        hub.faults.add(Fault("GET", "/api/models/reef/odd*", status=200, body=json.dumps(odd).encode()))
    names, reasons = find(watchlist(pinned=({"repo": "reef/odd"},)))
    assert names == ["reef/cod"]
    assert reasons["reef/odd"].startswith("pinned, but the Hub answers in a form that cannot be read (KeyError")
    bot = Hub(hub.endpoint, hub.token)
    with pytest.raises(ShoalError, match=r"^base: reef/odd: the Hub answers in a form"):
        find_base(bot, watchlist(base={"repo": "reef/odd"}), [], partial(query_declared, bot), datetime.now(UTC))


@pytest.mark.parametrize(
    "listed, reason",
    [
        ("[apache-2.0, mit]", None),
        ("[apache-2.0, made-up]", "it declares the licence 'made-up', for which shoal has no rule"),
        ("[mit, cc-by-nd-4.0]", "it has the licence cc-by-nd-4.0, which forbids publishing a merge"),
    ],
)
def test_every_licence_of_a_list_has_to_allow_the_merge(hub, find, listed, reason):
    hub.store.commit("reef/cod", files(1, licence=listed))
    assert find() == (([], {"reef/cod": reason}) if reason else (["reef/cod"], {}))
    names, reasons = find(watching(licences=("apache-2.0",)))
    assert names == []
    assert reason or reasons["reef/cod"] == "its licence 'mit' is not in watch.licences"


def test_the_watchlists_filters_refuse_with_the_key_that_does_it(hub, find):
    hub.store.commit("reef/good", files(0))
    hub.store.set_downloads("reef/good", 500)
    hub.store.commit("reef/quiet", files(1))
    hub.store.commit("bob/good", files(2))
    hub.store.set_downloads("bob/good", 500)
    names, reasons = find(watching(downloads_min=100, authors={"deny": ("bob",)}))
    assert names == ["reef/good"]
    assert reasons["reef/quiet"] == "it has 0 downloads, fewer than watch.downloads_min (100)"
    assert reasons["bob/good"] == "its author bob is in watch.authors.deny"
    later = datetime.now(UTC) + timedelta(days=31)
    for asked, key in (
        (watching(parameters={"min": "1M"}), "watch.parameters.min"),
        (watching(parameters={"max": 10}), "watch.parameters.max"),
        (watching(max_bytes=100), "watch.max_bytes"),
        (watching(max_age_days=30), "watch.max_age_days"),
        (watching(licences=("mit",)), "watch.licences"),
        (watching(architectures=("GemmaForCausalLM",)), "watch.architectures"),
    ):
        names, reasons = find(asked, now=later)
        assert names == []
        assert key in reasons["reef/good"]


def test_allowed_authors_are_listed_one_by_one_and_others_never_seen(hub, find):
    for repo in ("reef/cod", "ada/cod", "bob/cod"):
        hub.store.commit(repo, files(1))
    names, reasons = find(watching(authors={"allow": ("reef", "ada")}))
    assert sorted(names) == ["ada/cod", "reef/cod"]
    assert reasons == {}


def test_only_the_most_downloaded_are_looked_at_and_pinned_ones_always(hub, find):
    for place, name in enumerate(("cod", "eel", "ray")):
        hub.store.commit(f"reef/{name}", files(place))
        hub.store.set_downloads(f"reef/{name}", 10 * place)
    hub.store.commit("reef/far", files(9, tags=("other",)))
    names, reasons = find(watchlist(watch={"tags": ("fish",), "max_candidates": 2}, pinned=({"repo": "reef/far"},)))
    assert names == ["reef/far", "reef/ray"]
    assert reasons["reef/cod"] == "beyond watch.max_candidates (2), by downloads"


def test_a_pinned_revision_is_taken_at_its_commit_and_a_lost_one_refused(hub):
    old = hub.store.commit("reef/cod", files(1))
    hub.store.commit("reef/cod", files(2))
    bot = Hub(hub.endpoint, hub.token)
    pins = ({"repo": "reef/cod", "revision": old}, {"repo": "reef/gone"})
    found = discover_candidates(bot, watchlist(watch={"tags": ()}, pinned=pins), datetime.now(UTC))
    assert [(one.repo, one.sha) for one in found.candidates] == [("reef/cod", old)]
    (lost,) = found.refused
    assert lost.reason.startswith("pinned, but not on the Hub")
    assert query_model(bot, "reef/cod").sha != old


def test_a_pin_that_is_refused_is_not_taken_from_a_list_instead(hub, find):
    for number, name in enumerate(("cod", "eel", "sprat")):
        hub.store.commit(f"reef/{name}", files(number))
    hub.store.move_repo("reef/sprat", "reef/ray")
    pins = ("reef/cod@gone", {"repo": "reef/eel", "licence": "mit"}, "reef/sprat@gone")
    names, reasons = find(watchlist(pinned=pins))
    assert names == []
    assert reasons["reef/eel"] == "its card declares the licence 'apache-2.0', not mit; remove pinned[1].licence"
    lost = "pinned, but the Hub has no such revision; check its name"
    assert reasons["reef/cod"] == reasons["reef/sprat"] == lost and len(reasons) == 3


def test_a_licence_is_stated_for_a_pinned_model_whose_card_declares_none(hub):
    named = "other\nlicense_name: fish-licence"
    cards = {"silent": None, "vague": "other", "plain": "mit", "same": "apache-2.0", "named": named}
    for name, licence in cards.items():
        hub.store.commit(f"reef/{name}", files(1, licence=licence))
    pins = tuple({"repo": f"reef/{name}", "licence": "apache-2.0"} for name in cards)
    found = discover_candidates(
        Hub(hub.endpoint, hub.token), watchlist(watch={"tags": ()}, pinned=pins), datetime.now(UTC)
    )
    assert [(one.repo, one.licence, one.stated) for one in found.candidates] == [
        ("reef/silent", "apache-2.0", True),
        ("reef/vague", "apache-2.0", True),
        ("reef/same", "apache-2.0", False),
        ("reef/named", "apache-2.0", True),
    ]
    (refused,) = found.refused
    assert refused.reason == "its card declares the licence 'mit', not apache-2.0; remove pinned[2].licence"


def test_one_model_pinned_under_its_old_and_its_new_name_is_one_candidate(hub):
    old = hub.store.commit("reef/sprat", files(1))
    hub.store.commit("reef/sprat", files(2))
    hub.store.move_repo("reef/sprat", "reef/cod")
    pins = ({"repo": "reef/sprat", "revision": old}, {"repo": "reef/cod", "revision": "main"})
    found = discover_candidates(Hub(hub.endpoint, hub.token), watchlist(pinned=pins), datetime.now(UTC))
    assert [(one.repo, one.sha) for one in found.candidates] == [("reef/cod", old)]
    (refused,) = found.refused
    assert (refused.repo, refused.sha) == ("reef/sprat", hub.store.head("reef/cod"))
    assert refused.reason == "it is reef/cod, which is pinned twice; the first of the two entries counts"


def test_one_repo_pinned_by_a_commit_and_by_its_branch_is_one_candidate(hub):
    head = hub.store.commit("reef/cod", files(1))
    pins = ({"repo": "reef/cod", "revision": "main"}, {"repo": "reef/cod", "revision": head})
    found = discover_candidates(Hub(hub.endpoint, hub.token), watchlist(pinned=pins), datetime.now(UTC))
    assert [(one.repo, one.sha, one.pinned) for one in found.candidates] == [("reef/cod", head, 0)]
    assert found.refused == ()


def test_a_renamed_author_who_is_allowed_twice_is_listed_once(hub, find):
    hub.store.commit("reef/cod", files(1))
    assert find(watching(authors={"allow": ("reef", "reef")}))[0] == ["reef/cod"]


def test_votes_for_the_old_and_the_new_name_of_a_base_are_votes_for_one_base(hub):
    hub.store.commit("reef/ancestor", files(0, tags=("other",)))
    hub.store.commit("reef/rival", files(8, tags=("other",)))
    for name, base in (("cod", "reef/ancestor"), ("eel", "reef/base"), ("ray", "reef/rival"), ("tuna", "reef/rival")):
        hub.store.commit(f"reef/{name}", files(1, base=base))
    hub.store.commit("reef/orc", files(2, base="[reef/ancestor, reef/base]"))
    hub.store.move_repo("reef/ancestor", "reef/base")
    bot = Hub(hub.endpoint, hub.token)
    candidates = discover_candidates(bot, watchlist(), datetime.now(UTC)).candidates
    assert most_declared_base(candidates, partial(query_declared, bot)) == "reef/base"
    without_orc = [one for one in candidates if one.repo != "reef/orc"]
    assert most_declared_base(without_orc, partial(query_declared, bot)) == "reef/base", "two votes each: by name"


def test_a_gated_model_is_taken_where_a_person_pinned_it_and_the_token_has_access(hub):
    hub.store.commit("ada/cod", files(1))
    hub.store.set_gated("ada/cod", "manual")
    pins = ({"repo": "ada/cod"},)
    bot = Hub(hub.endpoint, hub.token)
    (candidate,) = discover_candidates(bot, watchlist(watch={"tags": ()}, pinned=pins), datetime.now(UTC)).candidates
    assert inspect_candidate(bot, candidate).parameters > 0
    stranger = Hub(hub.endpoint, hub.other_token)
    with pytest.raises(Unfit, match="gated; accept its terms on the Hub"):
        inspect_candidate(stranger, candidate)


def test_a_private_source_is_not_given_away_in_a_public_merge(hub, find):
    hub.store.commit("ada/secret", files(1))
    hub.store.set_private("ada/secret", True)
    names, reasons = find()
    assert names == []
    assert reasons["ada/secret"].startswith("it is private")
    assert find(watchlist(publish={"mode": "off", "private": True}))[0] == ["ada/secret"]


def test_a_busy_list_is_asked_again_and_a_hub_that_is_down_said_to_be(hub, find, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.store.commit("reef/cod", files(1))
    fault = hub.faults.busy("/api/models", times=2)
    assert find()[0] == ["reef/cod"]
    assert fault.struck == 2
    hub.faults.unavailable("/api/models", times=10**6)
    with pytest.raises(HubUnavailable, match="the Hub answers 503; try again later"):
        find()


def test_the_base_is_what_most_candidates_declare_and_must_be_fit_itself(hub):
    hub.store.commit("reef/base", files(0, tags=("other",)))
    hub.store.commit("reef/worse", without_weights(**{"pytorch_model.bin": b"x"}))
    hub.store.commit("reef/cod", files(1, base="reef/base"))
    hub.store.commit("reef/eel", files(2, base="reef/base"))
    hub.store.commit("reef/ray", files(3, base="reef/worse"))
    bot = Hub(hub.endpoint, hub.token)
    now = datetime.now(UTC)
    candidates = discover_candidates(bot, watchlist(), now).candidates
    look_up = partial(query_declared, bot)
    assert most_declared_base(candidates, look_up) == "reef/base"
    assert find_base(bot, watchlist(), candidates, look_up, now).sha == hub.store.head("reef/base")
    assert find_base(bot, watchlist(base=None, search={"method": "linear"}), candidates, look_up, now) is None
    with pytest.raises(ShoalError, match=r"^base: got 'reef/worse': its weights are pickled"):
        find_base(bot, watchlist(base={"repo": "reef/worse"}), candidates, look_up, now)


def test_a_licence_file_or_a_config_of_many_megabytes_is_refused_before_any_of_it_is_read(hub, find):
    for name in ("LICENSE.md", "config.json", "chat_template.jinja"):
        hub.store.commit(f"reef/{name.lower()}", files(1) | {name: json.dumps(CONFIG).encode() + b" " * 2**20})
    names, reasons = find()
    assert names == []
    assert reasons["reef/license.md"].startswith("its LICENSE.md is 1,048,")
    assert all("more than the 1,048,576 that are fetched" in reason for reason in reasons.values())


def test_a_hostile_card_is_only_text(hub):
    evil = files(1)
    front = {"tags": ["fish"], "license": ["mit", {"a": 1}], "base_model": ["../../etc", 7, "a b/c"]}
    front["language"] = ["en", "English", "yue", False, "e\nn", "code", "zh-Hant"]
    evil["README.md"] = f"---\n{json.dumps(front | {'pipeline_tag': 'text-generation'})}\n---\n".encode()
    hub.store.commit("reef/evil", evil)
    bot = Hub(hub.endpoint, hub.token)
    found = discover_candidates(bot, watchlist(), datetime.now(UTC))
    assert [one.licence for one in found.candidates] == ["mit"]
    assert found.candidates[0].languages == ("en", "yue", "code")
    assert most_declared_base(found.candidates, partial(query_declared, bot)) is None
