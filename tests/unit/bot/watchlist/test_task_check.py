"""The tasks of a watchlist against lm-eval's task files, without lm-eval: file, line, key, value and remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bot.errors import ShoalError
from bot.watchlist.load import load_watchlist
from evaluation.harness import task_files
from fixtures.folders import ROOT, TASKS

HEAD = "name: fish\nwatch: {tags: [fish]}\npublish: {mode: off}\n"


def faults_of(folder: Path, text: str) -> list[str]:
    """The faults in these lines, which follow three others in the file, each without the file's name."""
    path = folder / "w.yml"
    path.write_text(HEAD + text, encoding="utf-8")
    assert load_watchlist(path).name == "fish"  # its keys are right
    with pytest.raises(ShoalError) as caught:
        load_watchlist(path, with_tasks=True)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_unknown_tasks_metrics_and_filters_are_named_with_their_lines(tmp_path: Path) -> None:
    """Of the tasks that lm-eval ships."""
    text = """\
skills:
  - name: math
    language: ja
    tasks:
      - {task: gsm8k, metric: exact_mach}
      - {task: arc_eazy, metric: acc}
      - task: arc_easy
        metric: acc
        filter: nun
      - {task: mmlu, metric: acc}
      - {task: gsm8k_cot, metric: exact_match, filter: strict-match, num_fewshot: 4}
      - {task: mgsm_direct_ja, metric: exact_match, filter: flexible-extract}
      - {task: ai2_arc, metric: acc}
"""
    assert faults_of(tmp_path, text) == [
        "6: skills[0].language: got 'ja': task arc_easy generates no text (multiple_choice), so its answers have no "
        "language; leave language out, or use a task that generates its answers",
        "8: skills[0].tasks[0].filter: got nothing: task gsm8k has several filters; set filter to one of strict-match, "
        "flexible-extract",
        "8: skills[0].tasks[0].metric: got 'exact_mach': unknown metric 'exact_mach' of task gsm8k (did you mean "
        "exact_match?); it has exact_match",
        "9: skills[0].tasks[1].task: got 'arc_eazy': unknown task 'arc_eazy' (did you mean arc_easy, arc_eu_easy, "
        "arc_ca_easy?); see `lm_eval ls tasks`, or add a task folder",
        "12: skills[0].tasks[2].filter: got 'nun': unknown filter 'nun' of task arc_easy; it has none",
        "13: skills[0].tasks[3].task: got 'mmlu': 'mmlu' is not one task but a group of lm-eval; list its members one "
        "by one: mmlu_humanities, mmlu_other, mmlu_social_sciences, mmlu_stem",
        "16: skills[0].tasks[6].task: got 'ai2_arc': 'ai2_arc' is not one task but a tag of lm-eval; list its members "
        "one by one: arc_challenge, arc_easy",
    ]


def test_tasks_of_one_s_own_folders_come_first_and_alone_cost_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's metrics may be functions and come from an included file."""
    (tmp_path / "common").write_text("output_type: multiple_choice\nmetric_list: [{metric: !function own.share}]\n")
    (tmp_path / "gsm8k.yaml").write_text("include: common\ntask: gsm8k\ntag: [mine]\nnum_fewshot: 0\n")
    genuine = task_files._search_shipped
    monkeypatch.setattr(task_files, "_search_shipped", lambda names: pytest.fail("looks") if names else genuine(()))
    good = "task_folders: [.]\nskills: [{name: math, tasks: [{task: gsm8k, metric: share}]}]\n"
    (tmp_path / "good.yml").write_text(HEAD + good)
    assert load_watchlist(tmp_path / "good.yml", with_tasks=True).name == "fish"
    bad = "task_folders: [.]\nskills: [{name: math, tasks: [{task: gsm8k, metric: acc, num_fewshot: 2}]}]\n"
    assert faults_of(tmp_path, bad) == [
        "5: skills[0].tasks[0].metric: got 'acc': unknown metric 'acc' of task gsm8k; it has share",
        "5: skills[0].tasks[0].num_fewshot: got 2: num_fewshot is 2, but task gsm8k fixes it at 0; leave it out",
    ]
    tagged = "task_folders: [.]\nskills: [{name: math, tasks: [{task: mine, metric: acc}]}]\n"
    (fault,) = faults_of(tmp_path, tagged)
    assert fault.endswith("'mine' is not one task but a tag of lm-eval; list its members one by one: gsm8k")


def test_a_check_of_tasks_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys; from pathlib import Path; from evaluation.harness.task_files import find_task_files;"
        f"print(find_task_files(['sciq', 'ev_choice'], [Path({str(TASKS)!r})]).refused,"
        "[name for name in ('lm_eval', 'torch', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "{} []"
