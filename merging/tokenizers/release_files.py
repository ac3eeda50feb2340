"""A release's tokenizer files, such that plain `AutoTokenizer` reads them as its tokenizer.json has them.

For some classes (GPT2Tokenizer and others) transformers takes only the tokens and merges from tokenizer.json, and
builds the other steps anew as its class has them: a model whose file splits digits, as SmolLM2's does, then sees other
tokens than it was trained on. The class that reads the whole file is written in their place.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merging.errors import MergingError
from merging.models.transformers_cache import cached_on_disk
from merging.tokenizers.source_tokenizer import CONFIG, SETTINGS, TOKENIZER, load_tokenizer, read_file
from merging.writing.companions import read_companions

_CLASS, WHOLE_FILE = "tokenizer_class", "PreTrainedTokenizerFast"
_STEPS = ("normalizer", "pre_tokenizer", "decoder", "model")
_BY_CLASS = ("model_input_names", "clean_up_tokenization_spaces", "padding_side", "truncation_side")
"""Settings that have another default in another class."""


@dataclass(frozen=True)
class ReleaseFiles:
    """A release's small files, and what had to be changed so that transformers reads the tokenizer as it is written.

    files: name → content. note: a sentence about the change, or about what could not be changed; None where
    transformers reads the files as they are.
    """

    files: Mapping[str, bytes]
    note: str | None = None


def release_files(files: Mapping[str, bytes]) -> ReleaseFiles:
    """A model's small files as a release should have them. files: by name, config.json included."""
    if TOKENIZER not in files:
        return ReleaseFiles(files)
    texts = {name: files[name].decode("utf-8", "surrogateescape") for name in _deciding(files)}
    try:
        found = _find_difference(texts, "tokenizer")
    except MergingError as error:
        return ReleaseFiles(files, str(error))
    if not found:
        return ReleaseFiles(files)
    settings, note = found["settings"], str(found["note"])
    if settings is None:
        return ReleaseFiles(files, note)
    return ReleaseFiles({**files, SETTINGS: (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()}, note)


def release_note(folder: Path) -> str | None:
    """The note of a source's files: how its release's tokenizer differs from what transformers makes of the source."""
    return release_files(read_companions(folder) | {CONFIG: (folder / CONFIG).read_bytes()}).note


@contextmanager
def in_release_form(folder: Path) -> Iterator[Path]:
    """A folder with a source's small files as its release will have them: its own, where the release changes none."""
    files = read_companions(folder) | {CONFIG: (folder / CONFIG).read_bytes()}
    released = release_files(files).files
    if released == files:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="shoal-") as changed:
        for name, content in released.items():
            (Path(changed) / name).write_bytes(content)
        yield Path(changed)


def _deciding(files: Mapping[str, bytes]) -> list[str]:
    """The files from which transformers makes a tokenizer."""
    return [name for name in files if name.endswith(".json") and name != "generation_config.json"]


@cached_on_disk(dict, dict)
def _find_difference(texts: Mapping[str, object], label: str) -> dict[str, object]:
    """{"settings": tokenizer_config.json without the difference, or None, "note": a sentence}; empty without one."""
    files = {name: str(text).encode("utf-8", "surrogateescape") for name, text in texts.items()}
    read = load_tokenizer(label, files)
    changed = _changed_steps(read, files[TOKENIZER])
    if not changed:
        return {}
    odd = f"transformers rebuilds {' and '.join(changed)} of its tokenizer.json by class ({type(read).__name__})"
    settings = _settings_for_whole_file(read, read_file(label, files, SETTINGS))
    again = load_tokenizer(label, {**files, SETTINGS: json.dumps(settings).encode()})
    same = again.special_tokens_map == read.special_tokens_map and again.get_vocab() == read.get_vocab()
    if _changed_steps(again, files[TOKENIZER]) or not same:
        return {"settings": None, "note": f"{odd}; texts are split as transformers does it, not as the file says"}
    kept = f"the result's tokenizer_config.json names {WHOLE_FILE}, which reads the file as it is"
    return {"settings": settings, "note": f"{odd}; {kept}"}


def _changed_steps(tokenizer: Any, content: bytes) -> list[str]:
    """The steps of a tokenizer that are not as its tokenizer.json has them."""
    import tokenizers

    own = json.loads(tokenizers.Tokenizer.from_str(content.decode()).to_str())
    read = json.loads(tokenizer.backend_tokenizer.to_str())
    return [step for step in _STEPS if _meaning(own[step]) != _meaning(read[step])]


def _meaning(step: Any) -> Any:
    """A step without spellings that mean the same: an empty affix is none, and a dropout of training is not used."""
    if isinstance(step, dict) and "vocab" in step:
        return {key: value or None for key, value in step.items() if key != "dropout"}
    return step


def _settings_for_whole_file(read: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json with the class that reads the whole file, and with what the other class did by default."""
    special = {name: str(token) for name, token in read.special_tokens_map.items()}
    defaults = {name: getattr(read, name) for name in _BY_CLASS}
    return {**special, **defaults, **settings, _CLASS: WHOLE_FILE}
