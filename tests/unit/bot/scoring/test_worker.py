"""One worker: what its evaluation sets' digests cover, and which written models it scores."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from bot.release.write import write_release_folder
from bot.scoring.resources import Resources
from bot.scoring.worker import Worker
from bot.scoring.worker_spec import WorkerSpec
from evaluation.errors import EvaluationError
from evaluation.skills import Skill, SkillTask
from evaluation.splits import Split, SplitSizes
from fixtures.boards import write_board_task
from fixtures.folders import ZOO_TASKS
from fixtures.picture_models import make_picture_model, make_processor
from merging.errors import MergingError
from merging.identity import ModelId
from merging.kinds import KINDS
from merging.models.live import LiveModels
from merging.partition import Partition
from merging.recipes.weight_merge import WeightMerge
from merging.sources.renamed import open_model
from zoo.repo import LANGUAGE, MATH, MODELS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODELS[MATH], tmp_path / "model"))


@pytest.fixture
def spec(folder: Path) -> WorkerSpec:
    return WorkerSpec(
        kind="language",
        sources=(ModelId(MATH, "0" * 40),),
        checkpoints=((ModelId(MATH, "0" * 40), folder),),
        config_source=ModelId(MATH, "0" * 40),
        dtype="float32",
        skills=(Skill("math", (SkillTask("zoo_math_en", "acc", None),)),),
        task_folders=(ZOO_TASKS,),
        sizes=SplitSizes(12, 10, 10),
        seed=1,
        resources=Resources(1, 1, "cpu", 16),
    )


def test_scores_are_kept_apart_by_merging_s_code_the_settings_files_and_the_batch_size(
    folder: Path, spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(one: WorkerSpec = spec) -> str:
        return Worker(one).facts(Split.SEARCH).digest

    known = key()
    assert key() == known
    assert key(replace(spec, resources=Resources(1, 1, "cpu", 8))) != known
    with monkeypatch.context() as patch:
        patch.setattr("bot.scoring.worker.NOT_SCORING", ("evolution",))
        assert key() != known
    for name in ("config.json", "generation_config.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(text), indent=3))
        assert key() != known, name
        (folder / name).write_text(text)
    assert key() == known


def test_a_recipe_that_follows_itself_keeps_its_model(spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    build = WeightMerge.live_model

    def counted(recipe: WeightMerge, models: LiveModels) -> PreTrainedModel:
        built.append(recipe.digest)
        if len(built) == 3:
            raise MergingError("half rewritten")
        return build(recipe, models)

    monkeypatch.setattr(WeightMerge, "live_model", counted)
    worker = Worker(replace(spec, rounds=2, sizes=SplitSizes(24, 10, 10)))
    groups = (Partition.even(2, layers, modules_apart=False, ends_apart=False) for layers in (1, 2))
    one, other = (WeightMerge.single(ModelId(MATH, "0" * 40), own, "float32") for own in groups)
    first = [worker.evaluate(one, Split.SEARCH, number).scores for number in (0, 1)]
    assert len(built) == 1
    assert worker.evaluate(other, Split.SEARCH, 0).scores == first[0] and len(built) == 2
    with pytest.raises(MergingError):
        worker.evaluate(one, Split.SEARCH, 0)
    assert [worker.evaluate(other, Split.SEARCH, number).scores for number in (0, 1)] == first and len(built) == 4


def test_a_source_alone_has_its_own_tokenizer_and_the_candidates_chat_template_if_it_has_none(
    folder: Path, spec: WorkerSpec, tmp_path: Path
) -> None:
    language, template = ModelId(LANGUAGE, "0" * 40), "{{ messages[0]['content'] }} ="
    (folder / "chat_template.jinja").write_text(template)
    both = replace(
        spec,
        sources=(*spec.sources, language),
        checkpoints=(*spec.checkpoints, (language, Path(shutil.copytree(MODELS[LANGUAGE], tmp_path / "language")))),
        skills=tuple(replace(skill, chat_template=True) for skill in spec.skills),
        resources=Resources(2, 3, "cpu", 16),
        rounds=3,
    )
    alone = both.alone(language)
    assert (alone.sources, alone.config_folder) == ((language,), tmp_path / "language")
    assert (alone.resources, alone.rounds) == (Resources(1, 6, "cpu", 16), 1)
    recipe = WeightMerge.single(language, Partition.even(2, 1, modules_apart=False, ends_apart=False), "float32")
    asked = Worker(both).evaluate(recipe, Split.SEARCH)
    assert Worker(alone).evaluate(recipe, Split.SEARCH).scores == asked.scores  # here the tokenizers are alike
    (tmp_path / "language" / "chat_template.jinja").write_text("{{ messages[0]['content'] }} ?")
    assert Worker(alone).facts(Split.SEARCH).digest != Worker(both).facts(Split.SEARCH).digest


def test_a_written_model_is_scored_with_the_candidates_tokenizer_alone(
    folder: Path, spec: WorkerSpec, tmp_path: Path
) -> None:
    worker = Worker(spec)
    results = worker.evaluate_folder(folder, Split.SEARCH)
    assert len(results.scores) == 12 and results.eval_set == worker.facts(Split.SEARCH).digest
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": {"type": "Lowercase"}}))
    with pytest.raises(EvaluationError, match="other: its tokenizer, processor or scheduler has other rules"):
        worker.evaluate_folder(other, Split.SEARCH)


def test_pictures_have_the_size_in_candidates_that_they_have_in_the_release(tmp_path: Path) -> None:
    model, processor, eye = make_picture_model("idefics3"), make_processor("idefics3"), ModelId("reef/eye", "0" * 40)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "eye")
    spec = WorkerSpec(
        kind="vision-language",
        sources=(eye,),
        checkpoints=((eye, tmp_path / "eye"),),
        config_source=eye,
        dtype="float32",
        skills=(Skill("boards", (SkillTask("board_say", "exact_match", None),)),),
        task_folders=(write_board_task(tmp_path / "tasks"),),
        sizes=SplitSizes(2, 4, 2),
        seed=1,
        resources=Resources(1, 1, "cpu", 1),
        picture_size=16,
    )
    kind, names = KINDS["vision-language"], open_model(tmp_path / "eye").names
    groups = kind.partition(
        names, bands=1, modules_apart=False, ends_apart=False, components=kind.components(model)
    ).single_group
    recipe = WeightMerge.single(eye, groups, "float32", carrier=eye)
    write_release_folder(recipe, {eye: tmp_path / "eye"}, eye, tmp_path / "release", "reef-1", 16)
    small, whole = Worker(spec), Worker(replace(spec, picture_size=None))
    scored = small.evaluate(recipe, Split.VALIDATION)
    assert small.evaluate_folder(tmp_path / "release", Split.VALIDATION).scores == scored.scores
    assert small.facts(Split.SEARCH).digest != whole.facts(Split.SEARCH).digest
    with pytest.raises(EvaluationError, match="has other rules than that of the candidates"):
        whole.evaluate_folder(tmp_path / "release", Split.VALIDATION)
    assert json.loads((tmp_path / "release" / "shoal.json").read_bytes())["picture_size"] == 16
