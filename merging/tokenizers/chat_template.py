"""The chat template of a merge: one that the recipe gives, or the one that most of its models have."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from merging.mergekit.config import AUTO
from merging.tokenizers.source_tokenizer import SETTINGS, read_file

TEMPLATE = "chat_template.jinja"
_KEY, _DEFAULT = "chat_template", "default"


def find_chat_template(label: str, files: Mapping[str, bytes]) -> str | None:
    """The default template in a model's files, stripped; None if it has none."""
    if TEMPLATE in files:
        return files[TEMPLATE].decode(errors="replace").strip()
    found = read_file(label, files, SETTINGS).get(_KEY)
    if isinstance(found, list):
        named = {entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)}
        found = named.get(_DEFAULT)
    return found.strip() if isinstance(found, str) else None


def add_chat_template(
    files: Mapping[str, bytes], choice: str, models: Sequence[Mapping[str, bytes]]
) -> dict[str, bytes]:
    """A merge's files with a chat template: `choice`, or for "auto" the template that most of the models have.

    models: each model's files. If none has a template, "auto" changes nothing.
    """
    templates = [
        found for number, model in enumerate(models) if (found := find_chat_template(f"model {number}", model))
    ]
    if choice == AUTO and not templates:
        return dict(files)
    chosen = Counter(templates).most_common(1)[0][0] if choice == AUTO else choice
    settings = read_file("merge", files, SETTINGS)
    settings.pop(_KEY, None)
    text = (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    return {**files, SETTINGS: text, TEMPLATE: chosen.encode()}
