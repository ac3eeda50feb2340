"""Scores are kept by digests that follow the code which decides them."""

import shutil
from pathlib import Path

import pytest

import evaluation
import merging
from bot.scoring.worker import NOT_SCORING
from evaluation.fingerprint import digest, sources_digest
from evaluation.harness.rules import AFTER_SCORING

EVALUATION, MERGING = (Path(package.__file__).parent for package in (evaluation, merging))


def files_of(package: Path, without: tuple[str, ...]) -> list[str]:
    """The Python files that a package's digest must cover."""
    files = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    return [file for file in files if file.split("/")[0] not in without]


@pytest.mark.parametrize(
    ("package", "without", "deciding"),
    [
        (EVALUATION, AFTER_SCORING, {"answers", "engine", "harness", "scores.py"}),
        (
            MERGING,
            NOT_SCORING,
            {
                "dtypes.py",
                "kernels",
                "merge_tensor.py",
                "methods",
                "models",
                "partition.py",
                "paths",
                "recipes",
                "sources",
            },
        ),
    ],
    ids=["evaluation", "merging"],
)
def test_a_change_in_any_file_that_decides_a_score_gives_another_digest(
    package: Path, without: tuple[str, ...], deciding: set[str], tmp_path: Path
) -> None:
    files = files_of(package, without)
    assert deciding <= {file.split("/")[0] for file in files}
    copy = Path(shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__")))
    known = sources_digest.__wrapped__(copy, without)
    assert known == sources_digest(package, without)
    for file in files:
        code = (copy / file).read_bytes()
        (copy / file).write_bytes(code + b"# changed\n")
        assert sources_digest.__wrapped__(copy, without) != known, file
        (copy / file).write_bytes(code)
    assert sources_digest.__wrapped__(copy, without) == known


def test_a_change_in_code_that_only_reads_scores_or_makes_recipes_keeps_the_digest(tmp_path: Path) -> None:
    for package, without in ((EVALUATION, AFTER_SCORING), (MERGING, NOT_SCORING)):
        copy = Path(shutil.copytree(package, tmp_path / package.name, ignore=shutil.ignore_patterns("__pycache__")))
        for name in without:
            assert any((copy / name).rglob("*.py"))
            (copy / name / "another.py").write_text("CHANGED = True\n")
        assert sources_digest(copy, without) == sources_digest(package, without)


def test_a_digest_follows_values_and_not_their_order_in_a_mapping() -> None:
    assert digest({"a": 1, "b": [2, "ü"]}) == digest({"b": [2, "ü"], "a": 1}) != digest({"a": 1, "b": ["ü", 2]})
