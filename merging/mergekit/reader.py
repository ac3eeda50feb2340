"""Reads mergekit's YAML: from the parsed file to a MergeConfig, or to every fault at once, each with its key's path.

Reading is pure. Keys for what shoal cannot do are faults; keys without effect are remarks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from merging.dtypes import DTYPES
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import (
    AUTO,
    BASE,
    UNION,
    ZERO,
    ConfigFault,
    ConfigFaults,
    FromModel,
    Input,
    KeyPath,
    Mention,
    MergeConfig,
    Scope,
    Settings,
    Slice,
    TokenizerChoice,
    TokenRule,
    dotted,
)
from merging.mergekit.module_names import PIPELINE_MODULES, is_one_model, module_names
from merging.mergekit.parameters import EVERY_PARAMETER, read_number, read_setting, slice_fault
from merging.mergekit.remedies import NOT_DONE, OTHER_FILES, describe_value, remedy_for_key, suggest
from merging.methods import METHODS
from merging.recipes.last_stage import LastStage

_TOP = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "carrier",
    "last_stage",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
)
_ONE_TOKEN = ((str, type(None)), (type(None), int))


def parse_merge_config(data: object, canonical: Mapping[ModelId, ModelId] = MappingProxyType({})) -> MergeConfig:
    """The merge that a parsed file (mappings, lists, scalars) describes.

    canonical: models that the file writes in several ways → the one name that each has in the result.

    Raises:
        ConfigFaults: unknown keys, values of the wrong kind or out of range, what does not fit together, and
            what is not supported.
    """
    reader = _Reader(canonical)
    config = reader.config(data)
    if reader.faults or config is None:
        raise ConfigFaults(reader.faults)
    return config


def named_models(data: object) -> tuple[ModelId, ...]:
    """Every model that a parsed file names, as it is written, even if other things in the file are wrong."""
    reader = _Reader({})
    reader.config(data)
    return tuple(dict.fromkeys(mention.written for mention in reader.mentions))


@dataclass
class _Reader:
    """Reads the file once and collects its faults, mentions and remarks."""

    canonical: Mapping[ModelId, ModelId]
    faults: list[ConfigFault] = field(default_factory=list)
    mentions: list[Mention] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    method: str = ""

    def config(self, data: object) -> MergeConfig | None:
        if other := next((key for key in OTHER_FILES if isinstance(data, Mapping) and key in data), None):
            self.fault((other,), describe_value(self.mapping(data, ())[other]), OTHER_FILES[other])
            return None
        top = self.keys(data, (), _TOP)
        self.method = self.known_method(top.get("merge_method"))
        base, carrier = (self.optional_model(top, key, ()) for key in ("base_model", "carrier"))
        body, place, module = self.body(top)
        settings = self.settings(top.get("parameters"), ("parameters",))
        inner = self.settings(module.get("parameters"), (*place, "parameters"))
        slices = self.slices(body, place, base)
        modules = self.other_modules(top.get("modules"), place, base)
        dtypes = [self.dtype(top.get(key), (key,)) for key in ("out_dtype", "dtype")]
        tokenizer = self.tokenizer(top, base)
        template = self.chat_template(top.get("chat_template"))
        last_stage = self.last_stage(top.get("last_stage"))
        # A module may be that of a single model, whatever the method.
        for one in (*slices, *(other for other in (modules or {}).values() if len(other.inputs) > 1)):
            self.check_inputs(one)
        self.check_vocabulary_models(tokenizer, slices)
        if self.faults:
            return None
        return MergeConfig(
            method=self.method,
            slices=slices,
            base=base,
            settings=(Scope((*place, "parameters"), inner), Scope(("parameters",), settings)),
            dtype=dtypes[0] or dtypes[1],
            tokenizer=tokenizer,
            chat_template=template,
            mentions=tuple(self.mentions),
            remarks=tuple(self.remarks),
            modules=modules,
            carrier=carrier,
            last_stage=last_stage,
        )

    def body(self, top: Mapping[str, Any]) -> tuple[Mapping[str, Any], KeyPath, Mapping[str, Any]]:
        """The mapping with `models` or `slices`, its path, and the module's own keys."""
        chosen = [key for key in ("models", "slices", "modules") if top.get(key)]
        if len(chosen) != 1:
            self.fault((), " and ".join(chosen) or "none of them", "write one of `models`, `slices` and `modules`")
            return {}, (), {}
        if chosen != ["modules"]:
            return top, (), {}
        modules = self.mapping(top["modules"], ("modules",))
        known = module_names(modules)
        name = next(iter(modules), "") if len(modules) == 1 and known is not PIPELINE_MODULES else known.main
        if name not in modules:
            why = f"one of several must be {known.main}, {known.what}"
            self.fault(("modules",), ", ".join(modules) or "none", why)
            return {}, (), {}
        place: KeyPath = ("modules", name)
        module = self.keys(modules[name], place, ("models", "slices", "parameters"))
        if bool(module.get("models")) == bool(module.get("slices")):
            self.fault(place, "both or neither", "write either `models` or `slices`")
            return {}, place, {}
        return module, place, module

    def other_modules(self, data: object, language: KeyPath, base: ModelId | None) -> Mapping[str, Slice] | None:
        """The modules of a model besides its language model, each as one slice of whole models; None without any."""
        if not data or not language:
            return None
        modules = self.mapping(data, ("modules",))
        known, found = module_names(modules), {}
        for name in modules:
            place: KeyPath = ("modules", name)
            if place == language:
                continue
            if name not in known.others:
                self.fault(place, "a module", f"there is none of this name; use {', '.join(known.others)}")
                continue
            keys = self.keys(modules[name], place, ("models", "parameters"))
            settings = self.settings(keys.get("parameters"), (*place, "parameters"))
            alone = known is PIPELINE_MODULES and is_one_model(keys)
            whole = self.whole_models(keys.get("models"), (*place, "models"), None if alone else base)
            if name in known.lone and whole.inputs and not alone:
                self.fault(place, f"{len(whole.inputs)} models", "it is not merged: name one model, without parameters")
            found[name] = replace(whole, settings=settings, place=place)
        return found if len(modules) > 1 or language[-1] == known.main else None

    def slices(self, body: Mapping[str, Any], place: KeyPath, base: ModelId | None) -> tuple[Slice, ...]:
        if body.get("models"):
            return (self.whole_models(body["models"], (*place, "models"), base),)
        found = []
        for position, entry in enumerate(self.sequence(body["slices"], (*place, "slices")) if body else ()):
            path = (*place, "slices", position)
            keys = self.keys(entry, path, ("sources", "base_model", "parameters", "residual_weight"))
            sources = self.sequence(keys.get("sources", ()), (*path, "sources"))
            inputs = [self.layers_of(source, (*path, "sources", number)) for number, source in enumerate(sources)]
            own_base = self.optional_model(keys, "base_model", path) or base
            own = self.settings(keys.get("parameters"), (*path, "parameters"))
            found.append(Slice(tuple(one for one in inputs if one), own_base, own, path))
        return tuple(found)

    def whole_models(self, data: object, place: KeyPath, base: ModelId | None) -> Slice:
        """The slice of whole models; a base that is not among them is added as the last."""
        inputs = []
        for position, entry in enumerate(self.sequence(data, place)):
            path = (*place, position)
            keys = self.keys(entry, path, ("model", "parameters"))
            model = self.model(keys.get("model"), (*path, "model"))
            own = self.settings(keys.get("parameters"), (*path, "parameters"))
            if model:
                inputs.append(Input(model, None, own, path))
        if base and all(one.model != base for one in inputs):
            inputs.append(Input(base, None, {}, ("base_model",)))
        return Slice(tuple(inputs), base, {}, place)

    def layers_of(self, data: object, path: KeyPath) -> Input | None:
        keys = self.keys(data, path, ("model", "layer_range", "parameters"))
        model = self.model(keys.get("model"), (*path, "model"))
        settings = self.settings(keys.get("parameters"), (*path, "parameters"))
        layers = self.layer_range(keys.get("layer_range"), (*path, "layer_range"))
        return Input(model, layers, settings, path) if model and layers else None

    def layer_range(self, data: object, path: KeyPath) -> tuple[int, int] | None:
        got = describe_value(data)
        if isinstance(data, list | tuple) and [type(part) for part in data] == [int, int]:
            # A range without layers is allowed: it says where the embedding or the head comes from.
            if 0 <= data[0] <= data[1]:
                return data[0], data[1]
            got = str([*data])
        self.fault(path, got, "write [first, last + 1], two whole numbers, such as [0, 8]")
        return None

    def check_inputs(self, one: Slice) -> None:
        """Check a slice's models against its method."""
        names = [entry.model for entry in one.inputs]
        if not self.method or not names or any(_leaves_out_a_model(fault.path, one.place) for fault in self.faults):
            return  # the fault that keeps a model from being read is enough
        lengths = {entry.layers[1] - entry.layers[0] for entry in one.inputs if entry.layers}
        if twice := next((name for name in names if names.count(name) > 1), None):
            places = [(*entry.place, "model") for entry in one.inputs if entry.model == twice]
            spellings = dict.fromkeys(str(mention.written) for mention in self.mentions if mention.path in places)
            got = f"{twice} twice" if len(spellings) == 1 else f"{' and '.join(spellings)}, which are one model"
            self.fault(one.place, got, "name each model once in a slice")
        elif len(lengths) > 1:
            self.fault(one.place, f"ranges of {', '.join(map(str, sorted(lengths)))} layers", "make them equally long")
        elif problem := slice_fault(self.method, names, one.base):
            self.fault(one.place, *problem)

    def known_method(self, data: object) -> str:
        if isinstance(data, str) and data in METHODS:
            return data
        self.fault(("merge_method",), describe_value(data), f"use one of {', '.join(METHODS)}{suggest(data, METHODS)}")
        return ""

    def dtype(self, data: object, path: KeyPath) -> str | None:
        if data is None:
            return None
        name = data.removeprefix("torch.") if isinstance(data, str) else data
        if name in DTYPES:
            return str(name)
        self.fault(path, describe_value(data), f"use one of {', '.join(DTYPES)}")
        return None

    def settings(self, data: object, path: KeyPath) -> Settings:
        if data is None:
            return {}
        found = {}
        known = METHODS[self.method].parameters if self.method else {}
        ignored = METHODS[self.method].ignored if self.method else ()
        for name, value in self.mapping(data, path).items():
            place = (*path, name)
            if name in known:
                found[name], wrong = read_setting(value, known[name])
                self.faults += [ConfigFault((*place, *where), describe_value(got), why) for where, got, why in wrong]
            elif name in EVERY_PARAMETER:
                why = (
                    "it changes nothing in the merged weights" if name in ignored else f"{self.method} does not read it"
                )
                self.remarks.append(f"{dotted(place)}: {why}")
            else:
                close = suggest(name, [*known, *EVERY_PARAMETER])
                self.fault(place, describe_value(value), f"no method has such a parameter{close}")
        return found

    def tokenizer(self, top: Mapping[str, Any], base: ModelId | None) -> TokenizerChoice | None:
        given, chosen = top.get("tokenizer"), top.get("tokenizer_source")
        if given is not None and chosen is not None:
            self.fault(("tokenizer",), "`tokenizer_source` as well", "keep one of the two")
            return None
        if given is None and chosen is None:
            return None
        if given is None:
            return TokenizerChoice(self.tokenizer_source(chosen, ("tokenizer_source",), base))
        keys = self.keys(given, ("tokenizer",), ("source", "tokens", "pad_to_multiple_of", "models"))
        multiple = keys.get("pad_to_multiple_of")
        if multiple is not None and (type(multiple) is not int or multiple < 1):
            self.fault(("tokenizer", "pad_to_multiple_of"), describe_value(multiple), "write a whole number above 0")
        source = self.tokenizer_source(keys.get("source", UNION), ("tokenizer", "source"), base)
        tokens = self.mapping(keys["tokens"], ("tokenizer", "tokens")) if keys.get("tokens") is not None else {}
        rules = {token: self.token_rule(rule, ("tokenizer", "tokens", token)) for token, rule in tokens.items()}
        listed = self.sequence(keys["models"], ("tokenizer", "models")) if keys.get("models") is not None else ()
        among = [self.model(entry, ("tokenizer", "models", place)) for place, entry in enumerate(listed)]
        return TokenizerChoice(source, multiple, rules, tuple(dict.fromkeys(filter(None, among))))

    def token_rule(self, data: object, path: KeyPath) -> TokenRule:
        keys = self.keys(data, path, ("source", "force"))
        force = keys.get("force", False)
        if not isinstance(force, bool):
            self.fault((*path, "force"), describe_value(force), "write true or false")
        return TokenRule(self.token_source(keys.get("source"), (*path, "source")), force is True)

    def token_source(self, data: object, path: KeyPath) -> FromModel | Literal["zero"] | None:
        """The source of a token's row: a model's own, zeros, or another token's row of a model."""
        if not isinstance(data, Mapping) or "kind" not in data:
            model = None if data is None else self.model(data, path)
            return FromModel(model) if model else None
        if data["kind"] == ZERO:
            return "zero"
        keys = self.keys(data, path, ("kind", "model", "token", "token_id"))
        model = self.model(keys.get("model"), (*path, "model"))
        token, token_id = keys.get("token"), keys.get("token_id")
        if keys["kind"] == "model_token" and (type(token), type(token_id)) in _ONE_TOKEN and model:
            return FromModel(model, token, token_id)
        self.fault(
            path, describe_value(data), "write a model, `kind: zero`, or `kind: model_token` with a token or a token_id"
        )
        return None

    def tokenizer_source(self, data: object, path: KeyPath, base: ModelId | None) -> ModelId | str:
        if data == BASE and base is None:
            self.fault(path, describe_value(data), "there is no base_model; name one, or another source")
        if data in (UNION, BASE):
            return str(data)
        return self.model(data, path) or UNION

    def check_vocabulary_models(self, choice: TokenizerChoice | None, slices: Sequence[Slice]) -> None:
        """Only models that decide on the vocabulary may give it: those listed for it, else those that are merged."""
        if choice is None or not slices:
            return
        merged = set(choice.among) or {entry.model for one in slices for entry in one.inputs}
        rules = choice.tokens.values()
        named = [choice.source, *(rule.source.model for rule in rules if isinstance(rule.source, FromModel))]
        for mention in self.mentions:
            if mention.model in named and mention.model not in merged and str(mention.path[0]).startswith("tokenizer"):
                self.fault(mention.path, str(mention.written), "it is not among the merged models; name one of those")

    def chat_template(self, data: object) -> str | None:
        if data is None or data == AUTO:
            return AUTO if data else None
        if isinstance(data, str) and "{" in data:
            return data
        remedy = "write `auto` or the template itself, in Jinja; names of mergekit's own templates are not known"
        self.fault(("chat_template",), describe_value(data), remedy)
        return None

    def last_stage(self, data: object) -> LastStage | None:
        """The adapter that is added to what is merged, on a model that it fits."""
        if data is None:
            return None
        place: KeyPath = ("last_stage",)
        keys = self.keys(data, place, ("model", "scale"))
        scale = keys.get("scale", 1)
        model = self.model(keys.get("model"), (*place, "model")) if isinstance(data, Mapping) else None
        if model is None:
            return None
        if model.adapter is None:
            self.fault((*place, "model"), str(model), "name a model with an adapter, as base+lora")
            return None
        number = read_number(scale)
        if not number or not math.isfinite(number):
            self.fault((*place, "scale"), describe_value(scale), "write a finite number other than 0")
            return None
        return LastStage(model, number)

    def optional_model(self, keys: Mapping[str, Any], key: str, path: KeyPath) -> ModelId | None:
        return None if keys.get(key) is None else self.model(keys[key], (*path, key))

    def model(self, data: object, path: KeyPath) -> ModelId | None:
        """`org/name@revision+adapter`, or the same in two keys, `model` and `lora`."""
        try:
            if isinstance(data, Mapping):
                keys = self.keys(data, path, ("model", "lora", "override_architecture"))
                lora = keys.get("lora")
                adapter = None if lora is None else ModelId.parse_plain(_text(lora))
                written = replace(ModelId.parse_plain(_text(keys.get("model"))), adapter=adapter)
            else:
                written = ModelId.parse(_text(data))
        except MergingError:
            remedy = "write a folder or a Hub repo: org/name, org/name@revision or base+lora"
            self.fault(path, describe_value(data), remedy)
            return None
        model = self.canonical.get(written, written)
        self.mentions.append(Mention(path, written, model))
        return model

    def keys(self, data: object, path: KeyPath, known: Sequence[str]) -> Mapping[str, Any]:
        """The known keys of a mapping; the others are faults."""
        found = self.mapping(data, path)
        for key, value in found.items():
            if key in NOT_DONE and key in known and value is not None:
                self.fault((*path, key), describe_value(value), NOT_DONE[key])
            elif key not in known:
                self.fault((*path, key), describe_value(value), remedy_for_key(key, known))
        return {key: value for key, value in found.items() if key in known}

    def mapping(self, data: object, path: KeyPath) -> Mapping[str, Any]:
        if isinstance(data, Mapping):
            return {str(key): value for key, value in data.items()}
        self.fault(path, describe_value(data), "write `key: value` lines below it")
        return {}

    def sequence(self, data: object, path: KeyPath) -> Sequence[Any]:
        if isinstance(data, list | tuple) and data:
            return data
        self.fault(path, describe_value(data), "write one `- item` a line")
        return ()

    def fault(self, path: KeyPath, got: str, why: str) -> None:
        self.faults.append(ConfigFault(path, got, why))


def _leaves_out_a_model(fault: KeyPath, place: KeyPath) -> bool:
    """Whether a fault kept a model of the slice at `place` from being read."""
    inside = fault[: len(place)] == place
    return "base_model" in fault or (inside and (fault == place or not {"model", "layer_range"}.isdisjoint(fault)))


def _text(data: object) -> str:
    if not isinstance(data, str):
        raise MergingError(f"got {describe_value(data)}: a text is needed")
    return data
