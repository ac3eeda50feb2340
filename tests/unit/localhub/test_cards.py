"""Cards: validation as the Hub does it before a commit, and the tags derived from them."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from localhub import Store
from localhub.store.cards import split_card, validate_card
from localhub.store.tags import derive_tags

GOOD = ModelCardData(
    license="apache-2.0",
    language=["en", "ja"],
    base_model=["tide/math", "tide/language"],
    base_model_relation="merge",
    tags=["merge", "shoal-merge"],
    library_name="transformers",
    pipeline_tag="text-generation",
    datasets=["gsm8k"],
    model_name="knee",
    eval_results=[
        EvalResult(
            task_type="text-generation",
            dataset_type="gsm8k",
            dataset_name="GSM8K",
            metric_type="exact_match",
            metric_value=0.5,
        )
    ],
)


def test_a_card_made_by_the_client_is_good() -> None:
    findings = validate_card(str(ModelCard.from_template(GOOD, template_str="---\n{{ card_data }}\n---\n# Knee\n")))
    assert (findings.errors, findings.warnings) == ((), ())


@pytest.mark.parametrize(
    ("front", "message"),
    [
        ("license: apache2", "\"license\" must be one of .* not 'apache2'"),
        ("license: [mit, nonsense]", "not 'nonsense'"),
        ("license: 3.0", "not 3.0"),
        ("language: no", "write 'no' in quotes"),
        ("language: [English]", "\"language\" with value 'English'"),
        ("tags: merge", '"tags" must be an array, not a string'),
        ("tags: [1]", '"tags" must be a string or a list of strings, not a number'),
        ("base_model: a/b/c", "\"base_model\" with value 'a/b/c' is not valid"),
        ("base_model: [{id: a/b}]", '"base_model" with value'),
        ("base_model: ../../etc", '"base_model" with value'),
        ("base_model_relation: child", "\"base_model_relation\" must be one of .* not 'child'"),
        ("pipeline_tag: [a]", '"pipeline_tag" must be a string, not a list'),
        ("model-index: {}", '"model-index" must be an array, not a mapping'),
        ("model-index: [{results: []}]", r'"model-index" \[0\].name is required'),
        ("model-index: [{name: x}]", r"\[0\].results must be an array, not nothing"),
        (
            "model-index: [{name: x, results: [{task: {type: t}, dataset: {name: d}, metrics: [{type: m}]}]}]",
            r"\[0\].results\[0\].dataset.type is required",
        ),
        (
            "model-index: [{name: x, results: [{task: {type: t}, dataset: {name: d, type: d}, metrics: [{type: m}]}]}]",
            r"metrics\[0\].value is required",
        ),
        (
            "model-index: [{name: x, results: [{task: {type: t}, dataset: {name: d, type: d}, "
            "metrics: [{type: m, value: 1, args: {interval: [0, 1]}}]}]}]",
            r"metrics\[0\].args.interval must be a string, not a list",
        ),
        ("a: [", "YAML metadata cannot be parsed at line"),
        ("a: !!python/object:os.system {}", "YAML metadata cannot be parsed"),
        ("- a\n- b", "YAML metadata must be a mapping, not a list"),
    ],
)
def test_a_bad_card_is_refused_by_key_and_value(front: str, message: str) -> None:
    [error] = validate_card(f"---\n{front}\n---\n# x\n").errors[:1]
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# no front matter\n", "empty or missing yaml metadata"),
        ("---\n---\n# empty\n", "empty or missing yaml metadata"),
        ("---\nlicense: other\n---\n", "license_name"),
        ("---\npipeline_tag: mind-reading\n---\n", "not in the list of known tasks"),
    ],
)
def test_a_doubtful_card_is_warned_about(text: str, message: str) -> None:
    findings = validate_card(text)
    assert findings.errors == ()
    assert message in findings.warnings[0]


def test_front_matter_ends_at_its_own_line_and_nowhere_else() -> None:
    data, body = split_card("---\nlicense: mit\ntitle: a --- b\n---\n\nText\n\n---\n\nmore\n")
    assert data == {"license": "mit", "title": "a --- b"}
    assert body == "\nText\n\n---\n\nmore\n"
    assert split_card("----\nlicense: mit\n---\n")[0] == {}


def test_tags_come_from_card_config_and_files_as_on_the_hub() -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "chat_template": "{{ x }}"}
    found = derive_tags(
        GOOD.to_dict(),
        config,
        ["model.safetensors", "config.json"],
        "See https://arxiv.org/abs/2306.01708.",
    )
    assert found == [
        "transformers",
        "safetensors",
        "llama",
        "text-generation",
        "merge",
        "shoal-merge",
        "conversational",
        "model-index",
        "en",
        "ja",
        "dataset:gsm8k",
        "arxiv:2306.01708",
        "base_model:tide/math",
        "base_model:tide/language",
        "base_model:merge:tide/math",
        "base_model:merge:tide/language",
        "license:apache-2.0",
        "region:us",
    ]


@pytest.mark.parametrize(
    ("card", "files", "expected"),
    [
        ("base_model: a/b", {}, "base_model:finetune:a/b"),
        ("base_model: [a/b, c/d]", {}, "base_model:merge:a/b"),
        ("base_model: a/b", {"adapter_config.json": "{}"}, "base_model:adapter:a/b"),
        ("base_model: a/b", {"m.gguf": "x"}, "base_model:quantized:a/b"),
        ("base_model: a/b\nbase_model_relation: merge", {"m.gguf": "x"}, "base_model:merge:a/b"),
        ("license: mit", {"adapter_config.json": "{}"}, "peft"),
        ("license: mit", {"config.json": '{"auto_map": {"AutoModel": "x.Y"}}'}, "custom_code"),
        ("license: mit", {"config.json": '{"quantization_config": {"quant_method": "awq", "bits": 4}}'}, "4-bit"),
    ],
)
def test_relation_and_traits_are_read_off_the_files(
    tmp_path: object, card: str, files: dict[str, str], expected: str
) -> None:
    store = Store(str(tmp_path))
    commit = store.commit("ada/m", {"README.md": f"---\n{card}\n---\n", **files})
    assert expected in store.facts(store.repo("ada/m"), commit).tags
