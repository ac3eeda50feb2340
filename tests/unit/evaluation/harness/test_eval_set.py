"""Evaluation sets score a tiny random Llama; lm-eval's own evaluation is the reference."""

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.samplers import FirstNSampler
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from evaluation.errors import EvaluationError
from evaluation.harness.continuations import find_lost_continuation
from evaluation.harness.engine_lm import EngineLM
from evaluation.harness.eval_set import LmEvalSet
from evaluation.harness.lm import PlainLM
from evaluation.harness.loading import load_tasks
from evaluation.harness.modalities.documents import Doc
from evaluation.harness.suite import LmEvalSuite
from evaluation.harness.tasks import LoadedTask
from evaluation.items import item_id
from evaluation.racing.decisions import round_ends
from evaluation.scores import ItemScore, skill_scores
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.engine import CHAT_TEMPLATE, SUM_WORDS, make_word_tokenizer
from fixtures.folders import TASKS

pytestmark = pytest.mark.slow

FOLDER = TASKS
SEED = 5
ALL = SplitSizes()


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_word_tokenizer(SUM_WORDS)


def build_model(seed: int = 0, positions: int = 128) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(SUM_WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
        initializer_range=0.6,  # so that a random model does not give one answer to everything
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).eval()


def skill(*tasks: SkillTask, name: str = "sums", chat: bool = False) -> Skill:
    return Skill(name, tasks, chat_template=chat)


def build_eval_set(tokenizer: Any, *skills: Skill, split: Split = Split.REPORT, sizes: SplitSizes = ALL) -> LmEvalSet:
    return LmEvalSet.build(skills, load_tasks(skills, [FOLDER]), split, sizes, SEED, tokenizer)


def says_always(word: str) -> LlamaForCausalLM:
    """A model that answers everything with one word: its last hidden state is made the same everywhere."""
    model = build_model()
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(1.0)
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        model.lm_head.weight[SUM_WORDS.index(word)] = 1.0
    return model


def reference(
    lm: HFLM,
    task: str,
    items: Sequence[str],
    shots: int,
    *,
    docs: str | None = None,
    chat: bool = False,
    examples: Sequence[Doc] | None = None,
) -> dict[str, Any]:
    """lm-eval's own results on the same items, and its samples by item id."""
    loaded = TaskManager(include_path=str(FOLDER), include_defaults=False).load([task])["tasks"][task]
    loaded.config.test_split = docs or loaded.config.test_split
    if examples:
        loaded.sampler = FirstNSampler(examples)
    loaded.set_config("num_fewshot", shots)
    first = {item_id(doc): index for index, doc in reversed(list(enumerate(loaded.eval_docs)))}
    # `simple_evaluate` would do the same and describe the machine besides, which takes seconds.
    found: dict[str, Any] = lm_eval.evaluate(
        lm,
        {"tasks": {task: loaded}},
        samples={task: sorted(first[item] for item in items)},
        bootstrap_iters=0,
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
    )
    return found


def mean(scores: tuple[ItemScore, ...], key: str) -> float:
    values = [score.value for score in scores if score.task == key]
    return sum(values) / len(values)


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("split", [Split.VALIDATION, Split.REPORT])
def test_scores_are_those_of_lm_eval_item_by_item(tokenizer: Any, shots: int, split: Split) -> None:
    uses = [
        SkillTask("ev_generate", "exact_match", "last-digit", num_fewshot=shots),
        SkillTask("ev_generate", "exact_match", "raw", num_fewshot=shots),
        SkillTask("ev_choice", "acc", num_fewshot=shots),
        SkillTask("ev_choice", "acc_norm", num_fewshot=shots),
    ]
    if not shots:
        # The examples of the others are the first of their set, so lm-eval lays out the same ones; but ev_likely
        # takes them from its own test set, of which held-out items are not shown here.
        uses.append(SkillTask("ev_likely", "acc", num_fewshot=0))
    eval_set = build_eval_set(tokenizer, skill(*uses), split=split)
    model = build_model()
    scores = eval_set.score(PlainLM(model, tokenizer, "cpu", 8))
    plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)
    compared = set()
    for use, asked in zip(uses, eval_set.uses, strict=True):
        expected = reference(plain, use.task, asked.items, shots)
        name = use.filter or "none"
        assert mean(scores, use.key) == pytest.approx(expected["results"][use.task][f"{use.metric},{name}"])
        by_item = {s.item: s.value for s in scores if s.task == use.key}
        samples = [s for s in expected["samples"][use.task] if s["filter"] == name]
        assert by_item == {item_id(s["doc"]): s[use.metric] for s in samples}
        compared |= set(by_item.values())
    assert compared == {0.0, 1.0}


def test_search_items_are_the_tasks_own_validation_documents(tokenizer: Any) -> None:
    eval_set = build_eval_set(tokenizer, skill(SkillTask("ev_choice", "acc", num_fewshot=2)), split=Split.SEARCH)
    model = build_model()
    lm = PlainLM(model, tokenizer, "cpu", 8)
    expected = reference(lm, "ev_choice", eval_set.uses[0].items, 2, docs="validation")
    assert expected["n-samples"]["ev_choice"]["effective"] == len(eval_set.uses[0].items) > 5
    assert mean(eval_set.score(lm), "ev_choice:acc:2-shot") == expected["results"]["ev_choice"]["acc,none"]


def test_chat_prompts_are_those_of_lm_eval(tokenizer: Any) -> None:
    chatty = make_word_tokenizer(SUM_WORDS)
    chatty.chat_template = CHAT_TEMPLATE
    use = SkillTask("ev_choice", "acc", num_fewshot=2)
    eval_set = build_eval_set(chatty, skill(use, chat=True))
    expected = reference(
        HFLM(pretrained=build_model(), tokenizer=chatty), use.task, eval_set.uses[0].items, 2, chat=True
    )
    prompts = {item.item: item.requests[0].args[0] for item in eval_set.tasks[0].items}
    assert prompts == {item_id(s["doc"]): s["arguments"][0][0] for s in expected["samples"][use.task]}
    assert next(iter(prompts.values())).startswith("user 0 + 0 = model 0")
    with pytest.raises(EvaluationError, match="the tokenizer has no chat template; set it to false"):
        build_eval_set(tokenizer, skill(use, chat=True))


def test_a_second_score_repeats_the_first_and_follows_the_weights(tokenizer: Any) -> None:
    generate = SkillTask("ev_generate", "exact_match", "last-digit")
    eval_set = build_eval_set(tokenizer, skill(generate, SkillTask("ev_choice", "acc")))
    model = build_model(seed=0)
    lm = PlainLM(model, tokenizer, "cpu", 8)
    first = eval_set.score(lm)
    assert eval_set.score(lm) == first
    own = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.load_state_dict(build_model(seed=1).state_dict())
    other = eval_set.score(lm)
    assert [s.value for s in other] != [s.value for s in first]
    assert other == eval_set.score(PlainLM(build_model(seed=1), tokenizer, "cpu", 8))
    model.load_state_dict(own)
    assert eval_set.score(lm) == first


def test_prompts_longer_than_the_model_are_cut_as_lm_eval_cuts_them(tokenizer: Any) -> None:
    uses = (
        SkillTask("ev_choice", "acc", num_fewshot=6),
        SkillTask("ev_generate", "exact_match", "last-digit", num_fewshot=6),
    )
    eval_set = build_eval_set(tokenizer, skill(*uses))
    model = build_model(positions=16)
    lengths = [len(tokenizer(r.args[0])["input_ids"]) for task in eval_set.tasks for r in task.requests]
    assert min(lengths) > 16
    lm = PlainLM(model, tokenizer, "cpu", 8)
    scores = eval_set.score(lm)
    for use, asked in zip(uses, eval_set.uses, strict=True):
        expected = reference(lm, use.task, asked.items, 6)["results"][use.task]
        assert mean(scores, use.key) == expected[f"{use.metric},{use.filter or 'none'}"]


def test_examples_never_show_an_item_its_answer_nor_a_held_out_one(tokenizer: Any) -> None:
    drawn = skill(SkillTask("ev_drawn", "acc", num_fewshot=3))
    tasks = load_tasks([drawn], [FOLDER])
    question = {item: doc["question"] for item, doc in tasks["ev_drawn"].test.items()}
    ever_shown = set()
    for seed in range(4):
        eval_sets = {split: LmEvalSet.build([drawn], tasks, split, ALL, seed, tokenizer) for split in Split}
        searched = set(eval_sets[Split.SEARCH].uses[0].items)
        shown = set()
        for eval_set in eval_sets.values():
            for asked in eval_set.tasks[0].items:
                *examples, last = re.findall(r"\d+ \+ \d+ =", asked.requests[0].args[0])
                assert last == question[asked.item]
                assert len(set(examples)) == 3 and last not in examples
                shown |= set(examples)
        assert shown <= {question[item] for item in searched}
        ever_shown |= shown
    assert len(ever_shown) > 10


def test_all_items_but_the_examples_themselves_share_one_draw_of_examples(tokenizer: Any) -> None:
    drawn = skill(SkillTask("ev_drawn", "acc", num_fewshot=3))
    tasks = load_tasks([drawn], [FOLDER])
    docs = {str(doc["question"]): doc for doc in tasks["ev_drawn"].test.values()}
    eval_sets = {split: LmEvalSet.build([drawn], tasks, split, ALL, SEED, tokenizer) for split in Split}
    prompts = {
        str(question.doc["question"]): question.requests[0].args[0]
        for eval_set in eval_sets.values()
        for question in eval_set.tasks[0].items
    }
    beginnings = {question: prompt.removesuffix(question) for question, prompt in prompts.items()}
    shared = Counter(beginnings.values()).most_common(1)[0][0]
    examples = re.findall(r"\d+ \+ \d+ =", shared)
    assert {question for question, begun in beginnings.items() if begun != shared} == set(examples)
    for question in examples:
        others = [example for example in examples if example != question]
        assert re.findall(r"\d+ \+ \d+ =", beginnings[question])[:2] == others
    lm = HFLM(pretrained=build_model(), tokenizer=tokenizer)
    reported = eval_sets[Split.REPORT].uses[0].items
    expected = reference(lm, "ev_drawn", reported, 3, examples=[docs[example] for example in examples])
    found = {sample["doc"]["question"]: sample["arguments"][0][0] for sample in expected["samples"]["ev_drawn"]}
    assert len(found) == len(reported) and found.items() <= prompts.items()


def test_no_task_searches_or_shows_what_another_holds_out(tokenizer: Any) -> None:
    """Two variants of one task: the second has no search set of its own, and another column."""
    skills = [
        skill(SkillTask("ev_choice", "acc", num_fewshot=3)),
        skill(SkillTask("ev_reworded", "acc", num_fewshot=3), name="reworded"),
        skill(SkillTask("ev_drawn", "acc", num_fewshot=3), name="drawn"),
    ]
    tasks = load_tasks(skills, [FOLDER])
    ever_shown = set()
    for seed in range(4):
        asked: dict[Split, set[str]] = {}
        shown = set()
        for split in Split:
            eval_set = LmEvalSet.build(skills, tasks, split, ALL, seed, tokenizer)
            asked[split] = {str(q.doc["question"]) for task in eval_set.tasks for q in task.items}
            for item in (item for task in eval_set.tasks for item in task.items):
                *examples, last = re.findall(r"\d+ \+ \d+ =", item.requests[0].args[0])
                assert last == item.doc["question"] and last not in examples
                shown |= set(examples)
        assert not asked[Split.SEARCH] & asked[Split.VALIDATION]
        assert not asked[Split.REPORT] & (asked[Split.SEARCH] | asked[Split.VALIDATION])
        assert not shown & (asked[Split.VALIDATION] | asked[Split.REPORT])
        ever_shown |= shown
    assert len(ever_shown) > 10


def test_a_prompt_does_not_depend_on_the_other_items(tokenizer: Any) -> None:
    drawn = skill(SkillTask("ev_drawn", "acc", num_fewshot=3))
    few = build_eval_set(tokenizer, drawn, sizes=SplitSizes(report=4))
    many = build_eval_set(tokenizer, drawn)
    prompts = [{q.item: q.requests[0].args for q in eval_set.tasks[0].items} for eval_set in (few, many)]
    assert len(prompts[0]) == 4 < len(prompts[1])
    assert prompts[0].items() <= prompts[1].items()
    assert few.uses[0].digest == many.uses[0].digest
    assert few.digest != many.digest


@pytest.mark.parametrize(("task", "same"), [("ev_drawn", False), ("ev_choice", True)], ids=["by a seed", "the first"])
def test_a_digest_follows_the_examples_that_are_shown(tokenizer: Any, task: str, same: bool) -> None:
    asked = [skill(SkillTask(task, "acc", num_fewshot=3))]
    tasks = load_tasks(asked, [FOLDER])
    eval_sets = [LmEvalSet.build(asked, tasks, Split.REPORT, ALL, seed, tokenizer) for seed in (SEED, SEED + 1)]
    prompts = [{q.item: q.requests[0].args for q in eval_set.tasks[0].items} for eval_set in eval_sets]
    twice = prompts[0].keys() & prompts[1].keys()
    assert twice
    assert same == all(prompts[0][item] == prompts[1][item] for item in twice)
    assert same == (eval_sets[0].uses[0].digest == eval_sets[1].uses[0].digest)


def test_a_task_digest_covers_its_own_rules_and_nothing_of_other_tasks(tokenizer: Any) -> None:
    use = SkillTask("ev_choice", "acc")

    def digest_of(use: SkillTask, *others: SkillTask, by: Any = tokenizer, chat: bool = False) -> str:
        return build_eval_set(by, skill(use, *others, chat=chat)).uses[0].digest

    chatty = make_word_tokenizer(SUM_WORDS)
    chatty.chat_template = CHAT_TEMPLATE
    known = digest_of(use)
    assert known == digest_of(SkillTask("ev_choice", "acc", weight=3.0), SkillTask("ev_likely", "acc"))
    assert known == digest_of(use, by=chatty)
    different = {
        "metric": digest_of(SkillTask("ev_choice", "acc_norm")),
        "task": digest_of(SkillTask("ev_drawn", "acc")),
        "examples": digest_of(SkillTask("ev_choice", "acc", num_fewshot=1)),
        "vocabulary": digest_of(use, by=make_word_tokenizer([*SUM_WORDS[:-2], SUM_WORDS[-1], SUM_WORDS[-2]])),
        "chat": digest_of(use, by=chatty, chat=True),
    }
    assert len({known, *different.values()}) == 1 + len(different)


def test_digests_cover_the_versions_of_what_computes_and_the_callers_setting(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = skill(SkillTask("ev_choice", "acc"))
    tasks = load_tasks([choice], [FOLDER])

    def digests(*setting: str) -> tuple[str, str]:
        eval_set = LmEvalSet.build([choice], tasks, Split.REPORT, ALL, SEED, tokenizer, setting=setting)
        return eval_set.digest, eval_set.uses[0].digest

    found = [digests(), digests("cpu"), digests("cuda"), digests("cpu", "batches of 8")]
    for module in ("lm_eval", "torch", "transformers"):
        with monkeypatch.context() as patch:
            patch.setattr(f"evaluation.harness.rules.{module}.__version__", "0.0.1")
            found.append(digests())
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.harness.rules.sources_digest", lambda *_: "other code")
        found.append(digests())
    assert digests() == found[0]
    assert len({one[0] for one in found}) == len({one[1] for one in found}) == len(found) == 8


def test_a_digest_follows_the_tasks_text_and_code_but_not_its_place(tokenizer: Any, tmp_path: Path) -> None:
    def digest_in(folder: Path, rules: str, code: str) -> str:
        folder.mkdir()
        (folder / "task.yaml").write_text(rules)
        (folder / "sums.py").write_text(code)
        error = skill(SkillTask("ev_error", "error"))
        return LmEvalSet.build([error], load_tasks([error], [folder]), Split.REPORT, ALL, SEED, tokenizer).digest

    rules, code = (FOLDER / "ev_error.yaml").read_text(), (FOLDER / "sums.py").read_text()
    known = digest_in(tmp_path / "here", rules, code)
    assert known == digest_in(tmp_path / "there", rules, code)
    assert known != digest_in(tmp_path / "rules", rules.replace("max_gen_toks: 2", "max_gen_toks: 3"), code)
    assert known != digest_in(tmp_path / "code", rules, code.replace("else 10", "else 11"))


@pytest.mark.parametrize(
    ("word", "use", "flag"),
    [
        ("<end>", SkillTask("ev_generate", "exact_match", "raw"), "empty"),
        (".", SkillTask("ev_generate", "exact_match", "raw"), "empty"),  # the stop word at once
        ("7", SkillTask("ev_generate", "exact_match", "raw"), "cut off"),  # five tokens are no loop yet
        ("7", SkillTask("ev_choice", "acc"), None),  # nothing is generated
    ],
)
def test_answers_are_flagged(tokenizer: Any, word: str, use: SkillTask, flag: str | None) -> None:
    eval_set = build_eval_set(tokenizer, skill(use))
    scores = eval_set.score(PlainLM(says_always(word), tokenizer, "cpu", 4))
    assert {score.flag for score in scores} == {flag}


def test_rounds_ask_everything_once_and_every_round_its_share_of_every_task(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.racing.decisions.FIRST_ROUND_ITEMS", 1)
    uses = (
        SkillTask("ev_generate", "exact_match", "raw"),
        SkillTask("ev_choice", "acc"),
        SkillTask("ev_choice", "acc_norm"),
    )
    lm = PlainLM(build_model(), tokenizer, "cpu", 8)
    eval_set = build_eval_set(tokenizer, skill(*uses))
    rounds = eval_set.rounds(3, lm)
    once = eval_set.rounds(1, lm)[0]
    assert once.digest == eval_set.digest and len({part.digest for part in (eval_set, *rounds)}) == 4
    for index, asked in enumerate(eval_set.uses):
        parts = [part.uses[index] for part in rounds]
        assert {part.digest for part in parts} == {asked.digest}
        assert tuple(item for part in parts for item in part.items) == asked.items
        assert [len(part.items) for part in parts] == [
            end - start for start, end in itertools.pairwise((0, *round_ends(len(asked.items), 3)))
        ]
    assert once.cost == 1 and [part.cost for part in rounds] == pytest.approx([0.25, 0.25, 0.5], abs=0.1)
    assert {score for part in rounds for score in part.score(lm)} == set(eval_set.score(lm))


def test_a_right_answer_counts_only_in_the_language_asked_for(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers, scored for three skills: without a language, with theirs and with another."""
    use = SkillTask("ev_generate", "exact_match", "last-digit")
    skills = [Skill(str(language), (use,), language=language) for language in (None, "ja", "en")]
    eval_set = build_eval_set(tokenizer, *skills)
    assert len({use.digest for use in eval_set.uses}) == 3
    rights = {item.item: str(item.doc["answer"]).strip()[-1] for item in eval_set.tasks[0].items}
    lm = PlainLM(build_model(), tokenizer, "cpu", 8)
    frames = itertools.cycle(["答えは{}です。", "The answer to this question is {}", "{}"])
    monkeypatch.setattr(
        lm,
        "generate_until",
        lambda asked, **_: [
            frame.format(str(one.doc["answer"]).strip()[-1]) for one, frame in zip(asked, frames, strict=False)
        ],
    )
    found = {(s.skill, s.item): (s.value, s.flag) for s in eval_set.score(lm)}
    items = list(rights)
    by_skill = {name: [found[name, item] for item in items[:3]] for name in ("None", "ja", "en")}
    assert by_skill["None"] == [(1.0, "ok")] * 3
    assert by_skill["ja"] == [(1.0, "ok"), (0.0, "other language"), (1.0, "no language")]
    assert by_skill["en"] == [(0.0, "other language"), (1.0, "ok"), (1.0, "no language")]


def test_an_answer_is_cut_off_exactly_if_it_ran_out_of_tokens(tokenizer: Any) -> None:
    eval_set = build_eval_set(tokenizer, skill(SkillTask("ev_generate", "exact_match", "raw")))
    model = build_model(seed=3)
    # Half of the answers to end by themselves: the stop words are made likely.
    with torch.no_grad():
        model.lm_head.weight[[0, 4]] *= 2
    flags = {s.item: s.flag for s in eval_set.score(PlainLM(model, tokenizer, "cpu", 8))}
    cut_off = {}
    for item in eval_set.tasks[0].items:
        prompt = tokenizer(item.requests[0].args[0], return_tensors="pt")["input_ids"]
        tokens = model.generate(prompt, max_new_tokens=5, do_sample=False)[0, prompt.shape[1] :].tolist()
        cut_off[item.item] = not {0, 4} & set(tokens)
    assert {item: flag == "cut off" for item, flag in flags.items()} == cut_off
    assert set(flags.values()) >= {"ok", "cut off"}
    assert set(cut_off.values()) == {True, False}


@pytest.mark.parametrize("use", [SkillTask("ev_choice", "acc"), SkillTask("ev_likely", "acc")])
def test_broken_weights_are_refused_not_scored(tokenizer: Any, use: SkillTask) -> None:
    model = build_model()
    model.lm_head.weight.data[3, 3] = float("nan")
    with pytest.raises(EvaluationError, match=f"{use.task}: the model's probabilities are not numbers"):
        build_eval_set(tokenizer, skill(use)).score(PlainLM(model, tokenizer, "cpu", 8))


def test_a_set_s_digest_tells_prompts_that_differ_each_time_that_they_are_made(tokenizer: Any, tmp_path: Path) -> None:
    """Seeds do not help against a task that counts, or that goes through a set of words."""
    code = "import itertools\nturns = itertools.count()\ndef asked(doc): return f'{next(turns)} {doc[\"question\"]}'\n"
    (tmp_path / "sums.py").write_text((FOLDER / "sums.py").read_text() + code)
    rules = (FOLDER / "ev_drawn.yaml").read_text()
    (tmp_path / "task.yaml").write_text(rules.replace('"{{question}}"', "!function sums.asked"))
    drawn = [skill(SkillTask("ev_drawn", "acc"))]
    tasks = load_tasks(drawn, [tmp_path])
    first, second = (LmEvalSet.build(drawn, tasks, Split.REPORT, ALL, SEED, tokenizer) for _ in range(2))
    assert first.items == second.items and first.digest != second.digest
    assert first.sample(0.5).digest != second.sample(0.5).digest


def test_the_example_prompts_are_those_that_models_are_asked(tokenizer: Any) -> None:
    skills = [
        skill(SkillTask("ev_generate", "exact_match", "raw", num_fewshot=2)),
        skill(SkillTask("ev_choice", "acc"), name="choice"),
        Skill("kept", (SkillTask("ev_choice", "acc_norm", num_fewshot=1),), in_search=False),
    ]
    suite = LmEvalSuite.load(skills, [FOLDER], ALL, SEED)
    shown = {one.skill: one for one in suite.example_prompts()}
    asked = {}
    for split in (Split.VALIDATION, Split.SEARCH):
        eval_set = suite.build(split, tokenizer, ())
        asked |= {task.metrics[0].skill: task.items[0] for task in eval_set.tasks}
    for name, one in shown.items():
        requests = asked[name].requests
        assert one.prompt == requests[0].args[0]
        assert one.expected == suite.tasks[one.task.partition(":")[0]].expected(asked[name].doc)
    assert shown["choice"].choices == tuple(request.args[1] for request in asked["choice"].requests)
    assert len(re.findall("=", shown["sums"].prompt)) == 3 and (shown["sums"].choices, shown["sums"].until) == (
        (),
        (".",),
    )
    assert [one.num_fewshot for one in shown.values()] == [2, 0, 1]


def test_a_continuation_without_tokens_is_refused_when_the_set_is_built(tmp_path: Path) -> None:
    """A tokenizer of words takes a question that ends without a space and the answer for one word."""
    rules = (FOLDER / "ev_likely.yaml").read_text()
    (tmp_path / "sums.py").write_text((FOLDER / "sums.py").read_text())
    (tmp_path / "task.yaml").write_text(rules.replace('"{{question}} "', '"{{question}}"'))
    likely = skill(SkillTask("ev_likely", "acc"))
    tasks = load_tasks([likely], [tmp_path])
    with pytest.raises(EvaluationError) as refusal:
        LmEvalSet.build([likely], tasks, Split.REPORT, ALL, SEED, make_word_tokenizer(SUM_WORDS))
    found = re.fullmatch(
        r"task ev_likely: item (\w{16}): '(\d)' after '(.*) =' has no tokens of its own, .*"
        r"set target_delimiter \(now ''\), or correct the target",
        str(refusal.value),
    )
    assert found is not None
    doc = tasks["ev_likely"].document(found[1])
    assert (doc["question"], doc["answer"]) == (f"{found[3]} =", found[2])


@pytest.mark.parametrize(
    ("context", "continuation", "lost"),
    [
        ("1 +", " 2", False),
        ("1 + ", "2", False),  # lm-eval moves the space to the continuation
        ("1 +", "2", True),
        ("1 +", "", True),
        ("1 + ", "", True),
        ("", "2", False),
        ("", "", True),
        ("", "<end>", True),  # stands for the empty context
        ("", "<end> 2", False),
    ],
)
def test_lost_continuations_are_those_that_lm_eval_encodes_to_nothing(
    tokenizer: Any, context: str, continuation: str, lost: bool
) -> None:
    request = Instance("loglikelihood", {}, (context, continuation), 0)
    assert (find_lost_continuation([request], tokenizer) is not None) == lost
    if context or continuation:  # lm-eval's own code fails with an IndexError where both are empty
        lm = EngineLM(build_model(), tokenizer, "cpu", 1)
        [(_, tokens)] = lm.pairs([request])
        assert (not tokens) == lost


def test_more_tokens_than_the_model_has_positions_are_refused(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    eval_set = build_eval_set(tokenizer, skill(SkillTask("ev_generate", "exact_match", "raw")))
    with pytest.raises(EvaluationError, match=r"ev_generate: the model cannot answer: .*\(5\).*\(4\)"):
        eval_set.score(PlainLM(build_model(positions=4), tokenizer, "cpu", 8))
    monkeypatch.setattr("evaluation.racing.decisions.FIRST_ROUND_ITEMS", 1)
    with pytest.raises(EvaluationError, match=r"the model cannot answer: .*\(5\).*\(4\)"):
        eval_set.rounds(2, EngineLM(build_model(positions=4), tokenizer, "cpu", 8))


def test_one_set_of_answers_serves_two_metrics_of_two_skills(tokenizer: Any) -> None:
    first = skill(SkillTask("ev_choice", "acc"), name="first")
    second = skill(SkillTask("ev_choice", "acc_norm"), SkillTask("ev_choice", "acc"), name="second")
    eval_set = build_eval_set(tokenizer, first, second)
    alone = build_eval_set(tokenizer, first)
    assert len(eval_set.tasks) == 1 and len(eval_set.tasks[0].requests) == len(alone.tasks[0].requests)
    scores = eval_set.score(PlainLM(build_model(), tokenizer, "cpu", 8))
    assert len({(s.skill, s.task, s.item) for s in scores}) == len(scores) == 3 * len(alone.uses[0].items)
    again = [[s.value for s in scores if (s.skill, s.task) == (n, "ev_choice:acc")] for n in ("first", "second")]
    assert again[0] == again[1]


def test_equal_documents_are_one_item(tokenizer: Any) -> None:
    likely = skill(SkillTask("ev_likely", "acc"))
    tasks = load_tasks([likely], [FOLDER])
    eval_sets = [LmEvalSet.build([likely], tasks, split, ALL, SEED, tokenizer) for split in Split]
    items = [item for eval_set in eval_sets for item in eval_set.uses[0].items]
    assert len(items) == len(set(items)) == len(tasks["ev_likely"].task.eval_docs) - 1


def test_a_split_without_items_and_too_few_examples_are_refused(tokenizer: Any) -> None:
    likely = skill(SkillTask("ev_likely", "acc"))
    tasks = load_tasks([likely], [FOLDER])
    tasks["ev_likely"] = only(tasks["ev_likely"], 1)
    with pytest.raises(EvaluationError, match=r"ev_likely: its 1 documents, .*, leave none for the"):
        LmEvalSet.build([likely], tasks, Split.SEARCH, ALL, SEED, tokenizer)
    with pytest.raises(EvaluationError, match=r"num_fewshot is 99; lower it"):
        build_eval_set(tokenizer, skill(SkillTask("ev_drawn", "acc", num_fewshot=99)))


def only(loaded: LoadedTask, count: int) -> LoadedTask:
    loaded.task.dataset["test"] = loaded.task.dataset["test"].select(range(count))
    return LoadedTask(loaded.name, loaded.task)


def test_nothing_is_printed_and_logging_is_left_as_it_was(tokenizer: Any, capfd: Any) -> None:
    logger = logging.getLogger("lm_eval")
    before = logger.level
    eval_set = build_eval_set(
        tokenizer, skill(SkillTask("ev_generate", "exact_match", "raw"), SkillTask("ev_choice", "acc"))
    )
    eval_set.score(PlainLM(build_model(positions=16), tokenizer, "cpu", 8))
    assert capfd.readouterr() == ("", "")
    assert logger.level == before


def test_a_lower_is_better_metric_counts_downwards(tokenizer: Any) -> None:
    error = skill(SkillTask("ev_error", "error"))
    tasks = load_tasks([error], [FOLDER])
    scores = build_eval_set(tokenizer, error).score(PlainLM(says_always("7"), tokenizer, "cpu", 8))
    assert min(score.value for score in scores) == 0 and mean(scores, "ev_error:error") > 0
    directions = {"ev_error:error": tasks["ev_error"].higher_is_better("error")}
    assert not directions["ev_error:error"]
    worse = build_eval_set(tokenizer, error).score(PlainLM(says_always("+"), tokenizer, "cpu", 8))
    sums = [skill_scores([error], directions, s)["sums"] for s in (scores, worse)]
    assert sums == [-mean(scores, "ev_error:error"), -10.0]
