"""Answers about configs that are kept on the disk."""

from __future__ import annotations

import contextvars
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.shoal_here import Run, shoal
from fixtures.tiny_models import FAMILIES, tiny_model
from merging.errors import MergingError
from merging.models import transformers_cache
from merging.models.building import build_schema
from merging.models.layer_config import read_depth
from merging.models.transformers_cache import cache_in

__all__ = ["shoal"]

pytestmark = pytest.mark.slow

LLAMA = {"model_type": "llama", "num_hidden_layers": 3}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    with cache_in(tmp_path / "answers"):
        yield tmp_path / "answers"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_outline_that_was_kept_is_the_one_that_was_made(family: str, shelf: Path) -> None:
    config = tiny_model(family, seed=0, layers=2).config.to_dict()
    made = build_schema(config, "a model")
    assert build_schema(config, "another model") == made
    assert contextvars.Context().run(build_schema, config, "a model") == made
    assert len(list(shelf.iterdir())) == 1


def test_an_answer_is_taken_from_the_disk_and_belongs_to_its_config(shelf: Path) -> None:
    assert read_depth(LLAMA, "a model") == 3
    (cached_on_disk,) = shelf.iterdir()
    cached_on_disk.write_text("7")
    assert read_depth(dict(reversed(LLAMA.items())), "a model") == 7
    assert read_depth({**LLAMA, "num_hidden_layers": 4}, "a model") == 4


def test_an_answer_belongs_to_the_code_that_gave_it(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any file of the package may decide it, so a change of any asks anew."""
    assert read_depth(LLAMA, "a model") == 3
    (cached_on_disk,) = shelf.iterdir()
    cached_on_disk.write_text("7")
    monkeypatch.setattr(transformers_cache, "_code_digest", lambda: "other code")
    assert read_depth(LLAMA, "a model") == 3


def test_a_broken_answer_is_asked_for_anew(shelf: Path) -> None:
    assert read_depth(LLAMA, "a model") == 3
    (cached_on_disk,) = shelf.iterdir()
    cached_on_disk.write_text("{")
    assert read_depth(LLAMA, "a model") == 3
    assert cached_on_disk.read_text() == "3"


def test_an_error_is_not_kept(shelf: Path) -> None:
    for label in ("a model", "another one"):
        with pytest.raises(MergingError, match=label):
            read_depth({"model_type": "no such thing"}, label)
    assert not shelf.exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("a file")
    with cache_in(tmp_path / "answers"):
        assert read_depth(LLAMA, "a model") == 3


def test_a_write_that_fails_leaves_nothing_behind(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    assert read_depth(LLAMA, "a model") == 3
    assert list(shelf.iterdir()) == []


def test_a_second_merge_of_models_of_one_config_needs_no_transformers(tmp_path: Path, shoal: Run) -> None:
    for seed in (0, 1):
        tiny_model("llama", seed=seed, layers=2).save_pretrained(tmp_path / f"model-{seed}")
    recipe, home = tmp_path / "linear.yml", tmp_path / "home"
    models = "models: [{model: ./model-0}, {model: ./model-1}]"
    recipe.write_text(f"merge_method: linear\ndtype: float32\n{models}\nparameters: {{weight: 1}}")
    status, _, said = shoal("merge", recipe, tmp_path / "merged-0", "--home", home)
    assert status == 0, said
    program = (
        "import sys; from bot.cli.main import app; app(standalone_mode=False); print('transformers' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "merge", str(recipe), str(tmp_path / "merged-1"), "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False"
    one, other = (tmp_path / f"merged-{number}" / "model.safetensors" for number in (0, 1))
    assert one.read_bytes() == other.read_bytes()
