"""Digests of a task's and a tokenizer's rules, which decide scores together with the weights and the items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import lm_eval
import torch
import transformers
from lm_eval.api.task import ConfigurableTask

import evaluation
from evaluation.answers.rouge import ROUGE_L_JA, rouge_packages
from evaluation.fingerprint import digest, sources_digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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

PACKAGE = Path(evaluation.__file__).parent
AFTER_SCORING = ("racing", "statistics")
"""Parts of this package that only read item scores: a change in them makes no score invalid."""


def task_rules(task: ConfigurableTask) -> str:
    """Digest of a task's prompts and metrics, with the versions and the code of what computes its scores.

    No path counts, so that every machine gives the same digest.
    """
    rules = {name: value for name, value in vars(task.config).items() if name not in NOT_RULES}
    rules["fewshot_config"] = {k: v for k, v in vars(task.fewshot_cfg).items() if k not in ("split", "samples")}
    rules["metadata"] = {k: v for k, v in (task.config.metadata or {}).items() if k != "config_source"}
    rules["class"] = None if type(task) is ConfigurableTask else type(task)
    rules["versions"] = [str(module.__version__) for module in (lm_eval, torch, transformers)]
    if any(row.get("metric") == ROUGE_L_JA for row in task.config.metric_list or ()):
        rules["packages"] = rouge_packages()
    rules["own code"] = own_code_digest()
    return digest(rules)


def own_code_digest() -> str:
    """Digest of all code of this package that decides scores."""
    return sources_digest(PACKAGE, AFTER_SCORING)


def tokenizer_rules(tokenizer: PreTrainedTokenizerBase, *, chat: bool) -> str:
    """Digest of how a tokenizer splits text, and of its chat template if that is used.

    Padding and truncation are left out, because lm-eval changes them while it runs.
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
