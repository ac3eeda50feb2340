"""The process that reads pickles: it confines itself, loads them as torch does, and writes what was asked for.

It is started by `convert_pickles` with a job and leaves a report, both as JSON; whatever it writes is checked there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from merging.pickles.confinement import ProcessLimits, confine
from merging.sources.family import TensorHeader
from merging.writing.shards import encode_header, tensor_bytes

REPORT = "report.json"

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Safetensors code → dtype, of the storages that `read_tensors` knows."""


def main(job: Mapping[str, Any]) -> None:
    """Do a job: `folder` to write to, `readable` paths, `limits`, and for each file in `files` its tensors' headers.

    The report has `can`, what the process could do that it should not; `error`, None if all files are there; and
    `of_machine`, whether that was for want of memory or disk.
    """
    folder = Path(job["folder"])
    can = confine(folder, map(Path, job["readable"]), ProcessLimits(**job["limits"]))
    error, of_machine = None, False
    try:
        for file in job["files"]:
            headers = [TensorHeader(name, tuple(shape), dtype) for name, shape, dtype in file["tensors"]]
            _convert(Path(file["pickle"]), folder / file["target"], headers)
    except Exception as failure:
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())}"[:300]
        of_machine = isinstance(failure, OSError | MemoryError)
    (folder / REPORT).write_text(json.dumps({"can": can, "error": error, "of_machine": of_machine}), encoding="utf-8")


def _convert(pickle: Path, target: Path, headers: list[TensorHeader]) -> None:
    """Write those tensors of a file that have these headers, in this order."""
    loaded = torch.load(pickle, map_location="cpu", weights_only=True, mmap=True)
    with target.open("xb") as file:
        file.write(encode_header(headers))
        for header in headers:
            file.write(tensor_bytes(_check(loaded[header.name], header)))
        file.flush()
        os.fsync(file.fileno())


def _check(tensor: Tensor, header: TensorHeader) -> Tensor:
    """The tensor itself, if it is as expected, so that its header is not a lie."""
    expected = torch.Size(header.shape), TORCH_DTYPES[header.dtype], True
    if (found := (tensor.shape, tensor.dtype, tensor.is_contiguous())) != expected:
        raise ValueError(f"tensor {header.name} is {found}, not {expected}")
    return tensor.detach()
