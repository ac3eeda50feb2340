"""Pools of models whose vocabularies differ: what is united, what is refused, and what is said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.pool.pool import NoPool, Pool
from bot.hub.pool.vocabulary import describe_vocabulary
from fixtures.pools import find_pool
from fixtures.small_repos import card, watchlist
from fixtures.vocabularies import read_tokens, revised
from zoo.repo import BASE, LANGUAGE, MATH, MODELS

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NOTE = "<|note|>"
OWN = read_tokens(MODELS[MATH])


def find(hub: Any, chosen: str, repos: Mapping[str, dict[str, bytes]], **keys: Any) -> Pool:
    """The pool of a base of the zoo and of these repos."""
    for name, content in {"reef/base": revised(BASE), **repos}.items():
        tags = ("ancestor",) if name == "reef/base" else ("fish",)
        hub.store.commit(name, content | {"README.md": card(base="reef/base", tags=tags).encode()})
    search = {"vocabulary": chosen, "method": "task_arithmetic", "dtype": "float32"}
    asked = watchlist(**{"base": {"repo": "reef/base"}, "search": search} | keys)
    return find_pool(Hub(hub.endpoint, hub.token, sleep=lambda _: None), asked, NOW)


def reasons(error: NoPool) -> dict[str, str]:
    return {verdict.repo.removeprefix("reef/"): verdict.reason for verdict in error.verdicts if not verdict.accepted}


def test_padded_rows_keep_nobody_out_and_are_left_out_of_the_merge(hub: Any) -> None:
    pool = find(hub, "same", {"reef/cod": revised(MATH, padding=7), "reef/eel": revised(LANGUAGE)})
    assert pool.vocabulary is not None
    assert [model.location for model in pool.vocabulary.deciding] == ["reef/cod"]
    assert (pool.vocabulary.tokens, pool.vocabulary.rows, pool.vocabulary.parted) == (65, 65, ())
    assert describe_vocabulary(pool.vocabulary) == (
        "the merges have 65 rows in their embeddings: those that only pad a source's are left out"
    )
    assert pool.merged_headers["lm_head.weight"].shape == (65, 80)
    assert pool.parameters == pool.sources[1].parameters < pool.sources[0].parameters


def test_where_all_models_agree_any_choice_is_the_same(hub: Any) -> None:
    for chosen in ("same", "union", "base", "reef/cod"):
        assert find(hub, chosen, {"reef/cod": revised(MATH), "reef/eel": revised(LANGUAGE)}).vocabulary is None


def test_added_tokens_are_refused_with_the_key_that_unites_them(hub: Any) -> None:
    added = revised(MATH, special=[NOTE])
    with pytest.raises(NoPool) as error:
        find(hub, "same", {"reef/cod": added, "reef/eel": revised(LANGUAGE), "reef/ray": revised(MATH, words=["sea"])})
    found = reasons(error.value)
    assert found["cod"] == (
        "not of the family of reef/base: its embeddings have 66 rows, those of reef/base 65; "
        "write search.vocabulary: union to unite them"
    )
    assert found["ray"].endswith(
        "its tokenizer is not that of reef/base: another vocabulary; write search.vocabulary: union to unite them"
    )


def test_one_vocabulary_is_chosen_for_all_merges(hub: Any) -> None:
    repos = {"reef/cod": revised(MATH, special=[NOTE]), "reef/eel": revised(LANGUAGE, tokens=OWN[::-1])}
    union = find(hub, "union", repos).vocabulary
    base = find(hub, "base", repos).vocabulary
    named = find(hub, "reef/eel", repos).vocabulary
    assert union and base and named
    assert [model.location for model in union.deciding] == ["reef/cod", "reef/eel", "reef/base"]
    assert (union.rows, union.parted) == (66, ("reef/eel", "reef/base"))
    assert [(share.own, share.copied, share.dropped) for share in base.shares] == [
        (65, (), 1),
        (65, (), 0),
        (65, (), 0),
    ]
    assert (base.leader, base.rows, base.parted) == ("reef/base", 65, ("reef/cod", "reef/eel"))
    assert (named.leader, named.parted) == ("reef/eel", ("reef/cod", "reef/base"))


def test_a_token_that_is_plain_text_to_one_and_special_to_another_keeps_its_model_out(hub: Any) -> None:
    with pytest.raises(NoPool) as error:
        find(
            hub, "union", {"reef/cod": revised(MATH, special=["ocean"]), "reef/eel": revised(LANGUAGE, words=["ocean"])}
        )
    (reason,) = reasons(error.value).values()
    assert reason in (
        "its token 'ocean' is a piece of plain text, and in reef/cod special",
        "its token 'ocean' is special, and in reef/eel a piece of plain text",
    )


def test_tokens_that_spell_text_otherwise_are_not_matched(hub: Any) -> None:
    bytewise = Tokenizer(models.WordLevel({token: number for number, token in enumerate(OWN)}, unk_token="<unk>"))
    bytewise.pre_tokenizer, bytewise.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    content = revised(MATH) | {"tokenizer.json": bytewise.to_str().encode()}
    with pytest.raises(NoPool) as error:
        find(hub, "base", {"reef/cod": content, "reef/eel": revised(LANGUAGE)})
    assert reasons(error.value)["cod"] == (
        "not of the family of reef/base: its tokens are written in bytes (as GPT-2's are), not in plain text"
    )


def test_settings_that_differ_are_said_with_whose_hold(hub: Any) -> None:
    spaced = revised(LANGUAGE, special=[NOTE], settings={"eos_token": "<pad>"})
    spaced["tokenizer.json"] = spaced["tokenizer.json"].replace(
        b'"content": "<|note|>", "single_word": false, "lstrip": false',
        b'"content": "<|note|>", "single_word": false, "lstrip": true',
    )
    found = find(hub, "union", {"reef/cod": revised(MATH, special=[NOTE]), "reef/eel": spaced}).vocabulary
    assert found is not None
    assert found.remarks == (
        "'<|note|>' leaves the spaces before it, as in reef/cod; in reef/eel it takes the spaces before it",
        "the eos_token is '</s>', as in reef/cod; in reef/eel it is '<pad>'",
    )


@pytest.mark.parametrize(
    ("chosen", "keys", "line"),
    [
        ("reef/ray", {}, "search.vocabulary: got reef/ray: it is not among the sources; pin it, or name one such as "),
        ("base", {"base": None}, "search.vocabulary: got base: the pool has no base; write union, or a source as "),
    ],
)
def test_a_model_that_cannot_decide_is_refused_with_the_key(hub: Any, chosen: str, keys: Any, line: str) -> None:
    if keys:
        keys = {**keys, "search": {"vocabulary": chosen, "method": "linear"}}
    with pytest.raises(ShoalError) as error:
        find(hub, chosen, {"reef/cod": revised(MATH, special=[NOTE]), "reef/eel": revised(LANGUAGE)}, **keys)
    assert str(error.value).startswith(line)
