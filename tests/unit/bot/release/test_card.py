"""The card: golden texts of real and hostile facts, front matter read back, claims checked, code run."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from jinja2 import UndefinedError
from markdown_it import MarkdownIt
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bot.hub.licences import ReleaseLicence
from bot.hub.rules import OWN_TAG
from bot.release.card.card import render_release_card
from bot.release.card.facts import CardFacts, ItemCounts, PartFacts, PathFacts
from evaluation.statistics.values import Interval
from fixtures.cycles import BASE, LANGUAGE, MATH, REPORT, SEARCH, VALIDATION
from fixtures.golden import path_facts, weight_merge_facts
from fixtures.written_texts import ATTACKS, POISON, check_golden, structure, with_texts
from merging.recipes.path import Hop
from templates import escaping
from templates.markdown import render_markdown

OF_MERGE, OF_PATH = weight_merge_facts(), path_facts()
ENGLISH_TASK, TRANSLATION_TASK, SECOND_TASK = "zoo_math_en", "zoo_translation", "zoo_math_ja"


def path() -> PathFacts:
    assert OF_PATH.recipe.path
    return OF_PATH.recipe.path


def hostile(text: str = POISON, facts: CardFacts | None = None) -> CardFacts:
    """The facts with `text` in every field, also in those that real facts seldom fill."""
    facts = facts or OF_MERGE
    named = ReleaseLicence("other", "a name", None, ("a notice",), None)
    skills = tuple(
        replace(skill, tasks=tuple(replace(task, language="ja", higher_is_better=False) for task in skill.tasks))
        for skill in facts.skills
    )
    search = replace(facts.search, timed=True, smaller=True, failed=3)
    return with_texts(replace(facts, licence=named, skills=skills, search=search, chat_template=True), text)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_the_card_of_a_weight_merge_reads_as_agreed() -> None:
    check_golden("card.md", render_release_card(OF_MERGE))


def test_the_card_of_a_path_reads_as_agreed() -> None:
    check_golden("card_path.md", render_release_card(OF_PATH))


def test_the_card_of_hostile_facts_reads_as_agreed() -> None:
    check_golden("card_hostile.md", render_release_card(hostile()))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("facts", [OF_MERGE, OF_PATH], ids=["merge", "path"])
def test_an_injection_in_every_text_changes_words_and_nothing_else(facts: CardFacts, attack: str) -> None:
    harmless, card = render_release_card(hostile("word", facts)), render_release_card(hostile(attack, facts))
    assert structure(body(card)) == structure(body(harmless))
    shape, expected = (shape_of(yaml.safe_load(text.split("\n---\n")[0])) for text in (card, harmless))
    assert shape == expected
    hidden = {c for c in card if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"}
    assert not hidden


def shape_of(value: Any) -> Any:
    """The front matter without its words: keys, lengths and numbers."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return [shape_of(item) for item in value] if isinstance(value, list) else type(value)


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
        render_markdown("cycle_report.md.j2")


def with_path(**changes: Any) -> str:
    """The card of a path that differs a little."""
    recipe = replace(OF_PATH.recipe, merge=replace(path(), **changes), mergekit_yaml="merge_method: passthrough\n")
    return render_release_card(replace(OF_PATH, recipe=recipe))


def test_a_long_path_is_folded_and_a_short_one_is_open() -> None:
    assert "The path as a table" not in with_path()
    name = path().parts[1].name
    long = with_path(hops=(Hop(0, 0, 1.0), *(Hop(1, 1, 1.0),) * 59))
    assert long.index("![The path") < long.index("The path as a table") < long.index(f"| 59 | {name} | 1 | 1 |")
    assert "A path of 60 layers" in long and "58 of the hops take a layer" in long


def test_a_path_says_no_more_of_scales_and_parts_than_it_has() -> None:
    plain = with_path(
        parts=(PartFacts(MATH, None),), hops=(Hop(0, 0, 1.0), Hop(0, 1, 1.0)), depth=4, embedding=0, head=0
    )
    assert f"taken from {MATH} (which has 4); the embedding, the final norm and the head come from {MATH}." in plain
    assert "This is an ordinary model of its architecture, with 2 layers" in plain
    assert not any(word in plain for word in ("residual", "through merges", "merge 1", "mergekit-multi", "earlier one"))


def test_a_card_says_where_mergekit_makes_another_model() -> None:
    scaled, unscaled = ((Hop(0, 0, scale), Hop(1, 0, 1.0)) for scale in (0.8, 1.0))
    assert "leaves out the scales" in with_path(scales_in_yaml=False, hops=scaled)
    assert "leaves out the scales" not in with_path(scales_in_yaml=False, hops=unscaled)
    assert "leaves out the scales" not in with_path(hops=scaled)
    (first, *others) = path().parts
    assert first.weight_merge is not None
    drawn = (replace(first, weight_merge=replace(first.weight_merge, draws=True)), *others)
    assert "draws at random" in with_path(parts=drawn) and "draws at random" not in with_path()


def test_a_task_that_is_used_twice_has_its_items_once() -> None:
    """In two skills: they are the same documents."""
    uses = [task.task for skill in OF_MERGE.skills for task in skill.tasks]
    assert sorted(uses) == [ENGLISH_TASK, SECOND_TASK, TRANSLATION_TASK, TRANSLATION_TASK]
    assert OF_MERGE.items == ItemCounts(3 * SEARCH, 3 * VALIDATION, 3 * REPORT)


def test_the_front_matter_is_what_the_hub_reads_back() -> None:
    card = ModelCard(render_release_card(OF_MERGE))
    data = card.data.to_dict()
    assert data["base_model"] == [MATH, LANGUAGE, BASE]
    assert data["base_model_relation"] == "merge"
    assert (data["license"], data["library_name"], data["pipeline_tag"]) == (
        "apache-2.0",
        "transformers",
        "text-generation",
    )
    assert {"merge", OWN_TAG} <= set(data["tags"])
    results = {result.dataset_type: result for result in card.data.eval_results}
    scores = {task.task: task.score for skill in OF_MERGE.skills for task in skill.tasks}
    assert {task: result.metric_value for task, result in results.items()} == {
        task: round(score.mean, 4) for task, score in scores.items()
    }
    assert results[SECOND_TASK].metric_args == {
        "split": "report",
        "items": REPORT,
        "num_fewshot": 0,
        "interval_95": [round(scores[SECOND_TASK].low, 4), round(scores[SECOND_TASK].high, 4)],
    }
    assert ModelCard(str(card)).data.to_dict() == data


def test_a_licence_of_its_own_is_named_and_linked() -> None:
    licence = ReleaseLicence("other", "llama3.1", "https://a.example/licence", (), None)
    card = render_release_card(replace(OF_MERGE, licence=licence))
    data = ModelCard(card).data
    assert (data.license, data.license_name, data.license_link) == (
        "other",
        "llama3.1",
        "https://a.example/licence",
    )
    assert data.license_link in body(card)


def test_facts_that_do_not_fit_together_are_refused() -> None:
    first = OF_MERGE.baselines[0]
    with pytest.raises(ValueError, match=f"scores of {first.name}: got 1 values, expected one per skill"):
        replace(OF_MERGE, baselines=(replace(first, scores=first.scores[:1]),))
    (merge,) = OF_MERGE.recipe.weight_merges
    with pytest.raises(ValueError, match="weight of source 0: got 1 values, expected one per group"):
        replace(merge, parameters=(("weight", ((1.0,),)),))
    with pytest.raises(ValueError, match="finite"):
        Interval(float("nan"), 0.0, 1.0, 1)


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
    card = render_release_card(replace(OF_MERGE, repo=str(tiny_model), chat_template=chat, prompt=prompt))
    code = next(t.content for t in MarkdownIt().parse(body(card)) if t.type == "fence" and t.info == "python")
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["prompt"] == prompt
    assert space["output"].shape[1] > space["inputs"]["input_ids"].shape[1]
    assert capsys.readouterr().out.endswith("\n")
