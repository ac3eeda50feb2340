"""The training script, for a few steps, and its optimiser."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from zoo import train
from zoo.muon import orthogonalised
from zoo.repo import BASE, LANGUAGE, MATH, MODELS


def _short() -> dict[str, train.Course]:
    return {name: dataclasses.replace(course, steps=4) for name, course in train.COURSES.items()}


def test_the_same_seed_gives_the_same_zoo_and_another_seed_another():
    once, again = train.train_zoo(3, _short()), train.train_zoo(3, _short())
    other = train.train_zoo(4, _short())
    for name, model in once.items():
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, again[name].state_dict()[key]), f"{name} {key}"
        head = model.state_dict()["lm_head.weight"]
        assert not torch.equal(head, other[name].state_dict()["lm_head.weight"])


def test_a_specialist_starts_from_the_base():
    zoo = train.train_zoo(3, _short())
    base, math = zoo["base"].state_dict(), zoo["math"].state_dict()
    distance = sum((math[key] - base[key]).norm() for key in base) / sum(base[key].norm() for key in base)
    assert 0 < distance < 0.1


def test_a_zoo_may_be_deeper_than_the_shipped_one_and_is_not_unless_asked():
    deep, usual = train.train_zoo(3, _short(), layers=3), train.train_zoo(3, _short())
    assert {len(model.model.layers) for model in deep.values()} == {3}
    for model, repo in zip(usual.values(), (BASE, MATH, LANGUAGE), strict=True):
        shipped = load_file(MODELS[repo] / "model.safetensors")
        assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
            name: tensor.shape for name, tensor in shipped.items()
        }


def test_a_zoo_without_layers_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train", "nowhere", "--layers", "0"])
    with pytest.raises(SystemExit):
        train.main()
    assert "--layers: got 0: give 1 or more" in capsys.readouterr().err


def test_training_lowers_the_loss():
    course = dataclasses.replace(train.COURSES["base"], steps=40)
    model = train.newborn(0)
    drawn = train.items(course.mix, train.random.Random(9))
    tokens, weights = train.batch([next(drawn) for _ in range(200)], course.prompt_loss)
    before = train.loss_of(model, tokens, weights).item()
    train.train("base", course, model, 0)
    assert train.loss_of(model, tokens, weights).item() < before - 1


def test_padding_and_unfinished_answers_are_no_targets():
    story = train.world.Story(0, 0, 0, 17, 5)
    long = train.world.Item(story.japanese, story.english, story, ends=False)
    short = train.world.Item("17 + 5 =", "22", None)
    tokens, weights = train.batch([long, short], prompt_loss=0.1)
    assert weights[0].tolist() == pytest.approx([0.1] * 9 + [1.0] * 8)
    assert weights[1].tolist() == pytest.approx([0.1] * 5 + [1.0] * 3 + [0.0] * 9)
    assert tokens[1, 7] == train.IDS["</s>"]


def test_orthogonalised_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((3, 16, 40), (3, 40, 16)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.4 and values.max() < 1.4
