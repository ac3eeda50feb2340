from __future__ import annotations

from typing import Any

import pytest
import yaml

from merging.identity import ModelId
from merging.mergekit.config import ConfigFaults, FromModel, TokenizerChoice, TokenRule
from merging.mergekit.reader import named_models, parse_merge_config
from merging.mergekit.settings import Condition, Setting, find_condition, interpolate

TIES = """
merge_method: ties
base_model: reef/base
models:
  - model: reef/cod@v1+reef/cod-lora
    parameters: {weight: 0.5, density: 0.4}
  - model: {model: ./eel, lora: reef/eel-lora@v2}
    parameters: {weight: 1}
"""


def faults(text: str) -> dict[str, str]:
    """What is wrong with a file: key → what it got and why."""
    with pytest.raises(ConfigFaults) as caught:
        parse_merge_config(yaml.safe_load(text))
    return {line.partition(": got ")[0]: line.partition(": got ")[2] for line in str(caught.value).splitlines()}


def changed(**values: Any) -> str:
    """TIES with other values."""
    return yaml.safe_dump(yaml.safe_load(TIES) | values)


def test_models_adapters_and_revisions_are_read_and_a_base_that_is_not_listed_comes_last() -> None:
    config = parse_merge_config(yaml.safe_load(TIES))
    base, cod = ModelId("reef/base"), ModelId("reef/cod", "v1", ModelId("reef/cod-lora"))
    eel = ModelId("./eel", None, ModelId("reef/eel-lora", "v2"))
    assert [entry.model for entry in config.slices[0].inputs] == [cod, eel, base]
    assert config.models == (base, cod, eel)
    assert str(cod) == "reef/cod@v1+reef/cod-lora"
    assert config.config_source == base


def test_spellings_of_one_model_are_one_model_and_their_mentions_stay_as_they_are_written() -> None:
    text = "{merge_method: slerp, base_model: ./cod, models: [{model: cod}, {model: eel}], parameters: {t: 0.5}}"
    assert faults(text) == {"models": "3 models: slerp merges exactly 2"}
    one, other = ModelId("./cod"), ModelId("cod")
    assert named_models(yaml.safe_load(text)) == (one, other, ModelId("eel"))
    config = parse_merge_config(yaml.safe_load(text), {other: one})
    assert [entry.model for entry in config.slices[0].inputs] == [one, ModelId("eel")]
    assert [(mention.written, mention.model) for mention in config.mentions[:2]] == [(one, one), (other, one)]
    twice = "{merge_method: linear, models: [{model: cod}, {model: ./cod}], parameters: {weight: 1}}"
    with pytest.raises(ConfigFaults) as caught:
        parse_merge_config(yaml.safe_load(twice), {one: other})
    assert str(caught.value) == "models: got cod and ./cod, which are one model: name each model once in a slice"


@pytest.mark.parametrize(
    ("values", "key", "got"),
    [
        ({"merge_metod": "ties"}, "merge_metod", "'ties': there is no such key here; did you mean merge_method?"),
        ({"merge_method": "tie"}, "merge_method", "'tie': use one of"),
        ({"dtype": "int8"}, "dtype", "'int8': use one of float32, bfloat16, float16"),
        ({"slices": [{"sources": []}]}, "file", "models and slices: write one of `models`, `slices` and `modules`"),
        ({"models": []}, "file", "none of them: write one of `models`, `slices` and `modules`"),
        ({"models": "cod"}, "models", "'cod': write one `- item` a line"),
        ({"base_model": 3}, "base_model", "3: write a folder or a Hub repo"),
        ({"base_model": "a+b+c"}, "base_model", "'a+b+c': write a folder or a Hub repo"),
        ({"base_model": "a@b@c"}, "base_model", "'a@b@c': write a folder or a Hub repo"),
        ({"base_model": None}, "models", "no base_model: ties merges differences from a base model, name it"),
        ({"parameters": {"normalise": 1}}, "parameters.normalise", "1: no method has such a parameter; did you mean"),
        ({"parameters": {"normalize": "yes"}}, "parameters.normalize", "'yes': write true or false"),
        ({"parameters": {"lambda": "much"}}, "parameters.lambda", "'much': write a number"),
        ({"parameters": {"density": [0.1, 2]}}, "parameters.density[1]", "2: it must be between 0 and 1"),
        ({"parameters": {"density": []}}, "parameters.density", "[]: write a value, or a list of at least one"),
        ({"parameters": {"density": [{"filter": "mlp"}]}}, "parameters.density[0]", "{filter: mlp}: write `value:`"),
        (
            {"parameters": {"density": {"filter": 3, "value": 1}}},
            "parameters.density.filter",
            "3: write a part of a tensor's name",
        ),
        (
            {"parameters": {"density": {"filter": ["mlp", ""], "value": 1}}},
            "parameters.density.filter",
            "[mlp, '']: write a part of a tensor's name, such as self_attn, or a list of parts that it must all have",
        ),
        ({"last_stage": {"model": "reef/cod"}}, "last_stage.model", "reef/cod: name a model with an adapter, as base+"),
        ({"last_stage": {"model": "a+b", "scale": 0}}, "last_stage.scale", "0: write a finite number other than 0"),
        ({"last_stage": {"model": "a+b", "scale": 10**400}}, "last_stage.scale", "1000000000"),
        ({"parameters": {"lambda": 10**400}}, "parameters.lambda", "1000000000"),
        (
            {"last_stage": {"model": "a+b", "scale": True}},
            "last_stage.scale",
            "true: write a finite number other",
        ),
        ({"last_stage": "a+b"}, "last_stage", "'a+b': write `key: value` lines below it"),
        (
            {"tokenizer_source": "union", "tokenizer": {}},
            "tokenizer",
            "`tokenizer_source` as well: keep one of the two",
        ),
        ({"tokenizer": {"pad_to_multiple_of": 0}}, "tokenizer.pad_to_multiple_of", "0: write a whole number above 0"),
        ({"tokenizer": {"tokens": {"<s>": 1}}}, "tokenizer.tokens.<s>", "1: write `key: value` lines below it"),
        ({"tokenizer_source": "reef/ray"}, "tokenizer_source", "reef/ray: it is not among the merged models"),
        (
            {"tokenizer": {"tokens": {"<s>": {"source": {"kind": "model_token", "model": "reef/base"}}}}},
            "tokenizer.tokens.<s>.source",
            "{kind: model_token, model: reef/base}: write a model, `kind: zero`, or",
        ),
        ({"chat_template": "chatml"}, "chat_template", "'chatml': write `auto` or the template itself"),
        ({"random_seed": 7}, "random_seed", "7: there is no such key here: the seed is given on the command line"),
        ({"normalize": True}, "normalize", "true: there is no such key here: it is a parameter, write it below"),
        ({"layer_range": [0, 2]}, "layer_range", "[0, 2]: there is no such key here: write `slices:`"),
        ({"modules": {"a": {}, "b": {}}, "models": None}, "modules", "a, b: one of several must be text_decoder"),
    ],
)
def test_a_fault_is_reported_by_its_key(values: dict[str, Any], key: str, got: str) -> None:
    found = faults(changed(**values))
    assert list(found) == [key]
    assert found[key].startswith(got)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "base_model: reef/cod\ngate_mode: hidden\nexperts: [{source_model: reef/eel}]",
            "experts: got [{source_model: reef/eel}]: this is a file of mergekit-moe, which builds a mixture of "
            "experts; a merge has `merge_method:`",
        ),
        (
            "genome: {models: [reef/cod], merge_method: linear}\ntasks: []",
            "genome: got {models: [reef/cod], merge_method: linear}: this is a file of mergekit-evolve; to search for "
            "a merge, write a watchlist and use `shoal run`",
        ),
        ("skills: []", "skills: got []: this is a watchlist; use `shoal run`"),
    ],
)
def test_a_file_for_another_program_is_one_line_that_says_which(text: str, fault: str) -> None:
    with pytest.raises(ConfigFaults) as caught:
        parse_merge_config(yaml.safe_load(text))
    assert str(caught.value) == fault


def test_slices_are_checked_and_all_faults_come_at_once() -> None:
    found = faults("""
        merge_method: slerp
        base_model: reef/cod
        slices:
          - sources: [{model: reef/cod, layer_range: [0, 4]}, {model: reef/eel, layer_range: [0, 3]}]
          - sources: [{model: reef/cod, layer_range: [0, 4]}, {model: reef/cod, layer_range: [0, 4]}]
          - sources: [{model: reef/eel, layer_range: [0, 4]}, {model: reef/ray, layer_range: [0, 4]}]
          - sources: [{model: reef/cod, layer_range: [4, 3]}]
          - sources: [{model: reef/cod, layer_range: [0, 1]}]
            residual_weight: 0.5
    """)
    assert found == {
        "slices[0]": "ranges of 3, 4 layers: make them equally long",
        "slices[1]": "reef/cod twice: name each model once in a slice",
        "slices[2]": "slices without reef/cod: the base_model is one of the models of every slice: "
        "add it with its layers",
        "slices[3].sources[0].layer_range": "[4, 3]: write [first, last + 1], two whole numbers, such as [0, 8]",
        "slices[4].residual_weight": "0.5: mergekit reads it and does nothing with it; leave it out",
        "slices[4]": "1 models: slerp merges exactly 2",
    }


def test_keys_without_effect_are_reported_and_numbers_in_yaml_1_1_s_odd_spelling_are_numbers() -> None:
    config = parse_merge_config(
        yaml.safe_load(changed(parameters={"int8_mask": True, "t": 0.5, "density": "5e-1"}, dtype="torch.bfloat16"))
    )
    assert config.remarks == (
        "parameters.int8_mask: it changes nothing in the merged weights",
        "parameters.t: ties does not read it",
    )
    assert config.settings[1].settings == {"density": (Condition((), (0.5,)),)}
    assert config.dtype == "bfloat16"


def test_the_dtype_of_the_result_is_out_dtype_before_dtype() -> None:
    assert parse_merge_config(yaml.safe_load(changed(dtype="float32", out_dtype="float16"))).dtype == "float16"
    assert parse_merge_config(yaml.safe_load(TIES)).dtype is None


def test_a_tokenizer_is_chosen_in_either_spelling_and_tokens_by_rules() -> None:
    base = ModelId("reef/base")
    for values in ({"tokenizer_source": "reef/base"}, {"tokenizer": {"source": "reef/base"}}):
        assert parse_merge_config(yaml.safe_load(changed(**values))).tokenizer == TokenizerChoice(base)
    tokens = {
        "<a>": {"source": "reef/base", "force": True},
        "<b>": {"source": {"kind": "zero"}},
        "<c>": {"source": {"kind": "model_token", "model": "reef/base", "token_id": 3}},
    }
    given = {"tokenizer": {"pad_to_multiple_of": 8, "tokens": tokens}}
    rules = {
        "<a>": TokenRule(FromModel(base), force=True),
        "<b>": TokenRule("zero"),
        "<c>": TokenRule(FromModel(base, token_id=3)),
    }
    assert parse_merge_config(yaml.safe_load(changed(**given))).tokenizer == TokenizerChoice("union", 8, rules)


SETTINGS = [0.7, [0.1, 0.9, 0.3], [True, False], [{"filter": "mlp", "value": [0, 1]}, {"filter": "*", "value": 3}]]


@pytest.mark.parametrize("data", [*SETTINGS, [{"filter": "none of them", "value": 1}]], ids=str)
def test_settings_have_mergekit_s_values_everywhere(data: Any) -> None:
    from mergekit.config import OutputSliceDefinition, evaluate_setting

    theirs = OutputSliceDefinition.model_validate({"sources": [], "parameters": {"x": data}}).parameters
    assert theirs is not None
    ours = setting_of(data)
    for name in ("model.layers.3.mlp.up_proj.weight", "model.norm.weight"):
        for position in (0.0, 0.1, 0.5, 2 / 3, 1.0):
            kind = bool if data == [True, False] else float
            expected = evaluate_setting(name, theirs["x"], position, validate=kind)
            found = find_condition(ours, name)
            value = None if found is None else interpolate(ours[found].values, position)
            assert value == pytest.approx(expected)


def setting_of(data: Any) -> Setting:
    """A parameter's value as a setting, of whatever kind."""
    from merging.mergekit.parameters import read_setting
    from merging.specs.method import Parameter

    setting, wrong = read_setting(data, Parameter(kind="switch" if data == [True, False] else "number"))
    assert wrong == []
    return setting
