"""What every method of the registry must have, and a method in a file of its own, as docs/extending.md shows it."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import merging.methods
from bot.release.card.recipes import recipe_facts
from fixtures.folders import ROOT
from merging.evolution.evolve import evolve
from merging.evolution.outcomes import Outcome, SearchSettings
from merging.identity import ModelId
from merging.merge_tensor import merge_tensor
from merging.mergekit.reader import parse_merge_config
from merging.methods import METHODS, searched_methods
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.spaces.weight_merges import WeightMergeSpace
from merging.specs.genes import genes_of
from merging.specs.method import Method

BASE, *SOURCES = (ModelId(f"tiny/{name}", name) for name in ("base", "a", "b", "c"))
WHOLE = Partition.even(2, 1, modules_apart=False, ends_apart=False)


def test_every_file_is_in_the_registry_and_every_method_bears_its_formulas_name() -> None:
    files = {module.name for module in pkgutil.iter_modules(merging.methods.__path__)}
    assert {METHODS[name].formula.__module__.rpartition(".")[2] for name in METHODS} == files
    assert {name: method.formula.__name__ for name, method in METHODS.items()} == {name: name for name in METHODS}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_has_a_sentence_for_the_card_and_its_formula_a_source_or_a_description(method: Method) -> None:
    assert re.fullmatch(r"[a-z][^\n]{20,200}[^.\n]", method.sentence)
    assert method.formula.__doc__
    named = {word for words in re.findall(r"\(([a-z_, ]+)[);]", method.sentence) for word in words.split(", ")}
    assert named <= method.parameters.keys()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_customary_values_make_a_recipe(method: Method) -> None:
    sources = SOURCES[: method.max_sources]
    rows = {
        name: ((value,),) * (len(sources) if method.parameters[name].per_source else 1)
        for name, value in method.customary.values.items()
    }
    base = BASE if method.needs_base else None
    recipe = WeightMerge(method.name, tuple(sources), base, WHOLE, tuple(rows.items()), "float32", 0)
    assert WeightMerge.from_json(recipe.to_json()) == recipe
    assert method.genes.keys() <= method.customary.values.keys(), "what is searched has a customary value"


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_can_be_searched_or_says_why_not(method: Method) -> None:
    if method.search is None:
        assert method.unsearched and method.name not in searched_methods()
    else:
        assert genes_of(method, method.min_sources, 1, 0.05) and not method.unsearched


def test_the_registry_is_read_without_heavy_libraries() -> None:
    code = "import sys, merging.methods; print({'torch', 'numba', 'numpy', 'scipy', 'pymoo'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.fixture
def median(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Method]:
    """The method of docs/extending.md, registered for one test."""
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    file = tmp_path / "median.py"
    file.write_text(page.partition("```python\n")[2].partition("```\n")[0], "utf-8")
    spec = importlib.util.spec_from_file_location("median", file)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (method,) = module.METHODS
    monkeypatch.setitem(merging.methods._METHODS, method.name, method)
    yield method


def test_a_method_in_a_file_of_its_own_is_searched_merged_and_explained(median: Method) -> None:
    values = {source: torch.tensor([0.0, 1.0, float(place) ** 2]) for place, source in enumerate(SOURCES)}
    space = WeightMergeSpace.build(
        method="median", sources=SOURCES, base=BASE, groups=WHOLE, dtype="float32", seed=0, step=0.1
    )

    def score(recipe: WeightMerge) -> Outcome:
        # The mean of 0, 1 and 4 is 5/3, the median 1: the search has to find t = 1.
        merged = merge_tensor(recipe, "model.norm.weight", lambda source, _: values[source])
        return Outcome((-abs(float(merged[2]) - 1),), None, 1.0)

    found = evolve(space, SearchSettings(5, 20, None, 0), lambda recipes: [*map(score, recipes)], objectives=1)
    (best,) = found.front
    assert (best.recipe.method, best.recipe.rows("t"), best.outcome.objectives) == ("median", ((1.0,),), (0.0,))
    models = [{"model": source.location} for source in SOURCES]
    config = parse_merge_config({"merge_method": "median", "models": models, "parameters": {"t": 0.5}})
    assert config.method == "median" and not config.remarks
    assert recipe_facts(best.recipe, SimpleNamespace(vocabulary=None), "").merge.sentence == median.sentence
