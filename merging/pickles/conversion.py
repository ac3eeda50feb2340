"""Converts a model's pickled weights to safetensors: a confined process reads them, and what it wrote is checked."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import torch

from merging.dtypes import BITS
from merging.errors import MergingError
from merging.pickles.archive import check_sums, read_archive
from merging.pickles.confinement import ProcessLimits, command_prefix
from merging.pickles.converter import REPORT
from merging.pickles.names import PICKLE_INDEX, PICKLED_ADAPTER, SINGLE_PICKLE, converted_name, is_pickle
from merging.pickles.plan import Plan, plan_conversion
from merging.pickles.program import PickledTensor, read_tensors
from merging.sources.checkpoint import INDEX_NAME, read_headers
from merging.sources.family import TensorHeader
from merging.sources.json_object import read_json_object
from merging.writing.shards import encode_index, write_file

_WORKSHOP, _COMPLAINTS = ".conversion", "complaints.txt"
_REPORT_BYTES = 1 << 16

_SPARE_BYTES, _SPARE_SECONDS = 1 << 30, 120
_SLOWEST = 1 << 24
"""Bytes a second that any machine converts."""

_START = """
import json, sys
job = json.load(sys.stdin)
sys.path[:] = job["path"]
from merging.pickles.converter import main
main(job)
"""

_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT")
"""Variables without which Python or torch may not start; everything else, tokens above all, stays here."""


class ConverterFailed(MergingError):  # noqa: N818 - named after the finding
    """The process that reads pickles ended without a report, which its limits or the machine may have caused."""


def convert_pickles(folder: Path) -> tuple[str, ...]:
    """Convert the pickles in a model's or adapter's folder, and delete them; the other files stay as they are.

    Returns what the process that read them could do on this machine and should not, in words. After an error the
    pickles are as they were.

    Raises:
        MergingError: a file is not what it should be; the message does not name the folder.
        ConverterFailed: the process ended without a report.
        OSError: as the file system raises it.
    """
    pickles = _list_pickles(folder)
    tensors = {path.name: _read_whole(path) for path in pickles}
    config = None if PICKLED_ADAPTER in tensors else read_json_object(folder / "config.json")
    plan = plan_conversion(config, tensors, folder.name)
    plan = {name: headers for name, headers in plan.items() if headers}
    workshop = folder / _WORKSHOP
    shutil.rmtree(workshop, ignore_errors=True)  # left by a run that was killed
    workshop.mkdir()
    try:
        can = _run_converter(folder, workshop, plan)
        for pickle, headers in plan.items():
            _accept(workshop / converted_name(pickle), headers)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    index = folder / PICKLE_INDEX
    if index.exists():
        files = {header.name: converted_name(pickle) for pickle, headers in plan.items() for header in headers}
        (folder / INDEX_NAME).unlink(missing_ok=True)
        write_file(folder / INDEX_NAME, [encode_index(files, sum(map(_data_bytes, plan.values())))])
    for path in [index, *pickles, *(path for path in folder.iterdir() if is_pickle(path.name))]:
        path.unlink(missing_ok=True)
    return can


def _list_pickles(folder: Path) -> list[Path]:
    """The single file, else the shards that the index names."""
    for single in (folder / PICKLED_ADAPTER, folder / SINGLE_PICKLE):
        if single.is_file():
            return [single]
    weight_map = read_json_object(folder / PICKLE_INDEX).get("weight_map")
    names = sorted(set(map(str, weight_map.values()))) if isinstance(weight_map, dict) else []
    if not names or not all(is_pickle(name) and (folder / name).is_file() for name in names):
        raise MergingError(f"{PICKLE_INDEX}: it names other files than pickles that are there")
    return [folder / name for name in names]


def _read_whole(path: Path) -> dict[str, PickledTensor]:
    """The tensors of a pickled file, every byte of which is as its check sums say."""
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        try:
            found = read_tensors(read_archive(read, path.stat().st_size))
            check_sums(path)
        except MergingError as error:
            raise MergingError(f"{path.name}: {error}") from error
    return found


def _run_converter(folder: Path, workshop: Path, plan: Plan) -> tuple[str, ...]:
    """Run the process that writes the planned files into `workshop`; returns what it could do and should not."""
    limits = _choose_limits(folder, plan)
    merging, packages = Path(__file__).parents[1], Path(torch.__file__).parents[1]
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    job = {
        "path": [str(merging.parent), *filter(os.path.isabs, sys.path)],
        "readable": sorted({str(folder), str(merging), str(packages), *prefixes}),
        "folder": str(workshop),
        "limits": asdict(limits),
        "files": [
            {
                "pickle": str(folder / pickle),
                "target": converted_name(pickle),
                "tensors": [(header.name, header.shape, header.dtype) for header in headers],
            }
            for pickle, headers in plan.items()
        ],
    }
    command = [*command_prefix(workshop), sys.executable, "-I", "-S", "-c", _START]
    with (workshop / _COMPLAINTS).open("wb") as complaints:
        try:
            ended = subprocess.run(
                command,
                input=json.dumps(job).encode(),
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=_environment(workshop),
                cwd=workshop,
                timeout=2 * limits.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConverterFailed(f"its conversion took more than {2 * limits.seconds:,} seconds") from error
    return _read_report(workshop, ended.returncode)


def _environment(workshop: Path) -> dict[str, str]:
    """No token, no proxy, no home of anyone; one thread, because the process is confined thread by thread."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**threads, **kept, "HOME": str(workshop), "TMPDIR": str(workshop), "CUDA_VISIBLE_DEVICES": ""}


def _choose_limits(folder: Path, plan: Plan) -> ProcessLimits:
    sizes = [(folder / pickle).stat().st_size for pickle in plan]
    largest = max(map(_data_bytes, plan.values()))
    return ProcessLimits(max(sizes) + _SPARE_BYTES, largest + _SPARE_BYTES, sum(sizes) // _SLOWEST + _SPARE_SECONDS)


def _read_report(workshop: Path, status: int) -> tuple[str, ...]:
    try:
        report = json.loads(_read_regular(workshop / REPORT))
        can, error, of_machine = report["can"], report["error"], report["of_machine"]
    except (ValueError, KeyError, TypeError) as failure:
        *_, complaint = ["", *_read_regular(workshop / _COMPLAINTS).decode(errors="replace").splitlines()]
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ConverterFailed(
            f"the process that converts its pickles ended with {how} ({complaint[:200]})"
        ) from failure
    if of_machine:
        raise ConverterFailed(f"the process that converts its pickles could not go on ({str(error)[:300]})")
    if error is not None:
        raise MergingError(f"torch cannot read it as plain tensors: {str(error)[:300]}")
    return tuple(str(words) for words in can)


def _read_regular(path: Path) -> bytes:
    """The start of a file that a process wrote which may have been taken over; nothing of what is no file."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(_REPORT_BYTES)
    except OSError:
        return b""


def _accept(path: Path, headers: Iterable[TensorHeader]) -> None:
    """Move a file out of the workshop, if it is a file, and has the planned tensors."""
    if not stat.S_ISREG(path.lstat().st_mode) or list(read_headers(path).values()) != list(headers):
        raise MergingError(f"{path.name}: the conversion wrote other tensors than were asked for")
    path.replace(path.parents[1] / path.name)


def _data_bytes(headers: Iterable[TensorHeader]) -> int:
    return sum(math.prod(header.shape) * BITS[header.dtype] // 8 for header in headers)
