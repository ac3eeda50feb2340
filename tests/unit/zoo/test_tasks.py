"""The shipped models under lm-eval's own evaluation, loaded as a stranger would load them."""

import functools
import json
import re
import sys
from pathlib import Path

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from zoo.questions import TASKS, deal
from zoo.repo import MODELS, WEIGHTS
from zoo.train import ids

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

METRICS = {
    "zoo_math_en": "acc,none",
    "zoo_math_ja": "acc,none",
    "zoo_translation": "exact_match,statement",
}


def _evaluate(folder: Path, limit: int) -> dict[str, float]:
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    lm = HFLM(model, tokenizer=AutoTokenizer.from_pretrained(folder), batch_size=64, device="cpu")
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    results = lm_eval.simple_evaluate(
        lm, tasks=list(METRICS), task_manager=manager, limit=limit, bootstrap_iters=0, log_samples=False
    )["results"]
    return {task: results[task][metric] for task, metric in METRICS.items()}


@pytest.mark.parametrize("name", ["base", "math", "language"])
def test_a_model_reaches_the_scores_on_its_card(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = WEIGHTS / name
    card = (folder / "README.md").read_text("utf-8")
    stated = {task: float(re.search(rf"`{task}` \| ([01]\.\d+)", card).group(1)) for task in METRICS}
    for task, score in _evaluate(folder, limit=150).items():
        # 150 of the questions behind the card's figure: three standard errors at most
        assert score == pytest.approx(stated[task], abs=0.12), task


def test_the_tasks_run_with_lm_eval_s_own_command_line(tmp_path, monkeypatch):
    """From any folder. It passes the model's arguments to a task's code, which once took them for data files."""
    from lm_eval._cli import HarnessCLI

    # Without its own tasks, whose index alone takes 14 s.
    monkeypatch.setattr("lm_eval.tasks.TaskManager", functools.partial(TaskManager, include_defaults=False))
    monkeypatch.chdir(tmp_path)
    command = ["lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={WEIGHTS / 'math'},dtype=float32"]
    command += ["--tasks", ",".join(METRICS), "--include_path", str(TASKS), "--device", "cpu", "--limit", "8"]
    monkeypatch.setattr(sys, "argv", [*command, "--batch_size", "8", "--output_path", str(tmp_path / "results")])
    cli = HarnessCLI()
    cli.execute(cli.parse_args())
    [path] = (tmp_path / "results").rglob("results_*.json")
    found = json.loads(path.read_text("utf-8"))["results"]
    assert {task: found[task][metric] for task, metric in METRICS.items()} == _evaluate(WEIGHTS / "math", limit=8)
    assert found["zoo_math_en"]["acc,none"] == 1.0


def test_the_tokenizer_gives_the_ids_of_training_and_reads_back_what_was_written():
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "base")
    questions = [question for _, dealt in deal() for question in dealt[:200]]
    for question in questions:
        whole = f"{question['prompt']} {question['answer']}"
        assert tokenizer.encode(whole) == ids(whole)
        assert tokenizer.decode(ids(question["answer"]), skip_special_tokens=True) == question["answer"].removesuffix(
            "</s>"
        )
    assert tokenizer.unk_token_id not in tokenizer.encode(" ".join(q["prompt"] for q in questions))


def test_the_example_on_the_cards_runs(capsys):
    for repo, folder in MODELS.items():
        card = (folder / "README.md").read_text("utf-8")
        code, shown = re.search(r"```python\n(.*?)```.*?`([^`]+)`", card, re.DOTALL).groups()
        exec(code.replace(f'"{repo}"', f'"{folder}"'), {})
        assert capsys.readouterr().out.strip() == shown


def test_the_three_models_are_small_and_of_one_shape():
    sizes = {(folder / "model.safetensors").stat().st_size for folder in MODELS.values()}
    assert len(sizes) == 1 and sizes.pop() < 2_000_000
    assert len({(folder / "tokenizer.json").read_bytes() for folder in MODELS.values()}) == 1
