"""The merges of a recipe file: one, or several stages that use each other's results, as mergekit-multi reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bot.errors import ShoalError
from bot.watchlist.yaml_file import YamlFile
from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import ConfigFault, ConfigFaults, MergeConfig
from merging.mergekit.reader import parse_merge_config
from merging.mergekit.remedies import describe_value


@dataclass(frozen=True)
class Stage:
    """One merge of a file.

    name: the name of its result for other stages; None without one.
    position: position of its document in the file.
    """

    name: str | None
    position: int
    document: YamlFile
    config: MergeConfig

    def fault_error(self, faults: Iterable[ConfigFault]) -> ShoalError:
        """The faults, a line each, with the file's name, the line and the stage, in the file's order."""
        return _fault_error(self.document, self.name, faults)

    def wrap_error(self, error: Exception) -> ShoalError:
        """An error's lines with the file's name and the stage."""
        return ShoalError("\n".join(f"{self.document.name}: {self.label}{line}" for line in str(error).splitlines()))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the faults and errors of planning this merge into a ShoalError, a line each."""
        try:
            yield
        except ConfigFaults as error:
            raise self.fault_error(error.faults) from error
        except MergingError as error:
            raise self.wrap_error(error) from error

    @property
    def label(self) -> str:
        """The beginning of messages about this stage: its name, if it has one."""
        return _label(self.name)

    def model_faults(self, reasons: Mapping[ModelId, str]) -> list[ConfigFault]:
        """Reasons why models cannot be merged, as faults at the first place that names each of them."""
        first = {mention.model: mention for mention in reversed(self.config.mentions)}
        named = ((first[model], reason) for model, reason in reasons.items() if model in first)
        return [ConfigFault(mention.path, str(mention.written), reason) for mention, reason in named]


@dataclass(frozen=True)
class Stages:
    """The merges of a file that the result needs, each after those that it uses; the last one is the result.

    unused: names of the others.
    """

    ordered: tuple[Stage, ...]
    unused: tuple[str, ...]

    @property
    def result(self) -> Stage:
        """The merge whose result is written."""
        return self.ordered[-1]


def read_stages(documents: Sequence[YamlFile], canonical: Mapping[ModelId, ModelId]) -> Stages:
    """The merges that the documents of a file describe.

    The result is the document without a name; where all have one, the last. canonical: models that the file writes in
    several ways → the one name that each has in the result.

    Raises:
        ShoalError: everything that is wrong with them, a line each.
    """
    found: list[Stage] = []
    errors: list[ShoalError] = []
    for position, document in enumerate(documents):
        try:
            found.append(_read_stage(position, document, canonical))
        except ShoalError as error:
            errors.append(error)
    if errors:
        raise ShoalError("\n".join(map(str, errors)))
    if problems := [stage.fault_error(faults) for stage in found if (faults := list(_name_faults(stage, found)))]:
        raise ShoalError("\n".join(map(str, problems)))
    result = next((stage for stage in found if stage.name is None), found[-1])
    ordered = tuple(_in_order(result, {stage.name: stage for stage in found}))
    used = {stage.name for stage in ordered}
    return Stages(ordered, tuple(stage.name for stage in found if stage.name and stage.name not in used))


def merge_in(document: YamlFile) -> dict[str, object]:
    """A document without its `name`, the one key that mergekit-multi reads besides those of a merge."""
    return {key: value for key, value in document.data.items() if key != "name"}


def _read_stage(position: int, document: YamlFile, canonical: Mapping[ModelId, ModelId]) -> Stage:
    written = document.data.get("name")
    name = written if isinstance(written, str) and written.strip() else None
    faults: list[ConfigFault] = []
    if "name" in document.data and name is None:
        remedy = "write a word, by which other stages use this one"
        faults.append(ConfigFault(("name",), describe_value(written), remedy))
    try:
        config = parse_merge_config(merge_in(document), canonical)
    except ConfigFaults as error:
        raise _fault_error(document, name, [*faults, *error.faults]) from error
    if faults:
        raise _fault_error(document, name, faults)
    return Stage(name, position, document, config)


def _name_faults(stage: Stage, stages: Sequence[Stage]) -> Iterator[ConfigFault]:
    """Faults in a stage's name, and in how it names other stages."""
    first = next(one for one in stages if one.name == stage.name)
    if first is not stage:
        line = first.document.line(("name",) if stage.name else ())
        got, why = (stage.name, "give each stage its own") if stage.name else ("none", "only one stage has none")
        yield ConfigFault(("name",), got, f"so has the stage on line {line}: {why}")
    names = {one.name for one in stages if one.name}
    for mention in stage.config.mentions:
        model = mention.written
        if model.location in names and (model.revision or model.adapter):
            remedy = "leave revisions out, put adapters on its models"
            yield ConfigFault(mention.path, str(model), f"{model.location} is a stage: {remedy}")


def _in_order(result: Stage, by_name: Mapping[str | None, Stage]) -> list[Stage]:
    """The result and all that it needs, each after what it uses; ShoalError for a stage that needs itself."""
    needs: dict[str | None, list[str]] = {}
    waiting = [result]
    while waiting:
        stage = waiting.pop()
        locations = (mention.written.location for mention in stage.config.mentions)
        used = [location for location in locations if location in by_name]
        needs[stage.name] = used
        waiting += [by_name[name] for name in dict.fromkeys(used) if name not in needs]
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        used_name, stage_name, *_ = error.args[1]
        stage = by_name[stage_name]
        mention = next(one for one in stage.config.mentions if one.written.location == used_name)
        fault = ConfigFault(mention.path, str(mention.written), "it needs this stage itself; name another model")
        raise stage.fault_error([fault]) from error
    return [by_name[name] for name in order]


def _fault_error(document: YamlFile, name: str | None, faults: Iterable[ConfigFault]) -> ShoalError:
    lines = sorted({(document.line(fault.path), f"{_label(name)}{fault}") for fault in faults})
    return ShoalError("\n".join(f"{document.name}:{line}: {text}" for line, text in lines))


def _label(name: str | None) -> str:
    return f"{name}: " if name else ""
