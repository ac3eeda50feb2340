"""The card: golden texts of real and hostile facts, front matter read back, claims checked, code run."""

from __future__ import annotations

import os
import re
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
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bot.hub.discovery.rules import OWN_TAG
from bot.hub.licences import ReleaseLicence
from bot.release.card.card import render_release_card
from bot.release.card.facts import AuditionFacts, CardFacts, ItemCounts, ShownAnswer, ShownFacts
from bot.release.card.merge_facts import (
    BaseFacts,
    ConversionFacts,
    LastStageFacts,
    PartFacts,
    PathFacts,
    SourceFacts,
    WeightMergeFacts,
)
from bot.release.card.picture_facts import GridCell, drawn_facts, effort_facts
from bot.search.results import BaselineKind
from evaluation.answers.ask import generate_answer
from evaluation.eval_set import DrawnTask, JudgeDescription, OwnDrawing, Question
from evaluation.statistics.values import Interval
from fixtures.cycles import BASE, LANGUAGE, MATH, REPORT, SEARCH, VALIDATION
from fixtures.drawn_facts import HOW, YES, picture_facts
from fixtures.golden import image_facts, path_facts, weight_merge_facts
from fixtures.written_texts import ATTACKS, POISON, check_golden, structure, with_texts
from localhub.pages.markup import render_card
from localhub.store.cards import validate_card
from merging.methods import METHODS
from merging.recipes.path import Hop
from templates import escaping
from templates.figures import signed
from templates.markdown import render_markdown

OF_MERGE, OF_PATH = weight_merge_facts(), path_facts()
ANSWERS = ((None, "two red, one | blue"), (BASE, ""), (MATH, None), (LANGUAGE, "```\nred"))
OF_SIGHT = replace(
    OF_MERGE,
    kind="vision-language",
    pipeline_tag="image-text-to-text",
    carrier=MATH,
    parts=(LANGUAGE,),
    picture_size=512,
    example=replace(
        OF_MERGE.example,
        chat_template=True,
        prompt='<image>What is at\n"two"?',
        pictures=("pictures/example-1.png",),
    ),
    shown=tuple(
        ShownFacts(
            skill="see",
            prompt=f"<image> What is at {place}?",
            expected="red",
            pictures=(f"pictures/{place}-1.png",),
            answers=tuple(ShownAnswer(name, BaselineKind.SOURCE, answer) for name, answer in ANSWERS),
        )
        for place in (1, 2, 3)
    ),
)
"""The card of a merge of models that see, one of which is a language model."""

OF_PICTURES = picture_facts(OF_MERGE)
"""The card of a merge of image generators."""

UNASKED = replace(OF_SIGHT, example=replace(OF_SIGHT.example, pictures=(), answer=None))

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
    example = replace(facts.example, chat_template=True, num_fewshot=2)
    (sibling, *_) = facts.baselines
    siblings = (replace(sibling, kind=BaselineKind.RELEASE),)
    conversions = (ConversionFacts("repo", 3, ()), ConversionFacts("repo", None, (("pytorch_model.bin", "0" * 64),)))
    changed = replace(
        facts,
        licence=named,
        skills=skills,
        search=search,
        example=example,
        siblings=siblings,
        conversions=conversions,
    )
    return with_texts(changed, text)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_the_code_of_a_release_without_a_picture_asks_about_the_reader_s_own() -> None:
    code = next(token.content for token in MarkdownIt().parse(render_release_card(UNASKED)) if token.info == "python")
    assert "pictures = [Image.open(file) for file in ['picture.png']]  # your own" in code and "PIL" in code
    assert "hf_hub_download" not in code


def test_the_base_of_adapters_is_named_once_whatever_else_it_is() -> None:
    one, two, *_ = OF_MERGE.sources
    on_source = replace(two, adapted=BaseFacts(one.repo, one.sha, one.licence))
    card = render_release_card(replace(OF_MERGE, sources=(one, on_source)))
    assert "LoRA adapter on" in card and "base of an adapter" not in card
    elsewhere = BaseFacts("reef/elsewhere", "a" * 40, "mit")
    card = render_release_card(replace(OF_MERGE, sources=tuple(replace(it, adapted=elsewhere) for it in (one, two))))
    assert card.count("base of an adapter") == 1


def test_the_card_says_which_adapter_was_added_to_the_merge_with_its_licence_and_scale() -> None:
    adapter = SourceFacts("reef/fast", "5" * 40, "openrail++")
    stage = LastStageFacts(adapter.repo, adapter.sha, "two_steps.safetensors", 1.15)
    assert isinstance(OF_MERGE.recipe.merge, WeightMergeFacts)
    recipe = replace(OF_MERGE.recipe, merge=replace(OF_MERGE.recipe.merge, last_stage=stage))
    card = render_release_card(replace(OF_MERGE, recipe=recipe, last_stage=adapter))
    assert "the adapter reef/fast (`two_steps.safetensors`) was added, times 1.15:" in card
    assert "| reef/fast<br><sub>LoRA adapter, added to the merge</sub> | [555555555555](" in card
    assert "with the adapter [reef/fast](" in card
    assert "- reef/fast" in card.partition("\n---\n")[0]


def test_the_card_says_in_how_many_steps_and_how_large_a_release_draws_and_what_that_costs() -> None:
    judge = JudgeDescription("rule colours.amount", None, None)
    tasks = [
        DrawnTask({"num_inference_steps": steps, "width": side, "height": side}, None, judge, judge)
        for steps, side in ((8, 256), (4, 512))
    ]
    assert effort_facts(OwnDrawing(), tasks) is None
    whole = 8 * 256**2 + 4 * 512**2
    for own, cost, its, others in (
        (OwnDrawing(2), 2 * (256**2 + 512**2), "in 2 steps", "in 8 or 4 steps"),
        (OwnDrawing(1, 128), 2 * 128**2, "in 1 step at 128 × 128", "in 8 or 4 steps at 256 × 256 or 512 × 512"),
        (OwnDrawing(size=128), (8 + 4) * 128**2, "at 128 × 128", "at 256 × 256 or 512 × 512"),
    ):
        facts = effort_facts(own, tasks)
        assert facts is not None and facts.cost == pytest.approx(cost / whole)
        card = render_release_card(replace(picture_facts(OF_MERGE), effort=facts))
        pixels = "" if own.size is None else " pixels"
        said = f"draws {its}{pixels}, which the search chose; the other models on this card draw {others}{pixels},"
        assert f"It {said} so a picture costs {facts.cost:.2f} times as much as theirs." in card
    wide = replace(tasks[0], arguments={**tasks[0].arguments, "width": 1216, "height": 832, "guidance_scale": 3.0})
    assert drawn_facts(wide, own=OwnDrawing(3, 512)).how.startswith("640 × 448 pixels, 3 steps, guidance 3")


def test_the_card_of_a_weight_merge_reads_as_agreed() -> None:
    check_golden("card.md", render_release_card(OF_MERGE))


def test_the_card_says_whose_conversion_pickled_weights_are() -> None:
    conversions = (ConversionFacts("a/b", 3, ()), ConversionFacts("c/d", None, (("pytorch_model.bin", "0a" * 32),)))
    card = render_release_card(replace(OF_MERGE, hub_url="https://hub.example", conversions=conversions))
    theirs = "The weights of a/b were pickled; these are the Hub's own conversion of them, [pull request 3]"
    assert f"{theirs}(https://hub.example/a/b/discussions/3)." in card
    ours = "The weights of c/d were pickled; shoal converted them, from `pytorch_model.bin`"
    assert f"{ours} (SHA-256 `{'0a' * 32}`)." in card


def test_the_card_of_a_path_reads_as_agreed() -> None:
    check_golden("card_path.md", render_release_card(OF_PATH))


def test_the_card_of_models_that_see_reads_as_agreed() -> None:
    check_golden("card_sight.md", render_release_card(OF_SIGHT))
    harmless, card = (render_release_card(hostile(text, OF_SIGHT)) for text in ("word", POISON))
    assert structure(body(card)) == structure(body(harmless))


def test_the_card_of_image_generators_reads_as_agreed() -> None:
    check_golden("card_image.md", render_release_card(image_facts()))
    check_golden("card_pictures.md", render_release_card(OF_PICTURES))
    harmless, card = (render_release_card(hostile(text, OF_PICTURES)) for text in ("word", POISON))
    assert structure(body(card)) == structure(body(harmless))


def test_the_grid_says_right_or_wrong_for_every_skill_that_judges_a_picture() -> None:
    grid = OF_PICTURES.grid
    assert grid is not None
    cells = tuple(GridCell((float(number > 2), 1.0), "", True) for number, _ in enumerate(grid.columns))
    row = replace(grid.rows[0], asked=(("language", "right"), ("cross", "papercut")), cells=cells)
    text = body(render_release_card(replace(OF_PICTURES, grid=replace(grid, rows=(row,)))))
    assert f"language, right; cross, papercut; negative: blur</sub> | 3 |{' 0 / 1 |' * 3}{' 1 / 1 |' * 2}" in text
    assert "report split at `language` and `cross`, by turns" in text and "in the order of their names" in text


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


def unfolded(card: str) -> str:
    """The text of the page before anything is opened: summaries count, what they hide does not."""
    html = render_card(body(card), "/a/b/resolve/0/", "/a/b/blob/0/")
    shown = re.sub(r"(<details>\s*<summary>.*?</summary>).*?</details>", r"\1", html, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", shown)


@pytest.mark.parametrize(
    "facts", [OF_MERGE, OF_PATH, OF_PICTURES, hostile()], ids=["merge", "path", "pictures", "hostile"]
)
def test_a_reader_has_no_more_than_700_words_before_opening_anything(facts: CardFacts) -> None:
    words = len(unfolded(render_release_card(facts)).split())
    assert 200 < words <= 700


def test_a_card_has_verdict_code_table_and_one_picture_and_the_rest_is_folded() -> None:
    text = body(render_release_card(OF_MERGE))
    order = ["- **", "```python", "It prints", "| Model |", 'src="scores.png"', "<details>"]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert text.index("- **") < 1000
    open_part, _, folded = text.partition("<details>")
    assert open_part.count("<img") == 1 and "p-value" not in open_part and "Holm" not in open_part
    assert folded.count("<details>") == folded.count("</details>") - 1 == 5


def test_the_verdict_names_the_strongest_baseline_of_each_skill_with_difference_and_interval() -> None:
    text = body(render_release_card(OF_MERGE))
    lines = [line for line in text.splitlines() if line.startswith("- **")]
    table = OF_MERGE.table
    verdicts = lines[: len(table.skills)]
    assert len(lines) == len(table.skills) + len(OF_MERGE.guards)
    for column, line in enumerate(verdicts):
        highest = max(other.scores[column].mean for other in table.baselines)
        (named, *_) = [other for other in table.baselines if other.name in line]
        assert named.scores[column].mean == highest
        lead = named.leads[column]
        assert f"difference {signed(lead.mean)} [{signed(lead.low)},&nbsp;{signed(lead.high)}]" in line


def test_the_verdict_says_of_each_guard_whether_the_report_split_shows_that_it_was_kept() -> None:
    (guard,) = OF_MERGE.guards
    assert "- **keeping** the guard `digits`: " in body(render_release_card(OF_MERGE))
    lost = replace(guard, report=replace(guard.report, limit=-guard.report.max_drop - 0.01))
    text = body(render_release_card(replace(OF_MERGE, guards=(lost,))))
    assert "- **not shown to keep** the guard `digits`: " in text and "keeping" not in text
    assert "the guard `" not in body(render_release_card(replace(OF_MERGE, guards=())))


def test_a_card_says_when_the_report_split_does_not_confirm_the_gate() -> None:
    shown = body(render_release_card(OF_MERGE))
    assert "**The report split does not confirm the gate.**" in shown and "not shown for linear mean." in shown
    sure = [replace(lead, low=0.2, mean=0.3, high=0.4, two_sided=1e-9) for lead in OF_MERGE.baselines[0].leads]
    better = tuple(replace(other, leads=tuple(sure)) for other in OF_MERGE.baselines)
    confirmed = body(render_release_card(replace(OF_MERGE, baselines=better)))
    assert "confirms the gate: this model is better than every baseline" in confirmed
    assert "does not confirm" not in confirmed and confirmed.count("- **better** at") == 3


def test_a_card_says_that_an_audition_chose_the_sources() -> None:
    card = render_release_card(replace(OF_MERGE, audition=AuditionFacts(candidates=6, chosen=1, pinned=2, items=300)))
    assert (
        "The sources were chosen by an audition: 6 models answered 300 items of the search split, and 1 was taken "
        "beside 2 that take part in any case, by how much they add"
    ) in card
    card = render_release_card(replace(OF_MERGE, audition=AuditionFacts(candidates=6, chosen=2, pinned=0, items=300)))
    assert "and 2 were taken, by how much they add" in card
    assert "audition" not in render_release_card(OF_MERGE)


def test_a_card_says_by_what_the_front_was_chosen() -> None:
    words = (
        "The front holds the candidates that no other one dominates: is",
        "The front was chosen by a model of these",
    )
    for modelled in (False, True):
        facts = replace(OF_MERGE, search=replace(OF_MERGE.search, modelled_front=modelled))
        card = render_release_card(facts)
        assert [word in card for word in words] == [not modelled, modelled]


def test_a_release_that_costs_more_is_shown_beside_one_that_does_not() -> None:
    dearer = replace(OF_PATH, cost=replace(OF_PATH.cost, times=1.5))
    assert "No release of this cycle costs as little as a source" in render_release_card(dearer)
    assert "No release of this cycle costs" not in render_release_card(OF_PATH)
    sibling = replace(OF_PATH.baselines[0], name="shoal-demo/paths-best-math", kind=BaselineKind.RELEASE)
    text = body(render_release_card(replace(dearer, siblings=(sibling,))))
    assert "Compared with [shoal-demo/paths-best-math]" in text and "No release of this cycle costs" not in text
    assert "shoal-demo/paths-best-math)<br><sub>release</sub> |" in text
    assert f"all {3 * (len(OF_PATH.baselines) + 1)} differences" in text


def test_many_skills_are_divided_among_tables_that_fit_a_phone() -> None:
    (first, *_) = OF_MERGE.skills
    skills = tuple(replace(first, name=f"s{number}") for number in range(4))
    four = replace(
        OF_MERGE,
        skills=skills,
        scores=(OF_MERGE.scores[0],) * 4,
        baselines=tuple(replace(o, scores=(o.scores[0],) * 4, leads=(o.leads[0],) * 4) for o in OF_MERGE.baselines),
    )
    headers = [line for line in body(render_release_card(four)).splitlines() if line.startswith("| Model |")]
    assert headers == ["| Model | s0 | s1 |", "| Model | s2 | s3 |"]


def test_the_example_says_how_it_was_chosen_and_what_was_expected() -> None:
    example = OF_MERGE.example
    assert example.answer is not None and example.rival is not None
    text = body(render_release_card(OF_MERGE))
    assert repr(example.prompt) in text and f"```text\n{example.answer.strip()}" in text
    assert f"(the task's own answer is `{example.expected}`)" in text
    assert f"scored higher than {example.rival}, the strongest of the merged models there" in text
    without = body(render_release_card(replace(OF_MERGE, example=replace(example, rival=None, num_fewshot=3))))
    assert "On no report item of any skill did this model score higher" in without
    assert "asks it after 3 examples, this code without" in without
    silent = body(render_release_card(replace(OF_MERGE, example=replace(example, answer=" "))))
    assert "It prints nothing" in silent
    unasked = body(render_release_card(replace(OF_MERGE, example=replace(example, answer=None))))
    assert "It prints" not in unasked and "The prompt is" not in unasked and repr(example.prompt) in unasked


def test_a_card_says_how_to_build_the_same_bytes_again() -> None:
    ((_, sha256),) = OF_MERGE.files
    text = body(render_release_card(OF_MERGE))
    assert "`shoal merge mergekit_config.yml merged --endpoint http://127.0.0.1:8080` fetches" in text
    assert f"with the same SHA-256.\n\n- `model.safetensors`: `{sha256}`" in text
    public = body(render_release_card(replace(OF_MERGE, hub_url="https://huggingface.co")))
    assert "`shoal merge mergekit_config.yml merged` fetches" in public and "HF_ENDPOINT" not in public
    (merge,) = OF_MERGE.recipe.weight_merges
    drawn = replace(OF_MERGE, recipe=replace(OF_MERGE.recipe, merge=replace(merge, draws=True)))
    assert f"merged --seed {OF_MERGE.search.seed} --endpoint" in render_release_card(drawn)


@pytest.mark.parametrize("method", METHODS)
def test_the_recipe_says_in_a_sentence_what_its_method_does(method: str) -> None:
    (merge,) = OF_MERGE.recipe.weight_merges
    changed = replace(merge, method=method, sentence=METHODS[method].sentence)
    text = body(render_release_card(replace(OF_MERGE, recipe=replace(OF_MERGE.recipe, merge=changed))))
    assert f"`{method}`: {escaping.text(METHODS[method].sentence)}. Stored as" in text


def test_a_long_path_has_a_table_of_its_hops() -> None:
    name = path().parts[1].name
    long = with_path(hops=(Hop(0, 0, 1.0), *(Hop(1, 1, 1.0),) * 59))
    assert long.index("<summary>The recipe") < long.index('src="path.png"') < long.index(f"| 59 | {name} | 1 | 1 |")
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
        "items": str(REPORT),
        "num_fewshot": "0",
        "interval_95": f"{round(scores[SECOND_TASK].low, 4)} to {round(scores[SECOND_TASK].high, 4)}",
    }
    assert validate_card(str(card)).errors == ()
    assert ModelCard(str(card)).data.to_dict() == data


def test_the_front_matter_of_an_image_generator_has_its_pictures_and_the_hub_takes_it() -> None:
    text = render_release_card(OF_PICTURES)
    data = ModelCard(text).data.to_dict()
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == ("diffusers", "text-to-image", "openrail++")
    assert OF_PICTURES.grid is not None
    assert data["widget"] == [
        {"text": row.prompt, "parameters": {"negative_prompt": row.negative}, "output": {"url": row.picture}}
        for row in OF_PICTURES.grid.rows
    ]
    assert data["thumbnail"] == f"{OF_PICTURES.hub_url}/{OF_PICTURES.repo}/resolve/main/{OF_PICTURES.grid.picture}"
    first = data["model-index"][0]["results"][0]["metrics"][0]["args"]
    assert first["drawn"] == HOW and first["judge"] == YES.words
    assert validate_card(text).errors == () == validate_card(text).warnings


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
def test_the_code_in_the_card_runs_as_it_is_and_prints_what_the_bot_was_answered(
    tiny_model: Path, chat: bool, prompt: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "unset afterwards")
    question = Question("s", "t", prompt, "", 0, chat, max_tokens=7)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    answer = generate_answer(model, tokenizer, question)
    example = replace(OF_MERGE.example, chat_template=chat, prompt=prompt, max_tokens=7, answer=answer)
    card = render_release_card(replace(OF_MERGE, repo=str(tiny_model), example=example))
    code = next(t.content for t in MarkdownIt().parse(body(card)) if t.type == "fence" and t.info == "python")
    space: dict[str, Any] = {}
    exec(code, space)
    assert space["prompt"] == prompt
    assert space["output"].shape[1] > space["inputs"]["input_ids"].shape[1]
    assert capsys.readouterr().out == answer + "\n"
    assert os.environ["HF_ENDPOINT"] == OF_MERGE.hub_url
