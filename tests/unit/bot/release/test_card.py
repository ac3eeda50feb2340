"""The card: golden texts of honest and hostile facts, front matter read back, claims checked, code run."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bot.hub.rules import OWN_TAG
from bot.release.card.card import write_card
from bot.release.card.facts import (
    AnswerCounts,
    BaselineScores,
    CardFacts,
    CostFacts,
    Estimate,
    GateTest,
    ItemCounts,
    Lead,
    LicenceFacts,
    PartFacts,
    PathFacts,
    RecipeFacts,
    SearchFacts,
    SelectionFacts,
    SkillFacts,
    SourceFacts,
    TaskFacts,
    WeightMergeFacts,
)
from bot.search.results import BaselineKind
from fixtures.written_texts import ATTACKS, POISON, check_golden, structure, with_texts
from merging.recipes.path import Hop
from templates import escaping
from templates.markdown import render

ITEMS = ItemCounts(200, 150, 400)
ANSWERS = AnswerCounts(400, 0, 2, 5, 7, 31)
UNASKED = AnswerCounts(400, 1, 0, 0, 0, 0)


def estimate(mean: float, half: float = 0.04) -> Estimate:
    return Estimate(mean, round(mean - half, 4), round(mean + half, 4))


def lead(mean: float, half: float = 0.04) -> Lead:
    """A difference whose p-value is that of a normal distribution with this interval."""
    z = 1.96 * abs(mean) / half
    return Lead(mean, round(mean - half, 4), round(mean + half, 4), 2 * NormalDist().cdf(-z))


TIES = WeightMergeFacts(
    method="ties",
    draws=False,
    base="demo/tiny-base",
    sources=("demo/tiny-math", "demo/tiny-language"),
    groups=("embed", "layers 0-0 attention", "layers 0-0 rest", "head"),
    parameters=(
        ("density", ((0.5, 0.55, 1.0, 0.3), (0.9, 0.45, 0.6, 0.7))),
        ("weight", ((0.4, 0.35, 1.05, 0.0), (0.6, 0.65, 0.45, 1.0))),
    ),
)


def honest() -> CardFacts:
    """Two skills, one of two tasks; better than every source at one, worse than one source at the other."""
    return CardFacts(
        repo="demo/shoal-sums-1-knee",
        tag="cycle-1",
        hub_url="http://127.0.0.1:8080",
        watchlist="sums",
        cycle="sums-1",
        date="2026-11-23",
        skills=(
            SkillFacts(
                "cross",
                (
                    TaskFacts(
                        "math_ja", "exact_match", True, 0, ItemCounts(200, 150, 400), estimate(0.72), "ja", ANSWERS
                    ),
                ),
            ),
            SkillFacts(
                "language",
                (
                    TaskFacts(
                        "trans_ja",
                        "exact_match",
                        True,
                        0,
                        ItemCounts(200, 150, 400),
                        estimate(0.93, 0.02),
                        None,
                        UNASKED,
                    ),
                    TaskFacts("ja_loss", "nll", False, 2, ItemCounts(80, 60, 90), estimate(1.25, 0.1), None, None),
                ),
            ),
        ),
        scores=(estimate(0.72), estimate(0.84, 0.03)),
        baselines=(
            BaselineScores(
                "linear mean",
                BaselineKind.PLAIN,
                None,
                (estimate(0.66), estimate(0.81)),
                (lead(0.06), lead(0.03)),
            ),
            BaselineScores(
                "demo/tiny-math",
                BaselineKind.SOURCE,
                "demo/tiny-math",
                (estimate(0.10), estimate(0.12)),
                (lead(0.62), lead(0.72)),
            ),
            BaselineScores(
                "demo/tiny-language",
                BaselineKind.SOURCE,
                "demo/tiny-language",
                (estimate(0.55), estimate(0.95, 0.02)),
                (lead(0.17), lead(-0.11)),
            ),
            BaselineScores(
                "demo/tiny-base",
                BaselineKind.BASE,
                "demo/tiny-base",
                (estimate(0.28), estimate(0.40)),
                (lead(0.44), lead(0.44)),
            ),
        ),
        base=SourceFacts("demo/tiny-base", "0" * 40, "apache-2.0"),
        sources=(
            SourceFacts("demo/tiny-math", "1" * 40, "apache-2.0"),
            SourceFacts("demo/tiny-language", "2" * 40, "mit"),
        ),
        licence=LicenceFacts("apache-2.0", None, None, ("demo/tiny-language is under the MIT licence.",)),
        recipe=RecipeFacts(
            merge=TIES,
            dtype="float32",
            digest="ab" * 32,
            mergekit_yaml="merge_method: ties\nmodels:\n  - model: demo/tiny-math\n    weight: 0.4\n",
        ),
        cost=CostFacts(6_432_768, 6_432_768, 1.0),
        search=SearchFacts(240, 3, 237, 114_240, 10, 24, 7, 94.6, "240 candidates were scored", "2 CPU cores", False),
        selection=SelectionFacts(
            role="knee",
            front=11,
            passed=4,
            released=3,
            rule="For every rival there is a skill in which the merge is better. Corrected by Holm's method.",
            confidence=0.95,
            p_value=0.024,
            alpha=0.05,
            tests=(
                GateTest("cross", "demo/tiny-language", 0.18, 0.00004, True),
                GateTest("cross", "linear mean", 0.05, 0.012, True),
                GateTest("language", "linear mean", -0.01, 0.61, False),
            ),
        ),
        packages=(("shoal", "0.1.0"), ("torch", "2.13.0"), ("transformers", "5.23.0"), ("lm_eval", "0.4.13")),
        files=(("model.safetensors", "cd" * 32),),
        languages=("en", "ja"),
        pipeline_tag="text-generation",
        prompt="みあ は りんご 十七 五 みつける ？ =",
        chat_template=False,
    )


def of_a_path() -> CardFacts:
    """Layers of a source and of a merge, one of them twice, some scaled; the head from another model.

    Most candidates of its search left early, and a limit of minutes ended it.
    """
    path = PathFacts(
        parts=(PartFacts("demo/tiny-language", None), PartFacts("merge 1", TIES)),
        depth=4,
        hops=(Hop(0, 0, 1.0), Hop(1, 1, 0.85), Hop(1, 1, 1.2), Hop(0, 2, 1.0), Hop(0, 3, 1.0)),
        embedding=0,
        head=1,
        scales_in_yaml=True,
    )
    yaml_text = "name: merge-1\nmerge_method: ties\n---\nmerge_method: passthrough\n"
    recipe = RecipeFacts(path, "float32", "ab" * 32, yaml_text)
    stopped = "the budget of 2 minutes is spent"
    search = SearchFacts(611, 3, 131, 112_650, 26, 24, 7, 118.2, stopped, "2 CPU cores", timed=True)
    search = replace(search, smaller=True, staged=True)
    return replace(honest(), recipe=recipe, cost=CostFacts(9_123_456, 6_432_768, 1.4183), search=search)


def hostile(text: str = POISON, facts: CardFacts | None = None) -> CardFacts:
    named = LicenceFacts("other", "a name", None, ("a notice",))
    return with_texts(replace(facts or honest(), licence=named, chat_template=True), text)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_the_card_of_a_two_skill_release_reads_as_agreed() -> None:
    check_golden("card.md", write_card(honest()))


def test_the_card_of_a_path_reads_as_agreed() -> None:
    check_golden("card_path.md", write_card(of_a_path()))


def test_the_card_of_hostile_facts_reads_as_agreed() -> None:
    check_golden("card_hostile.md", write_card(hostile()))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("facts", [honest(), of_a_path()], ids=["merge", "path"])
def test_an_injection_in_every_text_changes_words_and_nothing_else(facts: CardFacts, attack: str) -> None:
    harmless, card = write_card(hostile("word", facts)), write_card(hostile(attack, facts))
    assert structure(body(card)) == structure(body(harmless))
    shape, expected = (config_source(yaml.safe_load(text.split("\n---\n")[0])) for text in (card, harmless))
    assert shape == expected
    hidden = {c for c in card if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}
    assert not hidden


def config_source(value: Any) -> Any:
    """The front matter without its words: keys, lengths and numbers."""
    if isinstance(value, dict):
        return {key: config_source(item) for key, item in value.items()}
    return [config_source(item) for item in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_shows_as_it_was_written(attack: str) -> None:
    """Escaping must not show: the page reads as the text itself, on one line, without hidden characters."""
    for escape in (escaping.text, escaping.code):
        (paragraph,) = (t for t in MarkdownIt("commonmark").parse(escape(attack)) if t.type == "inline")
        assert "".join(child.content for child in paragraph.children or []) == escaping.plain(attack)


def test_only_web_addresses_and_paths_become_links() -> None:
    assert escaping.link("a", "https://b.example/c d)e") == "[a](https://b.example/c%20d%29e)"
    assert escaping.link("a", "LICENSE") == "[a](LICENSE)"
    for address in (
        "javascript:alert(1)",
        " java\nscript:x",
        "data:text/html,x",
        "//evil.example",
        "",
        "http:x",
        "https://me@evil.example",
        "http://[bad",
    ):
        assert escaping.link("[a]", address) == "\\[a\\]"


def test_a_missing_fact_stops_the_card_instead_of_leaving_a_gap() -> None:
    with pytest.raises(UndefinedError):
        render("cycle_report.md.j2")


def with_path(**changes: Any) -> str:
    """The card of a path that is a little different."""
    facts = of_a_path()
    assert facts.recipe.path
    return write_card(replace(facts, recipe=replace(facts.recipe, merge=replace(facts.recipe.path, **changes))))


def test_a_long_path_is_folded_and_a_short_one_is_open() -> None:
    assert "The path as a table" not in with_path()
    long = with_path(hops=(Hop(0, 0, 1.0), *(Hop(1, 3, 1.0),) * 59))
    assert long.index("![The path") < long.index("The path as a table") < long.index("| 59 | merge 1 | 3 | 1 |")
    assert "A path of 60 layers" in long and "58 of the hops take a layer" in long


def test_a_path_says_no_more_of_scales_and_parts_than_it_has() -> None:
    plain = with_path(parts=(PartFacts("demo/tiny-math", None),), hops=(Hop(0, 0, 1.0), Hop(0, 2, 1.0)), head=0)
    assert (
        "taken from demo/tiny-math (which has 4); the embedding, the final norm and the head come from demo/tiny-math."
        in plain
    )
    assert "This is an ordinary model of its architecture, with 2 layers" in plain
    assert not any(word in plain for word in ("residual", "through merges", "merge 1", "mergekit-multi", "earlier one"))


def test_a_card_says_where_mergekit_makes_another_model() -> None:
    assert "leaves out the scales" in with_path(scales_in_yaml=False)
    assert "leaves out the scales" not in with_path(scales_in_yaml=False, hops=(Hop(0, 0, 1.0), Hop(1, 0, 1.0)))
    drawn = (PartFacts("demo/tiny-language", None), PartFacts("merge 1", replace(TIES, draws=True)))
    assert "draws at random" in with_path(parts=drawn) and "draws at random" not in with_path()


def test_a_task_that_is_used_twice_has_its_items_once() -> None:
    """In two skills, and by a second metric: they are the same documents."""
    first, second = honest().skills
    again = replace(first.tasks[0], metric="f1")
    skills = tuple(replace(skill, tasks=(*skill.tasks, again)) for skill in (first, second))
    facts = replace(honest(), skills=skills)
    assert facts.items == honest().items == ItemCounts(480, 360, 890)


def test_the_front_matter_is_what_the_hub_reads_back() -> None:
    card = ModelCard(write_card(honest()))
    data = card.data.to_dict()
    assert data["base_model"] == ["demo/tiny-math", "demo/tiny-language", "demo/tiny-base"]
    assert data["base_model_relation"] == "merge"
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == (
        "apache-2.0",
        "transformers",
        "text-generation",
    )
    assert {"merge", OWN_TAG} <= set(data["tags"])
    results = {result.dataset_type: result for result in card.data.eval_results}
    assert [results[task].metric_value for task in ("math_ja", "trans_ja", "ja_loss")] == [0.72, 0.93, 1.25]
    assert results["ja_loss"].metric_args == {
        "split": "report",
        "items": 90,
        "num_fewshot": 2,
        "interval_95": [1.15, 1.35],
    }
    assert ModelCard(str(card)).data.to_dict() == data


def test_a_licence_of_its_own_is_named_and_linked() -> None:
    licence = LicenceFacts("other", "llama3.1", "https://a.example/licence")
    data = ModelCard(write_card(replace(honest(), licence=licence))).data
    assert (data.license, data.license_name, data.license_link) == (
        "other",
        "llama3.1",
        "https://a.example/licence",
    )
    assert data.license_link in body(write_card(replace(honest(), licence=licence)))


def test_facts_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="scores of demo/tiny-math: got 1 values, expected one per skill"):
        short = replace(honest().baselines[1], scores=(estimate(0.1),))
        replace(honest(), baselines=(short,))
    with pytest.raises(ValueError, match="weight of source 0: got 1 values, expected one per group"):
        replace(TIES, parameters=(("weight", ((1.0,),)),))
    with pytest.raises(ValueError, match="finite"):
        Estimate(float("nan"), 0.0, 1.0)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a genuine, tiny and untrained Llama with a word tokenizer and a chat template."""
    folder = tmp_path_factory.mktemp("tiny")
    words = {word: index for index, word in enumerate(["?", "</s>", "みあ", "りんご", "user"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="?")), unk_token="?", eos_token="</s>"
    )
    tokenizer.chat_template = "{% for m in messages %}{{ m.role }} {{ m.content }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=5,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        eos_token_id=1,
        bos_token_id=1,
        pad_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("prompt", ["みあ りんご", "quote ' \" \\ \n``` {{ x }}"])
def test_the_code_in_the_card_runs_as_it_is(
    tiny_model: Path, chat: bool, prompt: str, capsys: pytest.CaptureFixture[str]
) -> None:
    card = write_card(replace(honest(), repo=str(tiny_model), chat_template=chat, prompt=prompt))
    code = next(t.content for t in MarkdownIt().parse(body(card)) if t.type == "fence" and t.info == "python")
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["prompt"] == prompt
    assert space["output"].shape[1] > space["inputs"]["input_ids"].shape[1]
    assert capsys.readouterr().out.endswith("\n")
