import subprocess
import sys

import pytest

from evaluation.answers.degenerate import degenerate_share, flag_answer


@pytest.mark.parametrize(
    "text",
    [
        "7 7 7 7 7 7",
        "The answer is 22. The answer is 22. The answer is 22. The answer is 22. The",
        "So we add 3 and 4, then 7 and so on and so on and so on and so on",
        "答えは二十二です。答えは二十二です。答えは二十二です。答えは二十二です。",
        "!" * 40,
        "22\n\n22\n\n22\n\n22\n\n22\n\n22\n",
        "1. The answer is 5. 2. The answer is 5. 3. The answer is 5. 4. The answer is 5. 5. The answer",
        "الجواب هو خمسة. الجواب هو خمسة. الجواب هو خمسة. الجواب هو خمسة.",
        "คำตอบคือสิบสองคำตอบคือสิบสองคำตอบคือสิบสองคำตอบคือสิบสองคำตอบ",
        "まず三と四を足すと七になり、それから五を引くと二になるので、答えは二であると分かります。もう一度考えます。"
        * 4,
        "Let me think about this once more and check every single step of the sum that we made above before. " * 3,
        "return x\n    return x\n    return x\n    return x\n    return x",
        "Q: how many? A: five. " * 5 + "Q: how",
        "\\frac{1}{2}" * 8,
        "<pad>" * 10,
        "3" * 100,
        "-" * 300,
    ],
)
def test_a_unit_repeated_to_the_end_is_a_loop(text: str) -> None:
    assert flag_answer(text, stopped=True) == flag_answer(text, stopped=False) == "looping"


@pytest.mark.parametrize(
    "text",
    [
        "22",
        "1000000000000",
        "no no no",
        "mia has 17 apples finds 5 ? 22",
        "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12",
        "7 7 7 7 7 7 and that is all of them",
        "She has 3 apples and he has 3 apples, so they have 3 + 3 = 6 apples.",
        "1000000000000000000000000000000",
        "0.333333333333333333333333333333333",
        "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]",
        "7 x 1 = 7\n7 x 2 = 14\n7 x 3 = 21\n7 x 4 = 28\n7 x 5 = 35\n7 x 6 = 42",
        "Day 1: he eats 3 more. Day 2: he eats 6 more. Day 3: he eats 9 more. Day 4: he eats 12 more.",
        "x[0] = 0\nx[1] = 1\nx[2] = 2\nx[3] = 3\nx[4] = 4",
        "        }\n      }\n    }\n  }\n}",
        "| a | b |\n|---|---|---|---|---|---|---|---|---|---|---|",
        "# ============================================",
        "Row, row, row your boat. Merrily, merrily, merrily, merrily, life is but a dream.",
        "いろいろ、だんだん、ますます",
    ],
)
def test_plain_answers_are_not_flagged(text: str) -> None:
    assert flag_answer(text, stopped=True) == flag_answer(text, stopped=None) == "ok"


def test_an_answer_without_text_is_empty_and_one_without_end_cut_off() -> None:
    assert flag_answer(" \n\t", stopped=False) == flag_answer("\u200b\u200b \ufeff", stopped=True) == "empty"
    assert flag_answer("She has 3 apples and", stopped=False) == "cut off"


def test_the_share_is_of_the_generated_answers_alone() -> None:
    assert degenerate_share(["empty", "ok", "looping", "cut off"]) == 0.5
    assert degenerate_share(["empty", "ok", *[None] * 98]) == 0.5
    assert degenerate_share([]) == degenerate_share([None, None]) == 0.0


def test_what_the_command_line_needs_imports_nothing_heavy() -> None:
    code = (
        "import sys, evaluation.skills, evaluation.splits, evaluation.scores, evaluation.answers.degenerate\n"
        "print({'torch', 'transformers', 'lm_eval', 'datasets', 'scipy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
