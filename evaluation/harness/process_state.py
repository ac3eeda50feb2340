"""Changes to lm-eval and the libraries below it, each for as long as a block runs.

They hold for the whole process, because these libraries keep such settings in module globals: two threads that
load tasks or score models at the same time would see each other's.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import datasets
import numpy as np
import torch
from huggingface_hub import constants
from lm_eval import utils
from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

CHATTY = ("lm_eval", "datasets", "transformers", "huggingface_hub")


@contextmanager
def quiet() -> Iterator[None]:
    """Let lm-eval and the libraries below it log errors alone, and show no progress bars."""
    levels = {logger: logger.level for logger in map(logging.getLogger, CHATTY)}
    # Setting a level takes milliseconds, because it clears the cache of every logger: only where it changes something.
    loud = {logger: level for logger, level in levels.items() if level != logging.ERROR}
    bars = not datasets.are_progress_bars_disabled()
    try:
        for logger in loud:
            logger.setLevel(logging.ERROR)
        datasets.disable_progress_bars()
        yield
    finally:
        for logger, level in loud.items():
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


# lm-eval compiles a template anew for every document; a template's text determines what it compiles to.
_compiled = lru_cache(maxsize=1024)(utils.env.from_string)


@contextmanager
def compiled_templates() -> Iterator[None]:
    """Let lm-eval compile each of its Jinja templates once."""
    original = utils.env.from_string
    utils.env.from_string = _compiled
    try:
        yield
    finally:
        utils.env.from_string = original


@contextmanager
def offline() -> Iterator[None]:
    """Keep `datasets` and the Hub's client off the network."""
    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextmanager
def seeded() -> Iterator[None]:
    """Seed the random generators as lm-eval does before it loads tasks; their own states come back afterwards.

    A task that shuffles its documents without a seed then has the same ones in every process.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.default_generator.manual_seed(DEFAULT_OTHER_SEED)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
