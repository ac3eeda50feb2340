"""The classes that diffusers has, asked without importing more of it than its list of names."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from merging.errors import MergingError
from merging.models.transformers_cache import cached_on_disk

_INSTALL = "it needs diffusers: pip install 'shoal[image]'"
_MAPPING = "AUTO_TEXT2IMAGE_PIPELINES_MAPPING"
_NEEDS_A_PICTURE = ("control", "kontext")


def import_diffusers() -> Any:
    """The package; MergingError with the remedy where it is missing."""
    _folder()
    import diffusers

    return diffusers


@cache
def diffusers_version() -> str:
    """Its version, on which its answers depend; MergingError with the remedy where it is missing."""
    _folder()
    return version("diffusers")


@cache
def text_to_image_classes() -> frozenset[str]:
    """The pipelines that diffusers maps to text-to-image, but for those that need a picture as well.

    The mapping is read from its source: to import it takes seconds, since that imports every pipeline. MergingError
    where diffusers is missing.
    """
    tree = ast.parse((_folder() / "pipelines" / "auto_pipeline.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            target, value = ast.unparse(node.targets[0]), node.value
            if target == _MAPPING and isinstance(value, ast.Call):
                pairs = ast.walk(value)
                found |= {tuple(map(_text, pair.elts)) for pair in pairs if isinstance(pair, ast.Tuple)}
            elif target.startswith(f"{_MAPPING}["):  # pipelines with dependencies of their own
                found.add((target, ast.unparse(value)))
    return frozenset(
        name for key, name in found if name.isidentifier() and not any(word in key for word in _NEEDS_A_PICTURE)
    )


def is_known_class(library: str, class_name: str) -> bool:
    """Whether an entry of model_index.json names a class of diffusers or transformers, by its list of names."""
    if not re.fullmatch(r"[A-Z]\w{0,99}", class_name):
        return False
    return _todays_name(library, class_name) in _names(library)


def _todays_name(library: str, class_name: str) -> str:
    """The name that a class has now: of some that transformers renamed, diffusers knows it when it loads a pipeline."""
    if library != "transformers" or class_name in _names(library):
        return class_name
    plain = class_name.removesuffix("Fast")  # as transformers 5 reads T5TokenizerFast, which it does not list
    if plain.endswith(("Tokenizer", "ImageProcessor")) and plain in _names(library):
        return plain
    renamed: str | None = import_diffusers().utils.deprecation_utils._maybe_remap_transformers_class(class_name)
    return renamed or class_name


@cache
def _names(library: str) -> frozenset[str]:
    """The names in a library's list; none of one that is not known. Asked once: the libraries take long to answer."""
    return frozenset(_listed_names({"library": library, "diffusers": diffusers_version()}, library))


@cached_on_disk(list, list)
def _listed_names(about: Mapping[str, Any], library: str) -> list[str]:  # noqa: ARG001 - a question about a library
    if library == "transformers":
        import transformers

        return dir(transformers)
    diffusers = import_diffusers()
    if library == "diffusers":
        return dir(diffusers)
    # What a pipeline of diffusers has for itself, such as its safety checker, is listed under the pipeline's module.
    modules = dir(diffusers.pipelines)
    return dir(getattr(diffusers.pipelines, library)) if library in modules else []


def component_class(library: str, class_name: str) -> Any:
    """The class of an entry of model_index.json that `is_known_class`."""
    if library == "transformers":
        import transformers

        return getattr(transformers, _todays_name(library, class_name))
    diffusers = import_diffusers()
    return getattr(diffusers if library == "diffusers" else getattr(diffusers.pipelines, library), class_name)


def class_defaults(library: str, class_name: str) -> Mapping[str, Any]:
    """What a component of a class that `is_known_class` takes for the keys that its config lacks, as JSON values."""
    about = {"library": library, "class": class_name, "diffusers": diffusers_version()}
    return _class_defaults(about, class_name)


@cached_on_disk(dict, dict)
def _class_defaults(about: Mapping[str, Any], class_name: str) -> dict[str, Any]:
    asked = inspect.signature(component_class(about["library"], class_name).__init__).parameters.values()
    plain = {one.name: one.default for one in asked if _is_json(one.default)}
    found: dict[str, Any] = json.loads(json.dumps(plain))  # tuples are lists, as in files
    return found


def _is_json(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, bool | int | float | str)


def class_bases(library: str, class_name: str) -> frozenset[str]:
    """The names of a class that `is_known_class` and of all it inherits from; none if it cannot be imported."""
    about = {"library": library, "class": class_name, "diffusers": diffusers_version()}
    return frozenset(_class_bases(about, class_name))


@cached_on_disk(list, list)
def _class_bases(about: Mapping[str, Any], class_name: str) -> list[str]:
    try:
        found = component_class(about["library"], class_name)
    except (ImportError, RuntimeError, AttributeError):
        return []
    if not isinstance(found, type):
        return [class_name]
    stands_in = hasattr(found, "_backends") and found.__base__ is object  # for a class whose own imports are missing
    return [] if stands_in else [one.__name__ for one in found.__mro__]


def _text(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


@cache
def _folder() -> Path:
    found = find_spec("diffusers")
    if found is None or not found.submodule_search_locations:
        raise MergingError(_INSTALL)
    return Path(found.submodule_search_locations[0])
