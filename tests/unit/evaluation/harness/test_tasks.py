import random
import re
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from evaluation.answers.ask import LONGEST_SHOWN, MAX_TOKENS, most_tokens
from evaluation.errors import EvaluationError, TaskDataError
from evaluation.eval_set import TaskDescription
from evaluation.harness.loading import load_tasks
from evaluation.harness.suite import LmEvalSuite
from evaluation.harness.tasks import divide_tasks
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.folders import TASKS

pytestmark = pytest.mark.slow

FOLDER = TASKS


def load(*uses: SkillTask, folder: Path = FOLDER):
    return load_tasks([Skill("skill", uses)], [folder])


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            SkillTask("ev_choice", "acc_nrom"),
            r"unknown metric 'acc_nrom' of task ev_choice \(did you mean acc_norm.*\?\); it has acc, acc_norm, brier",
        ),
        (
            SkillTask("ev_choice", "brier_score"),
            "brier_score gives no number per item but a tuple; use acc or acc_norm",
        ),
        (SkillTask("ev_likely", "perplexity"), "metric perplexity is not a mean over items; use acc"),
        (SkillTask("ev_rolling", "bits_per_byte"), "no metric of this task can be used; use a task with acc"),
        (SkillTask("ev_error", "answer"), "unknown metric 'answer' of task ev_error; it has error"),
        (
            SkillTask("ev_generate", "exact_match"),
            "ev_generate has several filters; set filter to one of raw, l",
        ),
        (
            SkillTask("ev_generate", "exact_match", "last-digits"),
            r"unknown filter 'last-digits' of task ev_generate \(did you mean last-digit\?\); it has raw, last-digit",
        ),
        (SkillTask("ev_error", "error", num_fewshot=2), "num_fewshot is 2, but task ev_error fixes it at 0"),
        (SkillTask("ev_sampled", "error"), "generation_kwargs.do_sample: got True: it samples, so no two scores agree"),
        (
            SkillTask("ev_group", "acc"),
            "'ev_group' is not one task but a group of lm-eval; .*: ev_choice, ev_likely",
        ),
        (
            SkillTask("ev_tagged", "acc"),
            "'ev_tagged' is not one task but a tag of lm-eval; .*: ev_choice, ev_likely",
        ),
    ],
)
def test_a_use_that_cannot_be_scored_is_refused_with_those_that_can(use: SkillTask, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load(use)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            SkillTask("ev_choice", "acc"),
            r"skill sums: language is ja: task ev_choice generates no text \(multiple_choice\), .* leave language out",
        ),
        (
            SkillTask("ev_error", "error"),
            "language is ja, but error of task ev_error is better when lower, and answers in other languages count 0",
        ),
    ],
)
def test_a_language_needs_generated_answers_that_can_count_as_wrong(use: SkillTask, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        load_tasks([Skill("sums", (use,), language="ja")], [FOLDER])


def test_an_unknown_task_is_refused_with_similar_names_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "sound.yaml").write_text("task: rather_odd_sums\noutput_type: generate_until\n")
    (tmp_path / "broken.yaml").write_text("task: [unfinished\n")
    with pytest.raises(EvaluationError) as refusal:
        load(SkillTask("rather_od_sums", "acc"), folder=tmp_path)
    assert "unknown task 'rather_od_sums' (did you mean rather_odd_sums" in str(refusal.value)
    assert f"not readable: {tmp_path / 'broken.yaml'} (ParserError)" in str(refusal.value)


def test_a_missing_task_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"task folder .*nowhere: no such folder; correct task_folders"):
        load(SkillTask("ev_choice", "acc"), folder=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("task", "data_set"), [("ev_hub", "nobody/no-such-data"), ("arc_easy", "allenai/ai2_arc ARC-Easy")]
)
def test_data_that_cannot_be_reached_is_reported_at_once(
    task: str, data_set: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    start = time.monotonic()
    with pytest.raises(EvaluationError, match=f"task {task}: its data set {data_set} is not on this machine"):
        load(SkillTask(task, "acc"))
    assert time.monotonic() - start < 10  # `datasets` alone goes on trying for 23 s


@pytest.mark.parametrize(
    ("use", "prompt", "expected"),
    [
        (SkillTask("ev_choice", "acc"), "0 + 3 =", "3"),
        (SkillTask("ev_before", "acc"), "0", "= 0"),
        (SkillTask("ev_generate", "exact_match", "raw"), "0 + 3 =", "3"),
    ],
)
def test_a_document_has_its_prompt_and_right_answer_as_plain_text(use: SkillTask, prompt: str, expected: str) -> None:
    loaded = load(use)[use.task]
    doc = next(iter(loaded.test.values()))
    assert (loaded.prompt(doc), loaded.expected(doc)) == (prompt, expected)


def test_an_answer_is_as_long_as_the_task_allows_and_a_card_has_room_for() -> None:
    assert most_tokens({"until": ["."], "max_gen_toks": 12}) == 12
    assert most_tokens({"max_gen_toks": 4096}) == most_tokens({"until": ["."]}) == LONGEST_SHOWN
    assert most_tokens(None) == MAX_TOKENS


def test_all_tasks_whose_data_are_missing_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(TaskDataError) as refusal:
        load(SkillTask("ev_hub", "acc"), SkillTask("arc_easy", "acc"), SkillTask("ev_choice", "acc"))
    assert [line.split(":")[0] for line in str(refusal.value).splitlines()] == ["task arc_easy", "task ev_hub"]


def test_a_data_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "local.yaml").write_text(
        f"task: local\ndataset_path: json\ndataset_kwargs:\n  data_files: {{test: {tmp_path}/gone.jsonl}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\n"
    )
    with pytest.raises(
        EvaluationError, match=r"task local: it cannot be loaded: .*gone\.jsonl.*beside the task's file"
    ):
        load(SkillTask("local", "exact_match"), folder=tmp_path)


def write_task(folder: Path, **changed: str) -> Path:
    """A task of three documents in a file beside it, which asks for the answer to each question."""
    keys = {
        "task": "local",
        "dataset_path": "json",
        "dataset_kwargs": "{data_files: {test: data/questions.jsonl}}",
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": '"{{question}}"',
        "doc_to_target": '"{{answer}}"',
    }
    (folder / "data").mkdir(parents=True)
    rows = "".join(f'{{"question": "{n} + {n} =", "answer": "{2 * n}"}}\n' for n in range(3))
    (folder / "data" / "questions.jsonl").write_text(rows)
    (folder / "local.yaml").write_text("".join(f"{key}: {value}\n" for key, value in (keys | changed).items()))
    return folder


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (RepositoryNotFoundError, "is not on this machine, and http"),
        (RevisionNotFoundError, "is not on this machine, and http"),
        (GatedRepoError, "is gated; accept its terms on the Hub with the token's account"),
    ],
)
def test_data_that_the_hub_refuses_while_they_are_read_are_missing_data(
    kind: type[HfHubHTTPError], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` remembers where it found a data set, and meets the Hub's answer only at one of its files."""
    rules = "task: elsewhere\ndataset_path: allenai/ai2_arc\ndoc_to_text: a\ndoc_to_target: b\n"
    (tmp_path / "task.yaml").write_text(rules)

    def refuse(*_: object, **__: object) -> None:
        raise kind("401 Client Error", response=httpx2.Response(401, request=httpx2.Request("GET", "http://hub")))

    monkeypatch.setattr("evaluation.harness.loading._from_cache_or_hub", refuse)
    with pytest.raises(TaskDataError, match=f"^task elsewhere: its data set allenai/ai2_arc {reason}"):
        load(SkillTask("elsewhere", "acc"), folder=tmp_path)


def test_data_files_are_looked_up_beside_the_task_s_file_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = write_task(tmp_path / "elsewhere")
    (elsewhere / "data" / "questions.jsonl").write_text('{"question": "?", "answer": "!"}\n')
    folder = write_task(tmp_path / "tasks")
    monkeypatch.chdir(elsewhere)
    use = SkillTask("local", "exact_match")
    questions = [doc["question"] for doc in load(use, folder=folder)["local"].test.values()]
    assert questions == ["0 + 0 =", "1 + 1 =", "2 + 2 ="]
    (folder / "data" / "questions.jsonl").unlink()
    assert [doc["question"] for doc in load(use, folder=folder)["local"].test.values()] == ["?"]


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"doc_to_text": "'Question:'"}, "every prompt is 'Question:'; name a column, such as {{question}}"),
        ({"doc_to_text": "frage"}, "every prompt is 'frage'"),
        ({"doc_to_text": "question"}, None),
        (
            {"output_type": "multiple_choice", "doc_to_text": "'Which?'", "doc_to_choice": "['a', 'b']"},
            "every prompt is 'Which?'",
        ),
        (
            {"output_type": "multiple_choice", "doc_to_text": "'Which?'", "doc_to_choice": '"{{[question, answer]}}"'},
            None,
        ),
    ],
)
def test_a_template_that_makes_every_prompt_the_same_is_refused(
    changed: dict[str, str], shown: str | None, tmp_path: Path
) -> None:
    metric = "exact_match"
    if "output_type" in changed:
        metric, changed = "acc", changed | {"doc_to_target": "0"}
    folder = write_task(tmp_path / "tasks", **changed)
    if shown is None:
        assert len(load(SkillTask("local", metric), folder=folder)["local"].test) == 3
        return
    with pytest.raises(EvaluationError, match=re.escape(f"task local: doc_to_text: {shown}")):
        load(SkillTask("local", metric), folder=folder)


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ("{temperature: 0.7}", "generation_kwargs.temperature: got 0.7: it samples"),
        ("{do_sample: true, temperature: 0.7}", "generation_kwargs.do_sample: got True: it samples"),
        ("{temperature: warm}", "it cannot be loaded: ValueError: could not convert string to float: 'warm'"),
        ("{do_sample: false, temperature: 1}", None),
        ("{temperature: 0.0}", None),
    ],
)
def test_a_task_that_samples_its_answers_is_refused(options: str, refusal: str | None, tmp_path: Path) -> None:
    folder = write_task(tmp_path / "tasks", generation_kwargs=options)
    if refusal is None:
        assert "local" in load(SkillTask("local", "exact_match"), folder=folder)
        return
    with pytest.raises(EvaluationError, match=refusal):
        load(SkillTask("local", "exact_match"), folder=folder)


def test_a_task_that_shuffles_without_a_seed_has_the_same_items_in_every_state_of_the_process() -> None:
    """As lm-eval's gpqa: its choices are shuffled anew each time that its documents are read."""

    def items(state: int) -> list[str]:
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        loaded = load(SkillTask("ev_shuffled", "acc"))["ev_shuffled"]
        expected = random.Random(state).random(), np.random.RandomState(state).random()
        found = [*loaded.test, *loaded.training, *loaded.examples]
        assert (random.random(), np.random.random()) == expected  # the process's own draws go on as before
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(state))
        return found

    assert len(set(items(1))) > 40
    assert items(1) == items(2)


def test_every_use_of_a_task_is_described() -> None:
    def facts(skill: Skill) -> TaskDescription:
        (description,) = LmEvalSuite.load([skill], [FOLDER], SplitSizes(search=10, report=7), seed=1).describe()
        return description

    own = facts(Skill("own", (SkillTask("ev_choice", "acc", num_fewshot=2),)))
    shared = facts(Skill("shared", (SkillTask("ev_error", "error"),)))
    assert (own.skill, own.num_fewshot, own.higher_is_better, own.own_search) == ("own", 2, True, True)
    assert (shared.metric, shared.filter, shared.num_fewshot) == ("error", "none", 0)
    assert (shared.higher_is_better, shared.own_search) == (False, False)
    assert own.items[Split.SEARCH] == shared.items[Split.SEARCH] == 10
    assert own.items[Split.REPORT] == shared.items[Split.REPORT] == 7
    assert own.items[Split.VALIDATION] > 7


def test_a_skill_that_the_search_does_not_ask_gives_all_items_to_the_other_splits() -> None:
    searched = Skill("searched", (SkillTask("ev_choice", "acc"),))
    kept = Skill("kept", (SkillTask("ev_error", "error"), SkillTask("ev_choice", "acc_norm")), in_search=False)
    suite = LmEvalSuite.load([searched, kept], [FOLDER], SplitSizes(), seed=1)
    items = {(one.skill, one.task): one.items for one in suite.describe()}
    assert items["searched", "ev_choice"][Split.SEARCH] > 0
    assert items["kept", "ev_error"][Split.SEARCH] == items["kept", "ev_choice"][Split.SEARCH] == 0
    shared = items["kept", "ev_choice"]
    assert {split: shared[split] for split in (Split.VALIDATION, Split.REPORT)} == {
        split: items["searched", "ev_choice"][split] for split in (Split.VALIDATION, Split.REPORT)
    }


@pytest.mark.parametrize("task", ["ev_drawn", "ev_before"])
def test_the_example_prompt_is_the_plain_text_of_a_search_item(task: str) -> None:
    skills = [Skill("sums", (SkillTask(task, "acc"), SkillTask("ev_error", "error")), chat_template=True)]
    suite = LmEvalSuite.load(skills, [FOLDER], SplitSizes(), seed=1)
    tasks, prompt = suite.tasks, suite.example_prompt()
    searched = [
        tasks[task].document(item) for item in divide_tasks(skills, tasks, 1, SplitSizes())[task].items[Split.SEARCH]
    ]
    known = {"ev_drawn": "question", "ev_before": "choices"}[task]
    text = searched[0][known]
    assert prompt == (text if isinstance(text, str) else text[searched[0]["gold"]])
