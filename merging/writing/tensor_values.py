"""The values of a method's parameters for each tensor of a merge, and the settings of its recipe that none reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from merging.errors import MergingError
from merging.identity import ModelId
from merging.mergekit.config import ConfigFault, Input, KeyPath, MergeConfig, Scope, Slice, dotted
from merging.mergekit.settings import Condition, Scalar, find_condition, interpolate
from merging.methods import METHODS


class TensorValues:
    """Reads a recipe's settings tensor by tensor, and remembers which of them were read."""

    def __init__(self, config: MergeConfig) -> None:
        self._config = config
        self._parameters = METHODS[config.method].parameters
        self._read: set[tuple[KeyPath, str, int]] = set()
        self._asked: defaultdict[KeyPath, set[str]] = defaultdict(set)
        self.faults: dict[ConfigFault, None] = {}
        """What is wrong with the values so far, once for each key."""

    def checked(
        self, name: str, names: Mapping[ModelId, str], sources: Sequence[ModelId], one: Slice, position: float
    ) -> dict[str, tuple[float, ...]]:
        """As `values`; what is wrong with them is noted."""
        found, missing = self.values(name, names, sources, one, position)
        for fault in missing:
            self.note_once(fault)
        if not self.faults:  # missing values are zeros here, so that a check would report them again
            try:
                METHODS[self._config.method].check_values(found, name)
            except MergingError as error:
                where, _, why = str(error).partition(": got ")
                got, _, remedy = why.rpartition(": ")
                self.note_once(ConfigFault((*one.place, *where.split(".")), got, remedy))
        return found

    def note_once(self, fault: ConfigFault) -> None:
        """Add a fault unless its key has one already."""
        if all(fault.path != other.path for other in self.faults):
            self.faults[fault] = None

    def values(
        self, name: str, names: Mapping[ModelId, str], sources: Sequence[ModelId], one: Slice, position: float
    ) -> tuple[dict[str, tuple[float, ...]], list[ConfigFault]]:
        """(every parameter's values for a tensor, those that are needed and given nowhere, which are zeros here).

        name: the tensor's name in the result. names: its name in each model; filters of a model's own settings apply to
        that. sources: the models, in the method's order. position: that of its layer in the slice, from 0 to 1.
        """
        common = self._config.scopes(one)
        inputs = {entry.model: entry for entry in one.inputs}
        found, missing = {}, []
        for parameter, rule in self._parameters.items():
            near = [(name, common, one.place)]
            if rule.per_source:
                own = [(names[model], inputs[model]) for model in sources]
                near = [(tensor, (_scope(entry), *common), entry.place) for tensor, entry in own]
            row = []
            for tensor, scopes, place in near:
                value = self._find(scopes, parameter, tensor, position)
                value = rule.default if value is None else value
                if value is None:
                    why = f"{self._config.method} needs it for {tensor}"
                    missing.append(ConfigFault((*place, "parameters", parameter), "nothing", why))
                row.append(float(value or 0))
            found[parameter] = tuple(row)
        return found, missing

    def unread(self) -> Iterator[str]:
        """A line for each setting that no tensor so far was merged with; of several alike, the first is named."""
        alike: dict[tuple[str, str], list[KeyPath]] = {}
        for scope, entry, one in self._scopes():
            for parameter, setting in scope.settings.items():
                for index, condition in enumerate(setting):
                    if (scope.place, parameter, index) not in self._read:
                        place = (*scope.place, parameter, *([index] if len(setting) > 1 else []))
                        reason = self._reason(scope, parameter, condition, entry, one)
                        alike.setdefault((parameter, reason), []).append(place)
        for (_, reason), places in alike.items():
            more = f" (and {len(places) - 1} more like it)" if len(places) > 1 else ""
            yield f"{dotted(places[0])}: {reason}{more}"

    def _find(self, scopes: Iterable[Scope], parameter: str, tensor: str, position: float) -> Scalar | None:
        """The value of the first scope that has one for the tensor; None if none has."""
        for scope in scopes:
            setting = scope.settings.get(parameter)
            if setting is None:
                continue
            self._asked[scope.place].add(tensor)
            if (index := find_condition(setting, tensor)) is not None:
                self._read.add((scope.place, parameter, index))
                return interpolate(setting[index].values, position)
        return None

    def _scopes(self) -> Iterator[tuple[Scope, Input | None, Slice | None]]:
        """Every scope of the recipe, with the model and the slice that it belongs to."""
        for one in self._config.every_slice:
            for entry in one.inputs:
                yield _scope(entry), entry, one
            yield Scope((*one.place, "parameters"), one.settings), None, one
        for scope in self._config.settings:
            yield scope, None, None

    def _reason(
        self, scope: Scope, parameter: str, condition: Condition, entry: Input | None, one: Slice | None
    ) -> str:
        method, asked = self._config.method, self._asked[scope.place]
        if entry and not self._parameters[parameter].per_source:
            return (
                f"nothing reads it: {method} has one {parameter} for all models; write it under the file's parameters"
            )
        if entry and one and entry.model == one.base and not asked:
            return f"nothing reads it: in {method} the base_model has no {parameter}"
        if not asked:
            return "nothing reads it: every model has a value of its own"
        if not any(map(condition.holds, asked)):
            return f"nothing reads it: no tensor's name contains {' and '.join(map(repr, condition.parts))}"
        return "nothing reads it: the values above it hold for the same tensors"


def _scope(entry: Input) -> Scope:
    return Scope((*entry.place, "parameters"), entry.settings)
