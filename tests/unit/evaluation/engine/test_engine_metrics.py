"""lm-eval's own evaluation of whole tasks gives the same metrics, whether its HFLM answers or the engine."""

from typing import Any

import lm_eval
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evaluation.harness.engine_lm import EngineLM
from fixtures.engine import CHAT_TEMPLATE, SUM_WORDS, make_model, make_word_tokenizer
from fixtures.folders import TASKS

pytestmark = pytest.mark.slow

MANAGER = TaskManager(include_path=str(TASKS), include_defaults=False)


def evaluated(lm: HFLM, tasks: list[str], shots: int, *, chat: bool) -> dict[str, dict[str, Any]]:
    """Metrics by task."""
    loaded = MANAGER.load(tasks)
    for task in loaded["tasks"].values():
        task.set_config("num_fewshot", shots)
        task.set_fewshot_seed(1)
    found: Any = lm_eval.evaluate(
        lm, loaded, limit=16, bootstrap_iters=0, apply_chat_template=chat, fewshot_as_multiturn=chat
    )
    return {
        task: {name: value for name, value in metrics.items() if isinstance(value, float)}
        for task, metrics in found["results"].items()
    }


@pytest.mark.parametrize(
    ("family", "tasks", "shots", "chat"),
    [
        ("llama", ["ev_choice", "ev_generate", "ev_drawn"], 2, True),
        ("qwen3", ["ev_choice", "ev_generate", "ev_likely"], 2, False),
        ("gemma2", ["ev_choice", "ev_generate", "ev_rolling"], 0, False),
        ("gpt2", ["ev_generate", "ev_likely", "ev_drawn"], 0, False),
    ],
)
def test_metrics_are_those_of_lm_eval(family: str, tasks: list[str], shots: int, chat: bool) -> None:
    coded = make_word_tokenizer(SUM_WORDS)
    coded.chat_template = CHAT_TEMPLATE if chat else None
    made = make_model(family, vocab_size=len(SUM_WORDS), bos_token_id=None, eos_token_id=0)
    expected = evaluated(HFLM(pretrained=made, tokenizer=coded, batch_size=4), tasks, shots, chat=chat)
    own = EngineLM(made, coded, "cpu", 4)
    assert own.engine.generation_refused is None
    found = evaluated(own, tasks, shots, chat=chat)
    assert found.keys() == expected.keys() == set(tasks)
    for task in tasks:
        assert found[task] == pytest.approx(expected[task], rel=1e-5)
    assert {value not in (0.0, 1.0) for metrics in found.values() for value in metrics.values()} == {True, False}
