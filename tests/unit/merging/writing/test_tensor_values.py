"""Settings of a recipe: the value that each tensor gets, and a remark for each that no tensor gets."""

from __future__ import annotations

import yaml

from merging.mergekit.parameters import assign_roles
from merging.mergekit.reader import parse_merge_config
from merging.writing.tensor_values import TensorValues

TENSORS = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight")


def read(text: str) -> tuple[list[dict[str, tuple[float, ...]]], list[str]]:
    """(each tensor's values, the remarks) of a recipe of whole models."""
    config = parse_merge_config(yaml.safe_load(text))
    settings, found = TensorValues(config), []
    for one in config.slices:
        models = [entry.model for entry in one.inputs]
        sources, _ = assign_roles(config.method, models, one.base)
        for name in TENSORS:
            values, missing = settings.values(name, dict.fromkeys(models, name), sources, one, 0.0)
            assert not missing
            found.append(values)
    return found, list(settings.unread())


def test_what_is_read_is_not_remarked_on() -> None:
    values, remarks = read("""
        merge_method: ties
        base_model: base
        models:
          - {model: a, parameters: {weight: [{filter: mlp, value: 0.25}, {value: 1}], density: 0.5}}
          - {model: b, parameters: {weight: 0.5}}
        parameters: {density: 0.75, lambda: 0.5, normalize: true}
    """)
    assert remarks == []
    assert [(one["weight"], one["density"], one["lambda"]) for one in values] == [
        ((1.0, 0.5), (0.5, 0.75), (0.5,)),
        ((1.0, 0.5), (0.5, 0.75), (0.5,)),
        ((0.25, 0.5), (0.5, 0.75), (0.5,)),
    ]


def test_a_filter_of_several_parts_holds_where_a_name_has_all_of_them() -> None:
    values, remarks = read("""
        merge_method: linear
        models:
          - model: a
            parameters:
              weight:
                - {filter: [layers.0, mlp], value: 0.25}
                - {filter: [layers.0, "*"], value: 0.5}
                - {filter: [mlp, norm], value: 3}
                - {value: 1}
    """)
    assert [one["weight"] for one in values] == [(1.0,), (0.5,), (0.25,)]
    assert remarks == ["models[0].parameters.weight[2]: nothing reads it: no tensor's name contains 'mlp' and 'norm'"]


def test_a_setting_that_all_models_share_below_one_model_is_remarked_on() -> None:
    where = "nothing reads it: {} has one {} for all models; write it under the file's parameters"
    _, remarks = read("""
        merge_method: slerp
        models: [{model: a, parameters: {t: 0.75}}, {model: b}]
        parameters: {t: 0.5}
    """)
    assert remarks == [f"models[0].parameters.t: {where.format('slerp', 't')}"]
    _, remarks = read("""
        merge_method: task_arithmetic
        base_model: base
        models:
          - {model: a, parameters: {weight: 1, lambda: 0.5}}
          - {model: b, parameters: {weight: 1, lambda: 0.5}}
    """)
    shared = where.format("task_arithmetic", "lambda")
    assert remarks == [f"models[0].parameters.lambda: {shared} (and 1 more like it)"]


def test_filters_that_match_no_tensor_values_that_come_too_late_and_defaults_that_nobody_takes() -> None:
    _, remarks = read("""
        merge_method: task_arithmetic
        base_model: base
        models:
          - {model: base, parameters: {weight: 1}}
          - {model: a, parameters: {weight: [{filter: attention, value: 0.5}, {value: 1}, {filter: mlp, value: 2}]}}
        parameters: {weight: 0.5}
    """)
    assert remarks == [
        "models[0].parameters.weight: nothing reads it: in task_arithmetic the base_model has no weight",
        "models[1].parameters.weight[0]: nothing reads it: no tensor's name contains 'attention'",
        "models[1].parameters.weight[2]: nothing reads it: the values above it hold for the same tensors",
        "parameters.weight: nothing reads it: every model has a value of its own",
    ]
