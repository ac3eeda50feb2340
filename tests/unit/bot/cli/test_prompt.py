"""`shoal prompt`: a prompt before a run, as text and as JSON."""

from __future__ import annotations

import json

import pytest
import typer

from bot.cli.prompt import layout_prompt, prompt_command
from bot.watchlist.load import load_watchlist
from evaluation.eval_set import ExamplePrompt
from fixtures.folders import ROOT

DEMO = ROOT / "watchlists" / "demo.yml"
NAMES = [asked.name for asked in load_watchlist(DEMO).asked_skills]
"""Its skills and guards."""


def example(**changed: object) -> ExamplePrompt:
    values: dict[str, object] = {
        "skill": "math",
        "task": "sums:acc",
        "num_fewshot": 0,
        "chat_template": False,
        "prompt": "1 + 1 =\x1b ",
        "choices": (" 2", " 3"),
        "until": (),
        "expected": "2",
    }
    return ExamplePrompt(**(values | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "head", "foot"),
    [
        ({}, "math: sums:acc, no examples", "the prompt ends with ' '; scored after it: ' 2' | ' 3'; right: '2'"),
        (
            {"num_fewshot": 1, "chat_template": True, "prompt": "1 =", "choices": (), "until": ("\n",)},
            "math: sums:acc, 1 example; put into the chat template of the models",
            "the model's answer ends at '\\n'; right: '2'",
        ),
        (
            {"num_fewshot": 5, "prompt": "a", "choices": ()},
            "math: sums:acc, 5 examples",
            "the text itself is scored; right: '2'",
        ),
    ],
)
def test_a_prompt_is_shown_with_what_is_scored_after_it(changed: dict[str, object], head: str, foot: str) -> None:
    first, *prompt, last = layout_prompt(example(**changed)).splitlines()
    assert (first, last) == (f"--- {head} ---", f"--- {foot} ---")
    assert prompt == [str(changed.get("prompt", "1 + 1 =\ufffd "))]  # no control characters


def test_the_prompts_of_one_skill_or_all_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    prompt_command(DEMO, "math")
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "--- math: zoo_math_en:acc, no examples ---" and len(shown) == 3
    prompt_command(DEMO, as_json=True)
    found = json.loads(capsys.readouterr().out)["prompts"]
    assert [one["skill"] for one in found] == NAMES and NAMES[:3] == ["math", "language", "cross"]
    assert found[0]["prompt"] in shown[1] and found[1]["until"] == ["?", "</s>"]


def test_an_unknown_skill_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        prompt_command(DEMO, "maths")
    assert "SKILL: got 'maths': is not in" in (fault := capsys.readouterr().err)
    assert fault.endswith(f"choose from {', '.join(NAMES)}\n")
