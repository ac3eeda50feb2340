"""mergekit-yaml's options, taken from the command line of `shoal merge`: all of its own options are known."""

from __future__ import annotations

import pytest
from mergekit.options import MergeOptions

from bot.cli.mergekit_flags import take_mergekit_flags
from bot.errors import ShoalError

PLACES = ["recipe.yml", "out"]
OURS = {"random-seed", "num-threads"}
"""Options that `shoal merge` has itself, under the same names."""


@pytest.mark.parametrize("field", MergeOptions.model_fields)
def test_every_option_of_mergekit_is_known(field: str) -> None:
    option, is_switch = field.replace("_", "-"), MergeOptions.model_fields[field].annotation is bool
    if option in OURS:
        assert take_mergekit_flags([f"--{option}", "3"]).args == [f"--{option}", "3"]
        return
    given = [f"--{option}"] if is_switch else [f"--{option}", "7"]
    try:
        found = take_mergekit_flags([*given, *PLACES])
    except ShoalError as error:
        assert field in ("trust_remote_code", "unsafe_truncate_embeddings") and str(error).startswith(f"--{option}: ")
        return
    assert found.args == ([*PLACES] if option != "out-shard-size" else ["--max-shard-size", "7", *PLACES])
    assert [remark.partition(":")[0] for remark in found.remarks] == ([f"--{option}"] if found.args == PLACES else [])


@pytest.mark.parametrize(
    ("size", "expected"), [("5B", "5000000000"), ("1.5m", "1500000"), ("20k", "20000"), ("7", "7"), ("5GB", "5GB")]
)
def test_mergekits_sizes_count_in_thousands(size: str, expected: str) -> None:
    assert take_mergekit_flags([f"--out-shard-size={size}"]).args == ["--max-shard-size", expected]


def test_what_stands_after_two_dashes_is_no_option_and_values_are_needed() -> None:
    assert take_mergekit_flags(["-vv", "--", "--cuda"]).args == ["--", "--cuda"]
    with pytest.raises(ShoalError, match="--device: got nothing: write a value after it"):
        take_mergekit_flags(["recipe.yml", "--device"])
    with pytest.raises(ShoalError, match="--no-safe-serialization: pickled weights are not written"):
        take_mergekit_flags(["--no-safe-serialization"])


def test_other_options_are_left_to_the_command() -> None:
    args = ["--check", "recipe.yml", "out", "--seed", "7", "-j", "2"]
    assert take_mergekit_flags(args).args == args
