"""The facts of either kind of merge on a card, from genuine tiny models and the files of a release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from bot.hub.discovery.candidate import Candidate
from bot.hub.inspection.member import Member
from bot.hub.licences import DeclaredLicence
from bot.hub.pool.pool import Pool, assemble_family, choose_pool
from bot.release.card.merge_facts import PartFacts, WeightMergeFacts
from bot.release.card.recipes import base_facts, cost_facts, recipe_facts, sources_facts
from fixtures import tiny_models
from merging.identity import ModelId
from merging.methods import METHODS
from merging.models.settings import read_settings
from merging.partition import Partition
from merging.recipes.path import Hop, path_recipe
from merging.recipes.recipe import Recipe
from merging.recipes.weight_merge import WeightMerge
from merging.sources.checkpoint import Checkpoint
from merging.sources.family import TensorHeader
from merging.sources.json_object import read_json_object
from merging.writing.release import write_release

pytestmark = pytest.mark.slow

LAYERS = 3
GROUPS = Partition.even(LAYERS, 1, False, False)
HOPS = (Hop(0, 0, 0.8), Hop(1, 1, 1.25), Hop(1, 0, 1.0), Hop(0, 1, 1.0), Hop(0, 2, 1.0))


@dataclass(frozen=True)
class Ground:
    """Three siblings, the first of them the base, as files and as the bot knows them."""

    checkpoints: Mapping[ModelId, Checkpoint]
    pool: Pool

    @property
    def refs(self) -> list[ModelId]:
        return list(self.checkpoints)

    def released(self, recipe: Recipe, folder: Path) -> Path:
        write_release(recipe, self.checkpoints, folder, {})
        return folder


def member(ref: ModelId, checkpoint: Checkpoint) -> Member:
    unknown = (None, 0, None, None, (), False, None, (), False, False, None)
    candidate = Candidate(ref.location, str(ref.revision), "tiny", "mit", (), (), (), *unknown)
    config = read_settings(read_json_object(checkpoint.folder / "config.json"), LAYERS)
    return Member(candidate, checkpoint.headers, config, None, None)


@pytest.fixture(scope="module", params=["llama", "llama-tied", "gemma2"])
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    checkpoints = tiny_models.pool(tmp_path_factory.mktemp("models"), request.param, layers=LAYERS)
    base, *sources = (member(ref, checkpoint) for ref, checkpoint in checkpoints.items())
    lineage: dict[str, tuple[DeclaredLicence, ...]] = {ref.location: () for ref in checkpoints}
    family = assemble_family(base, sources, (), lineage, noncommercial=False)
    return Ground(checkpoints, choose_pool(family, sources, ()))


def a_merge(ground: Ground) -> WeightMerge:
    return tiny_models.recipe_of("task_arithmetic", ground.refs, GROUPS)


def through_a_merge(ground: Ground) -> Recipe:
    """A path whose second part is a merge with a base."""
    return path_recipe([WeightMerge.single(ground.refs[2], GROUPS, "float32"), a_merge(ground)], HOPS, 0, 0)


def test_the_parts_of_a_path_are_named_and_merges_among_them_described(ground: Ground) -> None:
    facts = recipe_facts(through_a_merge(ground), ground.pool, "yaml")
    assert facts.path and (facts.path.hops, facts.path.depth, facts.path.repeats) == (HOPS, LAYERS, 0)
    sources, numbers = ("tiny/model-1", "tiny/model-2"), a_merge(ground).parameters
    sentence = METHODS["task_arithmetic"].sentence
    merge = WeightMergeFacts("task_arithmetic", sentence, False, "tiny/model-0", sources, GROUPS.labels, numbers)
    assert facts.path.parts == (PartFacts("tiny/model-2", None), PartFacts("merge 1", merge))
    assert facts.weight_merges == (merge,) and facts.path.scaled
    # Its norms multiply by 1 + weight, which mergekit cannot scale.
    assert facts.path.scales_in_yaml == (ground.pool.sources[0].settings["model_type"] != "gemma2")


def test_a_card_names_every_model_whose_weights_went_in_and_no_other(ground: Ground) -> None:
    def origins(recipe: Recipe) -> list[str]:
        base = base_facts(recipe, ground.pool)
        return [*(source.repo for source in sources_facts(recipe, ground.pool)), *([base.repo] if base else [])]

    assert sorted(origins(through_a_merge(ground))) == ["tiny/model-0", "tiny/model-1", "tiny/model-2"]
    alone = [WeightMerge.single(ref, GROUPS, "float32") for ref in ground.refs[1:]]
    assert origins(path_recipe(alone, HOPS, 0, 0)) == ["tiny/model-1", "tiny/model-2"]
    assert origins(alone[1]) == ["tiny/model-2"]


def test_size_and_cost_are_those_of_the_written_files(ground: Ground, tmp_path: Path) -> None:
    folder = ground.released(through_a_merge(ground), tmp_path / "path")
    facts = cost_facts(through_a_merge(ground), ground.pool, folder)
    release, source = (
        AutoModelForCausalLM.from_pretrained(path) for path in (folder, ground.checkpoints[ground.refs[1]].folder)
    )
    assert (facts.parameters, facts.source_parameters) == (release.num_parameters(), source.num_parameters())
    layer = sum(weight.numel() for weight in source.model.layers[0].parameters())
    ends = source.lm_head.weight.numel() + source.model.norm.weight.numel()
    assert facts.times == pytest.approx((len(HOPS) * layer + ends) / (LAYERS * layer + ends), rel=1e-12)


def test_a_weight_merge_is_as_large_as_a_source_whatever_else_the_source_stored(ground: Ground, tmp_path: Path) -> None:
    recipe = tiny_models.recipe_of("linear", ground.refs[1:], GROUPS)
    folder = ground.released(recipe, tmp_path / "merge")
    buffer = "model.layers.0.self_attn.rotary_emb.inv_freq"
    first, *others = ground.pool.sources
    older = replace(first, headers={**first.headers, buffer: TensorHeader(buffer, (4,), "F32")})
    facts = cost_facts(recipe, replace(ground.pool, sources=(older, *others)), folder)
    assert (facts.parameters, facts.times) == (facts.source_parameters, 1.0)
    assert facts.parameters == AutoModelForCausalLM.from_pretrained(folder).num_parameters()


def test_a_merge_is_called_by_its_method_or_its_length(ground: Ground) -> None:
    single = WeightMerge.single(ground.refs[1], GROUPS, "float32")
    assert through_a_merge(ground).describe() == "path of 5 layers"
    assert path_recipe([single], HOPS[:1], 0, 0).describe() == "path of 1 layer"
    assert tiny_models.recipe_of("ties", ground.refs, GROUPS).describe() == "ties"
