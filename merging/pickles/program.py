"""The pickle in a file of torch.save, followed step by step as data: nothing that it names is imported or called.

Only the steps are known that torch.save writes for a dictionary of plain tensors; everything else is refused by name.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from merging.dtypes import BITS
from merging.errors import MergingError
from merging.pickles.archive import Archive
from merging.sources.family import TensorHeader

_STORAGES: Mapping[str, str] = MappingProxyType(
    {
        "torch DoubleStorage": "F64",
        "torch FloatStorage": "F32",
        "torch HalfStorage": "F16",
        "torch BFloat16Storage": "BF16",
        "torch LongStorage": "I64",
        "torch IntStorage": "I32",
        "torch ShortStorage": "I16",
        "torch CharStorage": "I8",
        "torch ByteStorage": "U8",
        "torch BoolStorage": "BOOL",
    }
)
"""Name of a class in a pickle → safetensors code of the dtype whose values it holds."""

_DICTIONARY = "collections OrderedDict"
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_KNOWN = frozenset({*_STORAGES, _DICTIONARY, _TENSOR, _PARAMETER})

_KEY = re.compile("[0-9]{1,9}")
_LONGEST_NAME = 512
_MOST_DIMENSIONS = 64  # those of a tensor of torch; the product of millions would take hours

_CONSTANTS: Mapping[str, object] = MappingProxyType({"NONE": None, "NEWTRUE": True, "NEWFALSE": False})


@dataclass(frozen=True)
class PickledTensor:
    """A tensor in a file of torch.save. storage: key of the storage that it fills."""

    header: TensorHeader
    storage: str


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names, as "module name"."""

    text: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    length: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle builds it. Offsets and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(archive: Archive) -> dict[str, PickledTensor]:
    """The tensors of a file by name.

    MergingError, without the file's name, names what it holds besides plain tensors: code, other objects, views.
    """
    found = _Machine(archive.program).run()
    if not isinstance(found, dict):
        raise MergingError(f"it holds {_describe(found)}, not a dictionary of tensors")
    tensors: dict[str, PickledTensor] = {}
    for name, value in found.items():
        if not isinstance(value, _Tensor):
            raise MergingError(f"{name[:60]!r} in it is {_describe(value)}, not a tensor")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise MergingError(f"a tensor in it has the name {name[:60]!r}")
        _check_plain(name, value, archive.storages)
        tensors[name] = PickledTensor(TensorHeader(name, value.shape, value.storage.dtype), value.storage.key)
    if not tensors:
        raise MergingError("it holds no tensor")
    return tensors


def _check_plain(name: str, tensor: _Tensor, storages: Mapping[str, int]) -> None:
    """MergingError unless a tensor is its whole storage, in order, and the storage is there with its size."""
    storage, count = tensor.storage, math.prod(tensor.shape)
    if storage.key not in storages:
        raise MergingError(f"tensor {name}: its values, data/{storage.key[:20]}, are not in the file")
    if storages[storage.key] * 8 != storage.length * BITS[storage.dtype]:
        held = f"{storages[storage.key]:,} bytes"
        raise MergingError(f"tensor {name}: {held} do not hold {storage.length:,} values of {storage.dtype}")
    if tensor.offset or count != storage.length or not _in_order(tensor.shape, tensor.strides):
        part = f"{list(tensor.shape)} of {storage.length:,} values from {tensor.offset} by steps {list(tensor.strides)}"
        raise MergingError(f"tensor {name} is a view ({part}), not a plain tensor")


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether values follow each other in memory, the last index fastest."""
    expected = 1
    for length, step in zip(reversed(shape), reversed(strides), strict=True):
        if length != 1 and step != expected:
            return math.prod(shape) == 0
        expected *= length
    return True


class _Machine:
    """Follows a pickle's steps over values of its own."""

    def __init__(self, program: bytes) -> None:
        self._program = program
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> object:
        """What the pickle leaves at its end; MergingError for any step that plain tensors do not need."""
        try:
            for step, argument, _ in pickletools.genops(self._program):
                if step.name == "STOP":
                    return self._stack.pop()
                self._follow(step.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
            raise MergingError(f"its data.pkl cannot be read ({type(error).__name__}: {error})"[:200]) from error
        raise MergingError("its data.pkl has no end")

    def _follow(self, step: str, argument: Any) -> None:
        stack = self._stack
        match step:
            case "PROTO":
                pass
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append(_CONSTANTS[step])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[step]())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._take(int(step[-1]))))
            case "MARK":
                self._marks.append(stack)
                self._stack = []
            case "TUPLE":
                items = tuple(self._take_marked())
                self._stack.append(items)
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                stack.append(_known_name(argument))
            case "APPEND":
                self._take(1)  # a list is refused whatever it holds
            case "APPENDS":
                self._take_marked()
            case "SETITEM":
                self._set_items(self._take(2))
            case "SETITEMS":
                self._set_items(self._take_marked())
            case "REDUCE":
                stack.append(_call(*self._take(2)))
            case "BUILD":
                self._set_state(*self._take(1))
            case "BINPERSID":
                stack.append(_find_storage(*self._take(1)))
            case _:
                raise MergingError(f"its data.pkl has the step {step}, which plain tensors do not need")

    def _take(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError("nothing is left to take")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _take_marked(self) -> list[Any]:
        taken, self._stack = self._stack, self._marks.pop()
        return taken

    def _set_items(self, pairs: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise MergingError(f"its data.pkl sets items of {_describe(target)}")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str):
                raise MergingError(f"it has {_describe(key)} as a key, where tensors have names")
            if key in target:
                raise MergingError(f"it has {key[:60]!r} twice")
            target[key] = value

    def _set_state(self, state: object) -> None:
        """A state_dict carries the versions of its modules, which are left out."""
        if not isinstance(self._stack[-1], dict) or not isinstance(state, dict):
            raise MergingError(f"its data.pkl sets the state of {_describe(self._stack[-1])}")


def _known_name(argument: str) -> _Name:
    if argument not in _KNOWN:
        raise MergingError(f"it holds {argument.replace(' ', '.')[:80]}, which is no part of a plain tensor")
    return _Name(argument)


def _find_storage(reference: object) -> _Storage:
    match reference:
        case ("storage", _Name(text), str(key), str(), int(length)) if text in _STORAGES and _KEY.fullmatch(key):
            return _Storage(_STORAGES[text], key, length)
    raise MergingError(f"its data.pkl refers to {_describe(reference)} where the values of a tensor should be")


def _call(function: object, arguments: object) -> object:
    match function, arguments:
        case _Name(text), () if text == _DICTIONARY:
            return {}
        case _Name(text), (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), dict(), *more) if (
            text == _TENSOR and not any(more)
        ):
            sizes = (offset, *shape, *strides)
            if len(shape) == len(strides) <= _MOST_DIMENSIONS and all(
                type(one) is int and 0 <= one < 2**63 for one in sizes
            ):
                return _Tensor(storage, offset, shape, strides)
        case _Name(text), (_Tensor() as tensor, bool(), dict()) if text == _PARAMETER:
            return tensor
    what = function.text.replace(" ", ".") if isinstance(function, _Name) else _describe(function)
    raise MergingError(f"its data.pkl calls {what} otherwise than for a plain tensor")


def _describe(value: object) -> str:
    """A value in a few words, none of them from its parts, which may be nested without end."""
    match value:
        case _Tensor():
            return "a tensor"
        case _Name(text):
            return text.replace(" ", ".")
        case str():
            return f"the text {value[:40]!r}"
        case None | bool() | int() | float():
            return f"the value {str(value)[:40]}"
    kinds = {dict: "a dictionary", list: "a list", tuple: "a tuple", _Storage: "a storage without a tensor"}
    return kinds.get(type(value), "something else")
