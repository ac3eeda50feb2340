"""The training script of the models that see, for a few steps."""

import dataclasses
import random

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, LlavaForConditionalGeneration

from zoo.vision import train
from zoo.vision.repo import WEIGHTS
from zoo.vision.world import Board, Exercise, draw_board

SHORT = {name: dataclasses.replace(course, steps=3) for name, course in train.COURSES.items()}


@pytest.fixture(scope="module")
def zoo() -> dict[str, train.PreTrainedModel]:
    return train.train_zoo(3, SHORT)


def test_the_same_seed_gives_the_same_models_and_their_shapes_are_those_of_the_shipped_ones(zoo):
    again = train.train_zoo(3, SHORT)
    for name, model in zoo.items():
        state = model.state_dict()
        assert all(torch.equal(tensor, again[name].state_dict()[key]) for key, tensor in state.items())
        shipped = load_file(WEIGHTS / name / "model.safetensors")
        assert sorted(tuple(tensor.shape) for tensor in state.values()) == sorted(
            tuple(tensor.shape) for tensor in shipped.values()
        )


def test_the_model_that_sees_starts_from_the_base_and_moves_in_every_part(zoo):
    base, eye = zoo["base"], zoo["eye"]
    assert isinstance(base, LlamaForCausalLM) and isinstance(eye, LlavaForConditionalGeneration)
    inside, start = eye.model.language_model.state_dict(), base.model.state_dict()
    assert inside.keys() == start.keys()
    distance = sum((inside[key] - start[key]).norm() for key in start) / sum(start[key].norm() for key in start)
    assert 0 < distance < 0.1
    untrained = train.with_eyes(base, 3).state_dict()
    moved = {key for key, tensor in eye.state_dict().items() if not torch.equal(tensor, untrained[key])}
    # No gradient reaches the norm behind the class token, which is not among the features.
    assert {key for key in untrained if key not in moved} <= {
        "model.vision_tower.post_layernorm.weight",
        "model.vision_tower.post_layernorm.bias",
    }


def test_places_of_a_picture_padding_and_unfinished_answers_are_no_targets():
    board = Board((0, None, 3, 12))
    seen = Exercise("<image> : =", board.caption(0), board, ends=False)
    batch = train.batch_of([seen, Exercise("sun は =", "たいよう")], 0.5, random.Random(0))
    assert batch.weights[0].tolist() == [0.0] * 4 + [0.5] * 2 + [1.0] * 4
    assert batch.weights[1].tolist() == [0.5] * 3 + [1.0] * 2 + [0.0] * 5
    assert batch.pixels is not None and batch.pixels.shape == (1, 3, 40, 40)


def test_the_exam_counts_whole_answers_as_greedy_decoding_gives_them():
    model = LlamaForCausalLM.from_pretrained(WEIGHTS / "base")
    rng = random.Random(8)
    asked = [train.EXAM["translation"](draw_board(rng, held_out=True, known=12)) for _ in range(64)]
    prompts = torch.tensor([train.ids(one.prompt) for one in asked])
    answers = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=10, do_sample=False)
    true = torch.tensor([train.ids(f"{one.answer} </s>") for one in asked])
    right = (answers[:, prompts.shape[1] :] == true).all(dim=1).float().mean().item()
    assert 0 < right < 1 and train.exact_match(model, asked) == pytest.approx(right)
