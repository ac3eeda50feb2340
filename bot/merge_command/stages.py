"""The merges of a recipe file: one, or several stages that use each other's results, as mergekit-multi reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bot.errors import ShoalError
from bot.watchlist.yaml_file import YamlFile
from merging.mergekit.config import ConfigFaults, Fault, KeyPath, MergeConfig, ModelName


@dataclass(frozen=True)
class Stage:
    """One merge of a file: what a document of it says.

    name: what other stages call its result, None where it has no name. position: of the document in the file.
    """

    name: str | None
    position: int
    document: YamlFile
    config: MergeConfig

    def fault_error(self, faults: Iterable[Fault]) -> ShoalError:
        """The faults as lines with the file's name, the line and the stage, in the file's order."""
        return _fault_error(self.document, self.name, faults)

    def wrap_error(self, error: Exception) -> ShoalError:
        """An error's lines with the file's name and the stage."""
        return ShoalError("\n".join(f"{self.document.name}: {self.label}{line}" for line in str(error).splitlines()))

    @property
    def label(self) -> str:
        """What stands before words about this stage: its name, if it has one."""
        return _label(self.name)

    def of_models(self, reasons: Mapping[ModelName, str]) -> list[Fault]:
        """Why models cannot be merged, as faults at the place where each is named first."""
        places: dict[ModelName, KeyPath] = {}
        for path, model in self.config.mentions:
            places.setdefault(model, path)
        return [Fault(places[model], str(model), reason) for model, reason in reasons.items() if model in places]


@dataclass(frozen=True)
class Stages:
    """All merges of a file, each behind those that it uses; the last one is the result.

    unused: names of stages that the result does not need.
    """

    ordered: tuple[Stage, ...]
    unused: tuple[str, ...]

    @property
    def result(self) -> Stage:
        """What the file is there for."""
        return self.ordered[-1]


def read_stages(documents: Sequence[YamlFile]) -> Stages:
    """The merges that the documents of a file describe.

    The result is the document without a name; where all have one, the last.

    Raises:
        ShoalError: everything that is wrong with them, a line each.
    """
    found: list[Stage] = []
    errors: list[ShoalError] = []
    for position, document in enumerate(documents):
        try:
            found.append(_read_stage(position, document))
        except ShoalError as error:
            errors.append(error)
    if errors:
        raise ShoalError("\n".join(map(str, errors)))
    if problems := [stage.fault_error(faults) for stage in found if (faults := list(_misnamed(stage, found)))]:
        raise ShoalError("\n".join(map(str, problems)))
    result = next((stage for stage in found if stage.name is None), found[-1])
    ordered = tuple(_in_order(result, {stage.name: stage for stage in found}))
    used = {stage.name for stage in ordered}
    return Stages(ordered, tuple(stage.name for stage in found if stage.name and stage.name not in used))


def _read_stage(position: int, document: YamlFile) -> Stage:
    """A document; `name` is the one key of it that mergekit-multi reads beside those of a merge."""
    from merging.mergekit.reader import describe_value, parse_merge_config

    content = {key: value for key, value in document.data.items() if key != "name"}
    name = document.data.get("name")
    faults: list[Fault] = []
    if "name" in document.data and not (isinstance(name, str) and name.strip()):
        faults.append(Fault(("name",), describe_value(name), "write a word, by which other stages use this one"))
        name = None
    try:
        config = parse_merge_config(content)
    except ConfigFaults as error:
        raise _fault_error(document, name, [*faults, *error.faults]) from error
    if faults:
        raise _fault_error(document, name, faults)
    return Stage(name, position, document, config)


def _misnamed(stage: Stage, stages: Sequence[Stage]) -> Iterator[Fault]:
    """What is wrong with a stage's name, and with the way in which it names others."""
    first = next(one for one in stages if one.name == stage.name)
    if first is not stage:
        line = first.document.line(("name",) if stage.name else ())
        got, why = (stage.name, "give each stage another") if stage.name else ("none", "only one stage has none")
        yield Fault(("name",), got, f"so has the stage on line {line}: {why}")
    names = {one.name for one in stages if one.name}
    for path, model in stage.config.mentions:
        if model.path in names and (model.revision or model.adapter):
            yield Fault(path, str(model), f"{model.path} is a stage: leave revisions out, put adapters on its models")


def _in_order(result: Stage, by_name: Mapping[str | None, Stage]) -> list[Stage]:
    """The result and all that it needs, each behind what it uses; ShoalError for a stage that would need itself."""
    needs: dict[str | None, list[str]] = {}
    waiting = [result]
    while waiting:
        stage = waiting.pop()
        used = [model.path for _, model in stage.config.mentions if model.path in by_name]
        needs[stage.name] = used
        waiting += [by_name[name] for name in dict.fromkeys(used) if name not in needs]
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        used_name, stage_name, *_ = error.args[1]
        stage = by_name[stage_name]
        path, model = next((path, model) for path, model in stage.config.mentions if model.path == used_name)
        raise stage.fault_error([Fault(path, str(model), "it needs this stage itself; name another model")]) from error
    return [by_name[name] for name in order]


def _fault_error(document: YamlFile, name: str | None, faults: Iterable[Fault]) -> ShoalError:
    lines = sorted({(document.line(fault.path), f"{_label(name)}{fault}") for fault in faults})
    return ShoalError("\n".join(f"{document.name}:{line}: {text}" for line, text in lines))


def _label(name: str | None) -> str:
    return f"{name}: " if name else ""
