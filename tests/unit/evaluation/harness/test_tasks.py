import time
from pathlib import Path

import pytest

from evaluation.errors import EvaluationError
from evaluation.eval_set import TaskDescription
from evaluation.harness.suite import LmEvalSuite
from evaluation.harness.tasks import divide_tasks, load_tasks
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
            r"ev_choice: unknown metric 'acc_nrom' \(did you mean acc_norm.*\?\)",
        ),
        (
            SkillTask("ev_choice", "brier_score"),
            "brier_score gives no number per item but a tuple; use acc or acc_norm",
        ),
        (SkillTask("ev_likely", "perplexity"), "metric perplexity is not a mean over items; use acc"),
        (SkillTask("ev_rolling", "bits_per_byte"), "no metric of this task can be used; use a task with acc"),
        (SkillTask("ev_error", "answer"), "metric answer gives no number per item but a str; use error"),
        (SkillTask("ev_generate", "exact_match"), "ev_generate: set filter to one of raw, last-digit"),
        (
            SkillTask("ev_generate", "exact_match", "last-digits"),
            r"unknown filter 'last-digits' \(did you mean last-digit\?\); it has raw, last-digit",
        ),
        (SkillTask("ev_error", "error", num_fewshot=2), "num_fewshot is 2, but the task fixes it at 0"),
        (SkillTask("ev_sampled", "error"), "ev_sampled: do_sample is true, so no two scores agree"),
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
            r"skill sums: language is ja, but task ev_choice generates no text \(multiple_choice\); leave language out",
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


def test_a_data_file_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "local.yaml").write_text(
        f"task: local\ndataset_path: json\ndataset_kwargs:\n  data_files: {{test: {tmp_path}/gone.jsonl}}\n"
        "test_split: test\noutput_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\n"
    )
    with pytest.raises(EvaluationError, match=r"task local: it cannot be loaded: .*gone\.jsonl"):
        load(SkillTask("local", "exact_match"), folder=tmp_path)


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


@pytest.mark.parametrize("task", ["ev_drawn", "ev_before"])
def test_the_example_prompt_is_the_plain_text_of_a_search_item(task: str) -> None:
    skills = [Skill("sums", (SkillTask(task, "acc"), SkillTask("ev_error", "error")), chat_template=True)]
    suite = LmEvalSuite.load(skills, [FOLDER], SplitSizes(), seed=1)
    tasks, prompt = suite.tasks, suite.example_prompt()
    searched = [tasks[task].document(item) for item in divide_tasks(tasks, 1, SplitSizes())[task].items[Split.SEARCH]]
    known = {"ev_drawn": "question", "ev_before": "choices"}[task]
    text = searched[0][known]
    assert prompt == (text if isinstance(text, str) else text[searched[0]["gold"]])
