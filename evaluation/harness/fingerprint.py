"""Digests of what determines a score besides the weights: the task's rules, its code, this package's, the tokenizer."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval
import torch
import transformers
from lm_eval.api.task import ConfigurableTask

# Where the documents come from and what they are called: the items' ids say which documents they are.
NOT_RULES = frozenset(
    {
        "custom_dataset",
        "dataset_kwargs",
        "dataset_name",
        "dataset_path",
        "doc_to_decontamination_query",
        "fewshot_split",
        "num_fewshot",
        "should_decontaminate",
        "tag",
        "task_alias",
        "test_split",
        "training_split",
        "validation_split",
    }
)


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON; functions count with the whole file they stand in."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_code)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def task_rules(task: ConfigurableTask) -> str:
    """Digest of how a task asks and marks, with the versions and code of what computes the scores; no path counts."""
    rules = {name: value for name, value in vars(task.config).items() if name not in NOT_RULES}
    rules["fewshot_config"] = {k: v for k, v in vars(task.fewshot_cfg).items() if k not in ("split", "samples")}
    rules["metadata"] = {k: v for k, v in (task.config.metadata or {}).items() if k != "config_source"}
    rules["class"] = None if type(task) is ConfigurableTask else type(task)
    rules["versions"] = [str(module.__version__) for module in (lm_eval, torch, transformers)]
    rules["own code"] = own_code(Path(__file__).parents[1])
    return digest(rules)


@cache
def own_code(package: Path) -> str:
    """Digest of the sources of this package that write prompts, answer them, and mark the answers."""
    paths = [
        package / "harness" / "eval_set.py",
        package / "harness" / "lm.py",
        *sorted((package / "engine").glob("*.py")),
    ]
    return digest([[path.name, path.read_text("utf-8")] for path in paths])


def tokenizer_rules(tokenizer: Any, *, chat: bool) -> str:
    """Digest of how a tokenizer splits text, and of its chat template if that is used.

    Padding and truncation are left out: lm-eval sets them as it goes.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    pipeline = json.loads(backend.to_str()) if backend is not None else {}
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if name != "pad_token"}
    return digest(
        {
            "class": None if backend is not None else type(tokenizer).__name__,
            "vocabulary": tokenizer.get_vocab(),
            "pipeline": {k: v for k, v in pipeline.items() if k not in ("padding", "truncation")},
            "special": special,
            "chat_template": tokenizer.chat_template if chat else None,
        }
    )


def _code(value: Any) -> Any:
    if not callable(value):
        return str(value)
    return {"name": getattr(value, "__qualname__", type(value).__qualname__), "source": _source(value)}


def _source(value: Callable[..., Any]) -> str | None:
    """Digest of the file that defines a function or class (or an object's class), if there is one."""
    definition = value if hasattr(value, "__qualname__") else type(value)
    try:
        path = inspect.getsourcefile(definition)
    except TypeError:  # built into the interpreter
        return None
    if path is None or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
